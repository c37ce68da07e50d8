"""Judge a model on a track, and compare two models user by user."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from serving.errors import InvalidInput
from serving.recommender import metrics
from serving.recommender.orders.lines import Index
from serving.recommender.orders.purchases import Matrix, Vector
from serving.recommender.orders.splits import Track

BATCH = 512
"""Users scored at once: bounds memory to this many rows of scores."""
RESAMPLES = 10_000
RESAMPLE_CHUNK = 500
CUTOFFS = (10, 20)
MEASURES = ("ndcg", "precision", "recall", "f1", "accuracy", "hit_rate", "mrr", "diversity", "novelty")
METRICS = ("auc", *(f"{measure}@{k}" for k in CUTOFFS for measure in MEASURES))
"""What is measured user by user with these cutoffs: the names in `Evaluation.per_user`."""

Score = Callable[[Index], Matrix]
"""Indices of users among the track's past to scores [users, items]; higher is better, minus infinity never listed."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How a model did on a track."""

    track: Track
    per_user: dict[str, Vector]
    """`ndcg@10` and so on, in the order of the track's users; NaN where it is not defined."""
    coverage: dict[int, float]
    """By cutoff: share of the candidate items that is in anybody's list."""
    lists: Index
    """[users, largest cutoff]: the items, best first."""

    def mean(self, metric: str) -> float:
        """Over the users for whom it is defined; NaN if for none."""
        values = self.per_user[metric]
        defined = values[~np.isnan(values)]
        return float(defined.mean()) if len(defined) else float("nan")

    def summary(self) -> dict[str, float]:
        """All metrics as means over users, and coverage."""
        means = {metric: self.mean(metric) for metric in self.per_user}
        return means | {f"coverage@{k}": share for k, share in self.coverage.items()}


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval."""

    mean: float
    low: float
    high: float


def evaluate(score: Score, track: Track, cutoffs: tuple[int, ...] = CUTOFFS) -> Evaluation:
    """Rank all candidate items for each user of `track` and measure the lists.

    Diversity compares items by who bought them in the track's past.
    """
    past = track.past.histories()
    bought = past.bought()
    buyers, vectors = np.asarray(bought.sum(axis=0)).ravel(), bought.T.tocsr()
    longest = max(cutoffs)
    lists, areas = [], []
    for first in range(0, len(track.users), BATCH):
        rows = slice(first, first + BATCH)
        scores = candidate_scores(score, track, rows)
        lists.append(metrics.top(scores, longest))
        areas.append(metrics.auc(scores, track.relevant[rows]))
    listed = np.concatenate(lists)
    hit, relevant = metrics.hits(listed, track.relevant), track.relevant_counts
    candidates, active = int((buyers > 0).sum()), len(np.unique(past.row))
    per_user: dict[str, Vector] = {"auc": np.concatenate(areas)}
    for k in cutoffs:
        seen, items = hit[:, :k], listed[:, :k]
        per_user |= {
            f"ndcg@{k}": metrics.ndcg(seen, relevant),
            f"precision@{k}": metrics.precision(seen),
            f"recall@{k}": metrics.recall(seen, relevant),
            f"f1@{k}": metrics.f1(seen, relevant),
            f"accuracy@{k}": metrics.accuracy(seen, relevant, candidates),
            f"hit_rate@{k}": metrics.hit_rate(seen),
            f"mrr@{k}": metrics.mrr(seen),
            f"diversity@{k}": metrics.diversity(items, vectors),
            f"novelty@{k}": metrics.novelty(items, buyers, active),
        }
    return Evaluation(track, per_user, {k: metrics.coverage(listed[:, :k], candidates) for k in cutoffs}, listed)


def candidate_scores(score: Score, track: Track, rows: slice) -> Matrix:
    """The scores of some users of the track, minus infinity for what is no candidate."""
    scores = score(track.users[rows]).copy()
    scores[:, ~track.candidates] = -np.inf
    if track.excluded is not None:
        scores[track.excluded[rows].nonzero()] = -np.inf
    return scores


def compare(ours: Evaluation, theirs: Evaluation, metric: str, *, seed: int = 0, level: float = 0.95) -> Interval:
    """How much better `ours` is than `theirs`: mean difference over users, with its paired bootstrap interval.

    Both are measured on the same users; a user for whom the metric is not defined is left out of both.

    Raises:
        InvalidInput: they were not measured on the same track.
    """
    if ours.track.name != theirs.track.name or not np.array_equal(ours.track.users, theirs.track.users):
        raise InvalidInput("cannot compare", where=metric, why="the evaluations are of different users")
    return bootstrap(ours.per_user[metric] - theirs.per_user[metric], seed=seed, level=level)


def bootstrap(values: Vector, *, seed: int = 0, level: float = 0.95, resamples: int = RESAMPLES) -> Interval:
    """The mean of `values` without NaN, and its percentile bootstrap interval (Efron, 1979).

    Raises:
        InvalidInput: no value is left, or `level` is not between 0 and 1.
    """
    values = values[~np.isnan(values)]
    if not len(values) or not 0 < level < 1:
        raise InvalidInput("cannot resample", where="values, level", why="there is no value, or no level in (0, 1)")
    rng = np.random.default_rng(seed)
    counts = [min(RESAMPLE_CHUNK, resamples - done) for done in range(0, resamples, RESAMPLE_CHUNK)]
    means = np.concatenate(
        [values[rng.integers(len(values), size=(size, len(values)))].mean(axis=1) for size in counts]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values.mean()), float(low), float(high))
