"""What the click-through network learns: clicks, by binary cross-entropy."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor
from torch.nn import functional

from serving.recommender.clicks.impressions import Impressions, Items
from serving.recommender.clicks.network import ClickNetwork
from serving.recommender.clicks.ranker import ClickSettings, Features, Inputs
from serving.recommender.method import Arrays
from serving.recommender.training.loop import Progress, run, unheard
from serving.recommender.training.weights import weights_of


def train_clicks(
    settings: ClickSettings,
    user_ids: tuple[str, ...],
    past: Impressions,
    items: Items,
    *,
    folder: Path | None,
    tell: Callable[[Progress], None] | None,
) -> Arrays:
    """The weights.

    Raises:
        InvalidInput: the folder holds another training.
    """
    features = Features(settings, user_ids, items)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.plan.seed)
        network = features.network()
    task = ClickTask(settings, network, features.of(past), torch.from_numpy(past.clicked.astype(np.float32)))
    digest = hashlib.sha256(settings.model_dump_json().encode() + repr(items).encode())
    for name in past.__dataclass_fields__:
        digest.update(getattr(past, name).tobytes())
    run(task, settings.plan, folder=folder, subject=digest.hexdigest(), tell=tell or unheard)
    return weights_of(network)


class ClickTask:
    """Implements `loop.Task`."""

    def __init__(self, settings: ClickSettings, network: ClickNetwork, inputs: Inputs, clicked: Tensor) -> None:
        self.network = network
        self._settings, self._inputs, self._clicked = settings, inputs, clicked
        self.steps = max(1, len(clicked) // settings.rows_per_step)

    def loss(self, rng: Generator) -> Tensor:
        rows = torch.from_numpy(rng.integers(len(self._clicked), size=self._settings.rows_per_step))
        user, item, known, context = (column[rows] for column in self._inputs)
        shown = torch.from_numpy((rng.random((2, len(rows))) >= self._settings.hide).astype(np.int64))
        logit = self.network(user * shown[0], item, known * shown[1], context)
        return functional.binary_cross_entropy_with_logits(logit, self._clicked[rows])

    def worth(self) -> float | None:
        return None
