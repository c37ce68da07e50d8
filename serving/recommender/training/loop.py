"""The one training loop: every network of the recommender is trained here, alone or by several workers.

A step depends on nothing but the weights, the seed, its number and the worker's rank: each draws its random numbers
from a generator of its own. So a run that was killed and goes on from its last checkpoint ends with the same bytes as
one that was not, and there is no state of random generators to store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from serving.errors import InvalidInput
from serving.recommender.training import checkpoint
from serving.recommender.training.checkpoint import Course
from serving.recommender.training.how import Progress, unheard
from serving.recommender.training.plan import Plan
from serving.recommender.training.team import ALONE, Team

CLIP_NORM = 5.0
"""Longer gradients are shortened to this: one odd batch must not undo what was learned."""


class Task(Protocol):
    """What is learned."""

    steps: int
    """Per epoch, at least 1."""

    @property
    def network(self) -> nn.Module:
        """Whose weights are learned, in place."""

    def loss(self, rng: Generator) -> Tensor:
        """The mean loss of a batch drawn with `rng`; of this worker's share of it."""

    def worth(self) -> float | None:
        """How good the network is on what it does not learn from, higher is better; None where nothing is held out."""


def run(
    task: Task,
    plan: Plan,
    *,
    folder: Path | None = None,
    subject: str = "",
    team: Team = ALONE,
    tell: Callable[[Progress], None] = unheard,
    time_left: Callable[[], bool] = lambda: True,
) -> Course:
    """Train `task.network` in place and return how it went; with `patience`, the weights are those of the best epoch.

    Deterministic: the same task, plan and team give the same weights, unless the time is up.

    Args:
        task: what to learn.
        plan: how long, how fast, from which seed.
        folder: where checkpoints go, one after each epoch, the last one kept; an earlier run's is resumed. None: none.
        subject: what is learned from what, as a hash; a checkpoint of another subject is refused.
        team: this worker among those that train together.
        tell: called after each epoch, by the first worker.
        time_left: asked before each step; once it says no, training ends with what it has.

    Raises:
        InvalidInput: the folder holds a checkpoint of another plan or subject, or there is `patience` and nothing held
            out.
        CorruptArtefact: the checkpoint there is damaged.
        HcctlError: the disk is full, read-only or failing.
    """
    network = task.network
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    course = Course()
    best: dict[str, Tensor] | None = None
    if folder is not None and (found := checkpoint.load(folder, plan, subject, network, optimiser)):
        course, best = found
    total = plan.epochs * task.steps
    with one_thread(), torch.random.fork_rng(devices=()):
        while not course.ended(plan):
            losses = []
            network.train()
            for step in range(len(course.losses) * task.steps, (len(course.losses) + 1) * task.steps):
                if not time_left():
                    break
                _adjust(optimiser, plan.learning_rate * (1 - step / total if plan.decay else 1.0))
                losses.append(_step(task, optimiser, plan.seed, step, team))
            if len(losses) < task.steps:
                course = course.cut(len(losses))
                break
            network.eval()
            with torch.inference_mode():
                worth = team.agree(task.worth())
            if worth is None and plan.patience is not None:
                raise InvalidInput(
                    "cannot stop early", where="plan.patience", why="nothing is held out", next_step="set plan.epochs"
                )
            course = course.then(team.mean(float(np.mean(losses))), worth)
            if course.best_epoch == len(course.losses):
                best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
            if team.rank == 0:
                if folder is not None:
                    checkpoint.save(folder, plan, subject, network, optimiser, course, best)
                tell(Progress(len(course.losses), plan.epochs, course.losses[-1], worth))
    if plan.patience is not None and best is not None:
        network.load_state_dict(best)
    network.eval()
    return course


def _step(task: Task, optimiser: torch.optim.Optimizer, seed: int, step: int, team: Team) -> float:
    rng = np.random.default_rng([seed, step, team.rank])
    torch.manual_seed(int(rng.integers(1 << 63)))  # dropout
    optimiser.zero_grad()
    loss = task.loss(rng)
    loss.backward()  # type: ignore[no-untyped-call]
    weights = [weight for weight in task.network.parameters() if weight.grad is not None]
    team.average([weight.grad for weight in weights if weight.grad is not None])
    nn.utils.clip_grad_norm_(weights, CLIP_NORM)
    optimiser.step()
    return float(loss.detach())


def _adjust(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread: the networks are small, sums come out the same, and the sites keep their cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
