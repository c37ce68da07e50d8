"""What `hcctl model tune` does: a model judged at several days of the past, with one setting and another."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from serving.errors import InvalidInput
from serving.recommender import models
from serving.recommender.evaluation.rolling import Fold, cross_validate, rolling_origins
from serving.recommender.evaluation.tracks import METRICS
from serving.recommender.evaluation.trials import Span, Value, best
from serving.recommender.evaluation.tuning import score_on
from serving.recommender.ingest.dataset import Dataset
from serving.recommender.orders.splits import MIN_ROWS
from serving.recommender.training.how import HERE

if TYPE_CHECKING:
    from pathlib import Path

    from serving.recommender.evaluation.tracks import Score
    from serving.recommender.orders.purchases import Purchases

TrackName = Literal["a", "b", "both"]


@dataclass(frozen=True)
class Question:
    """By what settings are judged."""

    folds: int = 3
    """Spans at the end of the data, each predicted from what came before it."""
    span_days: int = 28
    metric: str = "ndcg@10"
    track: TrackName = "both"
    """`both`: the mean of a and b."""
    min_rows: int = MIN_ROWS
    """Users with fewer purchases before a span are not judged by it."""


@dataclass(frozen=True)
class Trial:
    """How one choice of settings did."""

    settings: dict[str, Value]
    value: float
    """Mean of the folds."""
    deviation: float | None
    """Of the folds; None if there is but one."""
    folds: tuple[float, ...]
    """Oldest first."""


def tune(
    data_folder: Path,
    name: str,
    *,
    settings: Mapping[str, Any],
    space: Mapping[str, str],
    before: date | None,
    question: Question,
    trials: int,
    seed: int,
    tell: Callable[[Trial], None],
) -> dict[str, Any]:
    """Cross-validate a model over time, with each of some settings; the best come first.

    Args:
        data_folder: clean data.
        name: of the model.
        settings: those that are not searched, where they differ from the usual ones.
        space: what is tried: by name of the setting, `VALUE,VALUE` or `LOW..HIGH`; nothing: the model as it is.
        before: the first day that is not looked at; None: everything is.
        question: by what settings are judged.
        trials: at most so many.
        seed: of the search.
        tell: called after each trial.

    Raises:
        InvalidInput: the data, the name, a setting or the question cannot be used, or there is too little to judge by.
        HcctlError: the data cannot be read.
    """
    entry, data = models.named(name), Dataset.open(data_folder)
    if question.metric not in METRICS:
        raise InvalidInput(
            "no such metric", where=f"--metric {question.metric[:80]}", next_step=f"use one of {', '.join(METRICS)}"
        )
    chosen = {key: choice_of(key, text) for key, text in space.items()}
    for key, choice in chosen.items():
        for value in (choice.low, choice.high) if isinstance(choice, Span) else choice:
            entry.settings({**settings, key: value})  # refused now rather than after an hour of trials
    past = data.purchases().between(None, before)
    splits = rolling_origins(past, folds=question.folds, span_days=question.span_days)
    found: list[Trial] = []

    def worth(changes: Mapping[str, Value]) -> float:
        usual = entry.settings({**settings, **changes})

        def fit(known: Purchases) -> Score:
            return score_on(entry.fit(usual, known, data, HERE), known)

        found.append(_trial(changes, cross_validate(fit, splits, question.min_rows), question))
        tell(found[-1])
        return found[-1].value

    best(worth, chosen, trials=trials, seed=seed)
    return {
        "model": name,
        "generated": data.report.generated,
        "metric": question.metric,
        "track": question.track,
        "days": [models.day(past.as_of_day - fold * question.span_days) for fold in range(question.folds, 0, -1)],
        "trials": [asdict(trial) for trial in sorted(found, key=lambda trial: -trial.value)],
    }


def choice_of(key: str, text: str) -> tuple[Value, ...] | Span:
    """`1,2,null` as values, `1..9` and `0.1..0.9` as a span, even in the logarithm if it is tenfold or more.

    Raises:
        InvalidInput: it is neither.
    """
    low, dots, high = text.partition("..")
    if not dots:
        return tuple(dict.fromkeys(_value(part) for part in text.split(",")))
    bounds = _value(low), _value(high)
    numbers = [bound for bound in bounds if isinstance(bound, int | float) and not isinstance(bound, bool)]
    if len(numbers) < 2 or not np.isfinite(numbers).all() or numbers[0] >= numbers[1]:
        raise InvalidInput(
            "no span of numbers", where=f"--try {key[:80]}={text[:80]}", next_step="as in --try l2=50..500"
        )
    return Span(numbers[0], numbers[1], log=0 < 10 * numbers[0] <= numbers[1])


def _value(text: str) -> Value:
    """A number, true, false, null, or a text, which needs no quotes."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(found, str | int | float | bool | None):
        raise InvalidInput("no single value", where=f"--try {text[:80]}", next_step="name its settings, as plan.epochs")
    return found


def _trial(changes: Mapping[str, Value], folds: Sequence[Fold], question: Question) -> Trial:
    """What the folds say of these changes.

    Raises:
        InvalidInput: the metric is not defined for anybody.
    """
    asked = ("a", "b") if question.track == "both" else (question.track,)
    values = np.array([[fold.tracks[track].mean(question.metric) for track in asked] for fold in folds]).mean(axis=1)
    if not np.isfinite(values).all():
        raise InvalidInput(
            "nothing to choose by",
            where=f"--metric {question.metric}",
            why="it is defined for nobody in one of the spans",
            next_step="choose another metric, or longer spans",
        )
    deviation = float(values.std(ddof=1)) if len(values) > 1 else None
    return Trial(dict(changes), float(values.mean()), deviation, tuple(values.tolist()))
