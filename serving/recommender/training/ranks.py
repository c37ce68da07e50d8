"""What a ranker learns: which of the candidates of earlier months were bought."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from serving.errors import InvalidInput
from serving.recommender.method import Arrays
from serving.recommender.methods.candidates import Candidates, Catalogue, candidates
from serving.recommender.methods.parts import as_float32, learn_parts, part_scorers
from serving.recommender.methods.ranking import DEVIATION, MEAN, NETWORK, PART, SCORED_AT_ONCE, Ranked, standardised
from serving.recommender.orders.lines import Index
from serving.recommender.orders.purchases import Purchases
from serving.recommender.training.fit import subject_of
from serving.recommender.training.how import HERE, How
from serving.recommender.training.loop import run
from serving.recommender.training.team import Team
from serving.recommender.training.weights import weights_of
from serving.recommender.training.workers import together

USERS_PER_STEP = 32
LEAST_ROWS = 2
"""Purchases before a cut that a user needs to be learned from."""


def train_networks(method: Ranked, past: Purchases, how: How = HERE) -> Arrays:
    """Everything a ranker learns: its networks, and what its parts learn from all of `past`.

    The networks are trained as `how` says, the parts always here; each worker makes all candidates itself.

    Raises:
        InvalidInput: the past is too short to cut, or the checkpoints are of another training.
        CorruptArtefact: a checkpoint is damaged.
        HcctlError: a worker or the disk failed.
    """
    learned = together(partial(_networks, method, past), how)
    return dict(learned) | {PART + name: array for name, array in learn_parts(method.parts, past).items()}


def _networks(method: Ranked, past: Purchases, how: How, team: Team) -> Arrays:
    """The networks alone, one after the other, and how their numbers are scaled; by one worker."""
    lists = [group for month in range(1, method.months + 1) for group in _month(method, past, month)]
    if not lists:
        raise InvalidInput(
            "cannot train a ranker",
            where="purchases",
            why=f"nobody bought before and in the last {method.months} spans of {method.span_days} days",
            next_step="give it a longer span, or shorten span_days",
        )
    known = np.concatenate([group.known for group, _ in lists])
    mean, deviation = as_float32(known.mean(axis=0)), as_float32(known.std(axis=0) + 1e-6)
    task_of = _Lists(lists, standardised(known, mean, deviation))
    subject = subject_of(method.model_dump_json(), past, how, team)
    found: dict[str, NDArray[Any]] = {MEAN: mean, DEVIATION: deviation}
    for place in range(method.networks):
        plan = method.plan.model_copy(update={"seed": method.plan.seed + place})
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(plan.seed)
            network = method.network(len(past.item_ids))
        part = how.part(f"network-{place}")
        run(RankTask(network, task_of, team), plan, folder=part.folder, subject=subject, team=team, tell=part.tell)
        found |= {f"{NETWORK}{place}.{name}": array for name, array in weights_of(network).items()}
    return found


def _month(method: Ranked, past: Purchases, month: int) -> Iterator[tuple[Candidates, NDArray[np.bool_]]]:
    """Candidates of the users as of an earlier month, and which they bought in it; a batch of users at a time."""
    cut = past.as_of_day - month * method.span_days
    before, after = past.from_day(0, cut), past.from_day(cut, cut + method.span_days)
    if not len(before) or not len(after):
        return
    histories = before.histories()
    wanted = sparse.csr_matrix((np.ones(len(after)), (after.user, after.item)), shape=histories.shape)
    enough = np.bincount(before.user, minlength=len(before.user_ids)) >= LEAST_ROWS
    users = np.flatnonzero(enough & (np.diff(wanted.indptr) > 0))
    scorers = part_scorers(method.parts, before, learn_parts(method.parts, before))
    catalogue = Catalogue(before)
    for first in range(0, len(users), SCORED_AT_ONCE):
        batch = users[first : first + SCORED_AT_ONCE]
        named = candidates(histories.of(batch), scorers, catalogue, method.each)
        bought = np.asarray(wanted[batch[named.row], named.item]).ravel() > 0
        if bought.any():
            yield named, bought


class _Lists:
    """The candidates of many users, one after the other."""

    def __init__(self, lists: list[tuple[Candidates, NDArray[np.bool_]]], known: NDArray[np.float32]) -> None:
        user = np.concatenate([named.row + place * SCORED_AT_ONCE for place, (named, _) in enumerate(lists)])
        self.known = torch.from_numpy(known)
        self.fresh = torch.from_numpy(~np.concatenate([named.bought for named, _ in lists]))
        self.wanted = torch.from_numpy(np.concatenate([bought for _, bought in lists]).astype(np.float32))
        _, self._start = np.unique(user, return_index=True)
        self._end = np.append(self._start[1:], len(user))

    def __len__(self) -> int:
        return len(self._start)

    def of(self, users: Index) -> tuple[Tensor, Tensor]:
        """The candidates of some users, and whose each is."""
        size = self._end[users] - self._start[users]
        entry = np.repeat(self._start[users] - np.cumsum(size) + size, size) + np.arange(size.sum())
        return torch.from_numpy(entry), torch.from_numpy(np.repeat(np.arange(len(users)), size))


class RankTask:
    """Implements `loop.Task`."""

    def __init__(self, network: nn.Module, lists: _Lists, team: Team) -> None:
        self.network = network
        self.steps = max(1, len(lists) // USERS_PER_STEP)
        self._lists, self._batch = lists, team.share(USERS_PER_STEP)

    def loss(self, rng: Generator) -> Tensor:
        entry, user = self._lists.of(rng.integers(len(self._lists), size=self._batch))
        value = self.network(self._lists.known[entry]).squeeze(1)
        wanted, fresh = self._lists.wanted[entry], self._lists.fresh[entry]
        everything = listwise_loss(value, wanted, user, self._batch)
        return everything + listwise_loss(value[fresh], wanted[fresh], user[fresh], self._batch)

    def worth(self) -> float | None:
        return None


def listwise_loss(value: Tensor, wanted: Tensor, user: Tensor, users: int) -> Tensor:
    """Cross-entropy of what is wanted (0 or 1) under the softmax over each user's candidates, mean over `users`.

    A user counts with the log of 1 + the number of items wanted: more of them say more, but not in proportion.
    """
    best = torch.full((users,), -torch.inf).scatter_reduce(0, user, value.detach(), "amax")
    total = torch.zeros(users).scatter_add(0, user, (value - best[user]).exp()).clamp(min=1e-30).log()
    surprise = total[user] - (value - best[user])
    count = torch.zeros(users).scatter_add(0, user, wanted)
    mean = torch.zeros(users).scatter_add(0, user, surprise * wanted) / count.clamp(min=1)
    return (mean * torch.log1p(count)).sum() / users
