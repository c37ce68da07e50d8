"""An image encoder that learns from a shop's own pictures and texts, without labels.

Two losses of one kind, each of which tells a pair from all other pairs of the batch (InfoNCE: van den Oord et al.,
2018): the picture and the text of an item, so that both lie in one space (Radford et al., "CLIP", ICML 2021); and two
altered views of the picture (Chen et al., "SimCLR", ICML 2020), as the first alone would forget what only it tells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.random import Generator
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from serving.errors import InvalidInput
from serving.recommender.ingest.pictures import Pictures
from serving.recommender.method import Arrays, Settings
from serving.recommender.search.encoder import Vectors
from serving.recommender.training.how import HERE, How
from serving.recommender.training.loop import run
from serving.recommender.training.plan import Plan
from serving.recommender.training.team import Team
from serving.recommender.training.weights import load_weights, weights_of
from serving.recommender.training.workers import together

AT_ONCE = 512
"""Pictures encoded at once."""


class Alignment(Settings):
    """How the encoder is made and trained."""

    kind: Literal["alignment"] = "alignment"
    width: int = Field(default=64, ge=2, le=1_024, description="Of the common space.")
    epochs: int = Field(default=20, ge=1, le=10_000)
    batch: int = Field(default=128, ge=2, description="Pairs that are told apart at once.")
    learning_rate: float = Field(default=2e-3, gt=0, le=1)
    temperature: float = Field(default=0.1, gt=0)
    text_weight: float = Field(
        default=0.5, ge=0, le=1, description="Of the loss between picture and text; 0: views alone."
    )
    seed: int = Field(default=0, ge=0, lt=1 << 63)


class Towers(nn.Module):
    """Pictures, and vectors of texts, to unit vectors of one space."""

    def __init__(self, text_width: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inside, outside in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(inside, outside, 3, stride=2, padding=1), nn.GroupNorm(8, outside), nn.GELU()]
        self.seeing = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 16, width))
        self.reading = nn.Linear(text_width, width)

    def see(self, pictures: Tensor) -> Tensor:
        """[pictures, width] of [pictures, 3, side, side], 0 to 1."""
        return functional.normalize(self.seeing(pictures), dim=-1)

    def read(self, texts: Tensor) -> Tensor:
        """[texts, width] of [texts, text width]."""
        return functional.normalize(self.reading(texts), dim=-1)


@dataclass(frozen=True, eq=False)
class Aligned:
    """A trained pair of towers."""

    towers: Towers

    def see(self, pictures: Pictures) -> Vectors:
        """Vectors of length 1, [pictures, width]."""
        return self._all(self.towers.see, _tensor(pictures))

    def read(self, texts: Vectors) -> Vectors:
        """Vectors of length 1, [texts, width], of the text encoder's vectors."""
        return self._all(self.towers.read, torch.from_numpy(texts))

    def _all(self, tower: Callable[[Tensor], Tensor], given: Tensor) -> Vectors:
        with torch.inference_mode():
            parts = [tower(part) for part in torch.split(given, AT_ONCE)]
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float32)


def align(settings: Alignment, pictures: Pictures, texts: Vectors, how: How = HERE) -> Aligned:
    """Train on the pictures and the texts of the same items; the same data and seed, the same towers.

    Raises:
        InvalidInput: there are not as many texts as pictures, or fewer than two, or the folder for checkpoints holds
            another training.
        HcctlError: a worker or the disk failed.
    """
    if len(pictures) != len(texts) or len(pictures) < 2:
        why = f"{len(pictures)} pictures and {len(texts)} texts"
        raise InvalidInput("nothing to align", where="pictures, texts", why=why, next_step="give at least two pairs")
    learned = together(partial(_weights, settings, pictures, texts), how)
    with torch.random.fork_rng(devices=()):
        towers = Towers(texts.shape[1], settings.width)
    load_weights(towers, learned)
    return Aligned(towers)


def _weights(settings: Alignment, pictures: Pictures, texts: Vectors, how: How, team: Team) -> Arrays:
    """What one worker has learned, which is what all have."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(settings.seed)
        towers = Towers(texts.shape[1], settings.width)
    digest = hashlib.sha256(f"{team.size} {settings.model_dump_json()} {pictures.shape}".encode())
    for array in (pictures, texts):
        digest.update(np.ascontiguousarray(array).tobytes())
    plan = Plan(seed=settings.seed, epochs=settings.epochs, learning_rate=settings.learning_rate, decay=False)
    task = PairTask(settings, towers, pictures, texts, team)
    run(task, plan, folder=how.folder, subject=digest.hexdigest(), team=team, tell=how.tell)
    return weights_of(towers)


class PairTask:
    """Implements `loop.Task`. A step tells some pairs apart, each from all others of the step."""

    def __init__(self, settings: Alignment, towers: Towers, pictures: Pictures, texts: Vectors, team: Team) -> None:
        self.network = towers
        batch = min(settings.batch, len(pictures))
        self.steps, self._batch = -(-len(pictures) // batch), max(2, team.share(batch))
        self._settings, self._seen, self._read = settings, _tensor(pictures), torch.from_numpy(texts)

    def loss(self, rng: Generator) -> Tensor:
        rows = torch.from_numpy(rng.permutation(len(self._seen))[: self._batch])
        return _loss(self.network, self._settings, self._seen[rows], self._read[rows])

    def worth(self) -> float | None:
        return None


def telling_apart(ours: Tensor, theirs: Tensor, temperature: float) -> Tensor:
    """InfoNCE both ways: the mean cross-entropy of finding the partner of each among all."""
    logits = ours @ theirs.T / temperature
    partner = torch.arange(len(ours))
    return (functional.cross_entropy(logits, partner) + functional.cross_entropy(logits.T, partner)) / 2


def _loss(towers: Towers, settings: Alignment, pictures: Tensor, texts: Tensor) -> Tensor:
    one, other = (towers.see(_altered(pictures)) for _ in range(2))
    views = telling_apart(one, other, settings.temperature)
    pairs = telling_apart(one, towers.read(texts), settings.temperature)
    return (1 - settings.text_weight) * views + settings.text_weight * pairs


def _altered(pictures: Tensor) -> Tensor:
    """As the same thing would look in another photograph: moved a little, mirrored, grainy. Colour and size stay."""
    down, right = (int(torch.randint(-3, 4, ())) for _ in range(2))
    moved = torch.roll(pictures, (down, right), dims=(2, 3))
    mirrored = torch.where(torch.rand(len(moved), 1, 1, 1) < 0.5, moved.flip(3), moved)
    return mirrored + 0.05 * torch.randn_like(mirrored)


def _tensor(pictures: Pictures) -> Tensor:
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
