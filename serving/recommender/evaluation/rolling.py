"""Cross-validation over time: the same question at several days, each answered from what was known then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from serving.errors import InvalidInput
from serving.recommender.evaluation.tracks import Evaluation, evaluate
from serving.recommender.evaluation.tracks import Score as Scored
from serving.recommender.orders.purchases import Purchases
from serving.recommender.orders.splits import MIN_ROWS, Split, tracks


@dataclass(frozen=True, eq=False)
class Fold:
    """One origin."""

    first_day: int
    """Of what is predicted; UTC days since the epoch."""
    tracks: dict[str, Evaluation]


def rolling_origins(purchases: Purchases, *, folds: int, span_days: int) -> list[Split]:
    """The last `folds` spans, each predicted from everything before it; oldest first.

    Raises:
        InvalidInput: a span is empty, or nothing lies before the first.
    """
    splits = []
    for fold in range(folds, 0, -1):
        cut = purchases.as_of_day - fold * span_days
        split = Split(purchases.from_day(0, cut), purchases.from_day(cut, cut + span_days))
        if not len(split.past) or not len(split.later):
            raise InvalidInput(
                "cannot cross-validate over time",
                where="folds, span_days",
                why=f"{folds} spans of {span_days} days do not fit into the purchases, or one has none",
                next_step="take fewer or shorter spans",
            )
        splits.append(split)
    return splits


def cross_validate(fit: Callable[[Purchases], Scored], splits: list[Split], min_rows: int = MIN_ROWS) -> list[Fold]:
    """Fit before each origin and judge after it, in both tracks.

    Raises:
        InvalidInput: after one there is nobody to judge by.
    """
    found = []
    for split in splits:
        asked = tracks(split, min_rows)
        score = fit(split.past)
        judged = {track.name: evaluate(score, track) for track in asked}
        found.append(Fold(int(split.later.day[0]), judged))
    return found


def spread(folds: list[Fold], track: str, metric: str) -> tuple[float, float]:
    """Mean and standard deviation of a metric over the origins."""
    values = [fold.tracks[track].mean(metric) for fold in folds]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
