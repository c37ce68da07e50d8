"""In which circumstances a network is trained; none of them is a setting of the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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


HERE = How()
"""In this process, from the start, without checkpoints."""
