"""The settings of a method that do best on a later time, searched by the library optuna."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar, cast

from serving.errors import InvalidInput
from serving.recommender.evaluation.tuning import worth_in
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
    """NDCG@10."""


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
    """The method with the settings that do best in a track of the split by NDCG@10.

    Everything is tried if the space has no span and no more points than `trials`; else trials are drawn by a
    tree-structured Parzen estimator (Bergstra et al., 2011). The same seed, the same trials.

    Raises:
        InvalidInput: the space names a setting or value that the method does not have, or there is nobody to judge by.
    """
    import optuna

    if not space:
        return base
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    grid = {name: choice for name, choice in space.items() if not isinstance(choice, Span)}
    points = prod(len(choice) for choice in grid.values())
    whole = len(grid) == len(space) and points <= trials
    sampler = optuna.samplers.GridSampler(grid, seed=seed) if whole else optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)

    def worth(trial: Trial) -> float:
        settings = {name: _drawn(trial, name, choice) for name, choice in space.items()}
        found = worth_in(changed(base, settings), split, track)
        tell(Tried(settings, found))
        return found

    study.optimize(worth, n_trials=points if whole else trials)
    return changed(base, study.best_params)


def changed(base: Method, settings: Mapping[str, Value]) -> Method:
    """The method with other settings.

    Raises:
        InvalidInput: it has no such setting, or not such a value.
    """
    values: dict[str, Any] = base.model_dump()
    for name, value in settings.items():
        *outer, last = name.split(".")
        inner = values
        for step in outer:
            if not isinstance(inner.get(step), dict):
                raise InvalidInput(f"no setting of {base.kind}", where=name)
            inner = inner[step]
        inner[last] = value
    try:
        return cast("Method", type(base).model_validate(values))
    except ValueError as problem:
        raise InvalidInput(
            f"not settings of {base.kind}", where=", ".join(settings), why=str(problem).splitlines()[-2].strip()[:200]
        ) from problem


def _drawn(trial: Trial, name: str, choice: tuple[Value, ...] | Span) -> Value:
    if not isinstance(choice, Span):
        drawn: Value = trial.suggest_categorical(name, choice)
    elif isinstance(choice.low, int) and isinstance(choice.high, int):
        drawn = trial.suggest_int(name, choice.low, choice.high, log=choice.log)
    else:
        drawn = trial.suggest_float(name, choice.low, choice.high, log=choice.log)
    return drawn
