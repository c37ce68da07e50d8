"""The settings of a method that do best on a later time, searched by the library optuna."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, TypeVar

from serving.recommender.evaluation.tuning import worth_in
from serving.recommender.method import changed
from serving.recommender.methods.ensemble import AnyMethod
from serving.recommender.orders.splits import Split

if TYPE_CHECKING:
    from optuna import Trial

Value = str | float | int | bool | None


@dataclass(frozen=True)
class Span:
    """Any number between two; whole ones if both are."""

    low: float
    high: float
    log: bool = False
    """Even in the logarithm, for what matters by factors."""


Space = Mapping[str, tuple[Value, ...] | Span]
"""What is tried for each setting; `plan.learning_rate` is a setting of a setting."""

Method = TypeVar("Method", bound=AnyMethod)


@dataclass(frozen=True)
class Tried:
    """One trial."""

    settings: dict[str, Value]
    worth: float


def search(
    base: Method,
    space: Space,
    split: Split,
    track: str,
    *,
    trials: int = 20,
    seed: int = 0,
    tell: Callable[[Tried], None] = lambda _: None,
) -> Method:
    """The method with the settings that do best in a track of the split by NDCG@10; see `best`.

    Raises:
        InvalidInput: the space names a setting or value that the method does not have, or there is nobody to judge by.
    """

    def worth(settings: Mapping[str, Value]) -> float:
        return worth_in(changed(base, settings), split, track)

    return changed(base, best(worth, space, trials=trials, seed=seed, tell=tell)) if space else base


def best(
    worth: Callable[[Mapping[str, Value]], float],
    space: Space,
    *,
    trials: int = 20,
    seed: int = 0,
    tell: Callable[[Tried], None] = lambda _: None,
) -> dict[str, Value]:
    """The settings of the space that are worth the most.

    Everything is tried if the space has no span and no more points than `trials`; else trials are drawn by a
    tree-structured Parzen estimator (Bergstra et al., 2011). The same seed, the same trials.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    grid = {name: choice for name, choice in space.items() if not isinstance(choice, Span)}
    points = prod(len(choice) for choice in grid.values())
    whole = len(grid) == len(space) and points <= trials
    sampler = optuna.samplers.GridSampler(grid, seed=seed) if whole else optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)

    def objective(trial: Trial) -> float:
        settings = {name: _drawn(trial, name, choice) for name, choice in space.items()}
        found = worth(settings)
        tell(Tried(settings, found))
        return found

    study.optimize(objective, n_trials=points if whole else trials)
    return dict(study.best_params)


def _drawn(trial: Trial, name: str, choice: tuple[Value, ...] | Span) -> Value:
    if not isinstance(choice, Span):
        drawn: Value = trial.suggest_categorical(name, choice)
    elif isinstance(choice.low, int) and isinstance(choice.high, int):
        drawn = trial.suggest_int(name, choice.low, choice.high, log=choice.log)
    else:
        drawn = trial.suggest_float(name, choice.low, choice.high, log=choice.log)
    return drawn
