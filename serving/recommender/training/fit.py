"""Train the networks of a method: here or by several workers, from the start, a checkpoint or another model."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from serving.errors import InvalidInput
from serving.recommender.method import Arrays, Scorer
from serving.recommender.orders.purchases import Purchases
from serving.recommender.orders.splits import Split
from serving.recommender.training import loop
from serving.recommender.training.checkpoint import Course
from serving.recommender.training.how import HERE, How
from serving.recommender.training.judge import Judge
from serving.recommender.training.plan import Plan
from serving.recommender.training.team import Team
from serving.recommender.training.weights import warm_start, weights_of
from serving.recommender.training.workers import together


class Trained(Protocol):
    """A method whose network is trained by gradient."""

    @property
    def kind(self) -> str: ...

    @property
    def plan(self) -> Plan: ...

    def network(self, items: int) -> Any:
        """Of random weights."""

    def task(self, network: Any, past: Purchases, team: Team, judge: Judge | None) -> loop.Task:
        """What it learns."""

    def scores(self, network: Any, past: Purchases) -> Scorer:
        """Scores by the network as it is."""

    def model_copy(self, *, update: dict[str, Any]) -> Any: ...

    def model_dump_json(self) -> str: ...


Method = TypeVar("Method", bound=Trained)


def train(method: Trained, past: Purchases, how: How = HERE) -> Arrays:
    """The weights that `method` learns from `past`. The same circumstances, the same weights.

    Raises:
        InvalidInput: there is nothing to learn from, or the checkpoint is of another training.
        CorruptArtefact: the checkpoint is damaged.
        HcctlError: a worker or the disk failed.
    """
    return together(partial(_weights, method, past), how)


def stopped_early(method: Method, split: Split, patience: int, how: How = HERE) -> tuple[Method, Course]:
    """The method with as many epochs as do best on what came after the split, and the course of the search.

    The learning rate falls as it does over all of the method's epochs, so training on everything afterwards goes the
    same way as far as it goes.

    Raises:
        InvalidInput: the split has nobody to judge by.
    """
    watched = method.model_copy(update={"plan": method.plan.model_copy(update={"patience": patience})})
    told = together(partial(_course, watched, split), how)
    course = Course(
        losses=tuple(told["losses"].tolist()),
        worths=tuple(told["worths"].tolist()),
        best_epoch=int(told["best_epoch"]),
    )
    plan = method.plan.model_copy(update={"stop_after": course.best_epoch, "patience": None})
    return method.model_copy(update={"plan": plan}), course


def last_days(past: Purchases, days: int) -> Split:
    """The last days held out.

    Raises:
        InvalidInput: nothing is left before them.
    """
    cut = past.as_of_day - days
    split = Split(past.from_day(0, cut), past.from_day(cut, past.as_of_day))
    if not len(split.past):
        raise InvalidInput("cannot hold out", where="days", why=f"there is nothing before the last {days} days")
    return split


def _weights(method: Trained, past: Purchases, how: How, team: Team) -> Arrays:
    """What one worker has learned, which is what all have."""
    return weights_of(trained(method, past, how, team)[0])


def _course(method: Trained, split: Split, how: How, team: Team) -> Arrays:
    """How a training went that the time after the split judged."""
    _, course = trained(method, split.past, how, team, Judge(split))
    numbers = {"losses": course.losses, "worths": course.worths, "best_epoch": course.best_epoch}
    return {name: np.array(value, dtype=np.float64) for name, value in numbers.items()}


def trained(
    method: Trained, past: Purchases, how: How, team: Team, judge: Judge | None = None
) -> tuple[nn.Module, Course]:
    """The trained network and how it went; by one worker of a team."""
    items = len(past.item_ids)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(method.plan.seed)
        network: nn.Module = method.network(items)
    if how.start is not None:
        warm_start(network, how.start[0], past.item_ids, how.start[1])
    task = method.task(network, past, team, judge)
    subject = subject_of(method.model_dump_json(), past, how, team)
    return network, loop.run(task, method.plan, folder=how.folder, subject=subject, team=team, tell=how.tell)


def subject_of(settings: str, past: Purchases, how: How, team: Team) -> str:
    """A hash of all that a training depends on."""
    digest = hashlib.sha256(settings.encode())
    digest.update(f"{team.size} {past.user_ids} {past.item_ids}".encode())
    for array in (past.user, past.item, past.day):
        digest.update(array.tobytes())
    for name, weights in sorted((how.start[0] if how.start else {}).items()):
        digest.update(name.encode() + weights.tobytes())
    return digest.hexdigest()
