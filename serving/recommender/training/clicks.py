"""What the click-through network learns: clicks, by the cross-entropy of whole users under a mixture of tastes."""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor

from serving.recommender.clicks.impressions import Impressions, Items
from serving.recommender.clicks.network import ClickNetwork, evidence
from serving.recommender.clicks.ranker import STRANGER, ClickSettings, Features
from serving.recommender.method import Arrays
from serving.recommender.training.how import HERE, How
from serving.recommender.training.loop import run
from serving.recommender.training.team import ALONE, Team
from serving.recommender.training.weights import weights_of
from serving.recommender.training.workers import together

OF_ITEM = ("item.weight", "item_bias.weight")
"""What is learned of an item by its id. Of one that was never shown that is what it began with: chance."""


def train_clicks(settings: ClickSettings, past: Impressions, items: Items, how: How = HERE) -> Arrays:
    """The weights.

    Raises:
        InvalidInput: the folder for checkpoints holds another training.
        HcctlError: a worker or the disk failed.
    """
    return together(partial(_weights, settings, past, items), how)


def _weights(settings: ClickSettings, past: Impressions, items: Items, how: How, team: Team) -> Arrays:
    """What one worker has learned, which is what all have."""
    features = Features(settings, items)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.plan.seed)
        network = features.network()
    digest = hashlib.sha256(f"{team.size} {settings.model_dump_json()} {items!r}".encode())
    for name in past.__dataclass_fields__:
        digest.update(getattr(past, name).tobytes())
    task = ClickTask(settings, network, features, past, team)
    run(task, settings.plan, folder=how.folder, subject=digest.hexdigest(), team=team, tell=how.tell)
    learned = weights_of(network)
    never_shown = np.setdiff1d(np.arange(len(items.item_ids) + 1), features.of(past)[0].numpy())
    for name in OF_ITEM:
        learned[name][never_shown] = learned[name][STRANGER]
    return learned


class ClickTask:
    """Implements `loop.Task`. A step reads a stretch of the impressions of some users."""

    def __init__(
        self, settings: ClickSettings, network: ClickNetwork, features: Features, past: Impressions, team: Team = ALONE
    ) -> None:
        self.network = network
        self._settings, self._batch = settings, team.share(settings.users_per_step)
        _, user = np.unique(past.user, return_inverse=True)
        by_user = np.argsort(user, kind="stable")
        self._item, self._context = (column[torch.from_numpy(by_user)] for column in features.of(past))
        self._clicked = torch.from_numpy(past.clicked[by_user].astype(np.float32))
        self._first = np.searchsorted(user[by_user], np.arange(user.max() + 2))
        self.steps = max(1, (len(self._first) - 1) // settings.users_per_step)

    def loss(self, rng: Generator) -> Tensor:
        users = rng.integers(len(self._first) - 1, size=self._batch)
        first, count = self._first[users], self._first[users + 1] - self._first[users]
        start = first + np.floor(rng.random(len(users)) * np.maximum(count - self._settings.rows_per_user + 1, 1))
        count = np.minimum(count, self._settings.rows_per_user)
        rows = torch.from_numpy(
            np.repeat(start.astype(np.int64) - np.cumsum(count) + count, count) + np.arange(count.sum())
        )
        user = torch.from_numpy(np.repeat(np.arange(len(users)), count))
        item = self._item[rows]
        shown = torch.from_numpy((rng.random(len(rows)) >= self._settings.hide).astype(np.int64))
        logits = self.network(item, item * shown, self._context[rows])
        told = evidence(logits, self._clicked[rows], user, len(users))
        return -(told + self.network.prior.log_softmax(dim=0)).logsumexp(dim=1).sum() / len(rows)

    def worth(self) -> float | None:
        return None
