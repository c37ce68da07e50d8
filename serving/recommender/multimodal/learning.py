"""Which users like which features, from what they were shown and clicked on.

A click is a logistic function of profile x weights x features, plus how much the item is clicked on by everybody,
which is for known items alone and thrown away afterwards: taste must not learn what is popular. What was shown and not
clicked on counts as well, so what a shop shows more often does not pass for taste.

Each user is learned from twice: as known by the first half of what they were shown, judged by the second; and as nobody
has met them yet, by what they told alone, judged by all of it.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.random import Generator
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from serving.errors import InvalidInput
from serving.recommender.method import Arrays
from serving.recommender.multimodal.taste import Lesson, profile, traits
from serving.recommender.orders.lines import Index
from serving.recommender.orders.purchases import Matrix, index_of
from serving.recommender.training.how import HERE, How
from serving.recommender.training.loop import run
from serving.recommender.training.plan import Plan
from serving.recommender.training.team import Team
from serving.recommender.training.weights import weights_of
from serving.recommender.training.workers import together

ITEM_L2 = 3e-5
"""On how much an item is clicked on by everybody."""


def learned(lesson: Lesson) -> Matrix:
    """The weights, [profile, width]; the same lesson, the same weights.

    Raises:
        InvalidInput: nothing was shown, nobody clicked, or the folder for checkpoints holds another training.
        HcctlError: a worker or the disk failed.
    """
    if not lesson.shown.clicked.any():
        why = "nobody clicked on anything that was shown"
        raise InvalidInput("nothing to learn from", where="shown", why=why, next_step="give it a longer span")
    found = together(partial(_weights, replace(lesson, how=HERE)), lesson.how)
    return np.asarray(found["weights"], dtype=np.float64)


def _weights(lesson: Lesson, how: How, team: Team) -> Arrays:
    """What one worker has learned, which is what all have."""
    taste = lesson.taste
    task = TasteTask(lesson, team)
    plan = Plan(seed=taste.seed, epochs=taste.epochs, learning_rate=taste.learning_rate)
    run(task, plan, folder=how.folder, subject=_subject(lesson, team), team=team, tell=how.tell)
    return weights_of(task.network)


class TasteNetwork(nn.Module):
    """The logit of a click: profile x weights x features, and how much everybody clicks on the item."""

    def __init__(self, told: int, width: int, items: int, rate: float) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(told, width))
        self.everybody = nn.Parameter(torch.full((items,), float(np.log(rate / max(1 - rate, 1e-6)))))

    def forward(self, who: Tensor, features: Tensor, item: Tensor) -> Tensor:
        return ((who @ self.weights) * features).sum(dim=1) + self.everybody[item]


class TasteTask:
    """Implements `loop.Task`. A step reads some of what was shown."""

    def __init__(self, lesson: Lesson, team: Team) -> None:
        shown = lesson.shown
        self._taste, self._features = lesson.taste, torch.from_numpy(lesson.told.features)
        self._met, self._unmet, later = _users(lesson)
        self._user, self._item = torch.from_numpy(shown.user), torch.from_numpy(shown.item)
        self._clicked = torch.from_numpy(shown.clicked).float()
        self._lines = torch.cat([torch.from_numpy(later), len(shown.user) + torch.arange(len(shown.user))])
        batch = min(lesson.taste.batch, len(self._lines))
        self.steps, self._batch = -(-len(self._lines) // batch), team.share(batch)
        self.network = TasteNetwork(
            self._met.shape[1], self._features.shape[1], len(self._features), float(self._clicked.mean())
        )

    def loss(self, rng: Generator) -> Tensor:
        chosen = self._lines[torch.from_numpy(rng.integers(len(self._lines), size=self._batch))]
        row = chosen % len(self._user)
        user, item = self._user[row], self._item[row]
        who = torch.where((chosen >= len(self._user))[:, None], self._unmet[user], self._met[user])
        logit = self.network(who, self._features[item], item)
        loss = functional.binary_cross_entropy_with_logits(logit, self._clicked[row])
        network = self.network
        return loss + self._taste.l2 * network.weights.square().sum() + ITEM_L2 * network.everybody.square().sum()

    def worth(self) -> float | None:
        return None


def _subject(lesson: Lesson, team: Team) -> str:
    """A hash of all that a training depends on."""
    shown, told = lesson.shown, lesson.told
    people = sorted((name, sorted(own)) for name, own in told.people.items())
    named = f"{team.size} {lesson.taste.model_dump_json()} {told.item_ids} {shown.user_ids} {people}"
    digest = hashlib.sha256(named.encode())
    for array in (told.features, shown.user, shown.item, shown.clicked):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _users(lesson: Lesson) -> tuple[Tensor, Tensor, Index]:
    """Profiles of all users by the first half of what they were shown, and by nothing; and the lines of the second."""
    shown, told = lesson.shown, lesson.told
    own = traits([told.people.get(name, ()) for name in shown.user_ids], index_of(told.traits()))
    start = np.searchsorted(shown.user, shown.user)
    length = np.bincount(shown.user, minlength=len(own))[shown.user]
    later = np.arange(len(shown.user)) - start >= length // 2
    lines = np.flatnonzero(~later & shown.clicked)
    table = sparse.csr_matrix(
        (np.ones(len(lines)), (shown.user[lines], shown.item[lines])), (len(own), len(told.item_ids))
    )
    count = np.asarray(table.sum(axis=1)).ravel()
    means = np.asarray(table @ told.features.astype(np.float64)) / np.maximum(count, 1)[:, None]
    prior = lesson.taste.prior
    met, unmet = (profile(means * known, count * known, own, prior) for known in (1.0, 0.0))
    return torch.from_numpy(met).float(), torch.from_numpy(unmet).float(), np.flatnonzero(later)
