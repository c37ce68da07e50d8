"""In which circumstances a network is trained; none of them is a setting of the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from serving.errors import InvalidInput
from serving.recommender.method import Arrays


@dataclass(frozen=True)
class Progress:
    """What is told after each epoch."""

    epoch: int
    """From 1."""
    epochs: int
    loss: float
    """Mean of the epoch."""
    worth: float | None


def unheard(_: Progress) -> None:
    """Nobody listens to the progress."""


@dataclass(frozen=True)
class How:
    """The circumstances of a training."""

    folder: Path | None = None
    """For checkpoints, from which a killed training goes on; None: none are kept."""
    workers: int = 1
    """1: this process. More: so many of Ray Train, each with a share of every batch."""
    start: tuple[Arrays, tuple[str, ...]] | None = None
    """What another model learned, and its item ids: training begins there."""
    tell: Callable[[Progress], None] = unheard

    def part(self, name: str) -> How:
        """The same for one of several networks: its checkpoints have a folder of their own."""
        return self if self.folder is None else replace(self, folder=self.folder / name)

    def in_steps(self) -> bool:
        """Whether it asks for what only a training in steps has."""
        return self.workers > 1 or self.folder is not None or self.start is not None


def not_in_steps(how: How, next_step: str) -> InvalidInput:
    """The error for a model whose training has no steps that could be shared or resumed."""
    flag = "--workers" if how.workers > 1 else "--checkpoints" if how.folder else "--warm-start"
    return InvalidInput("the model is not trained in steps", where=flag, next_step=next_step)


HERE = How()
"""In this process, from the start, without checkpoints."""
