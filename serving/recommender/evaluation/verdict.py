"""Whether a candidate may replace a baseline, by what people bought afterwards. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from serving.errors import InvalidInput
from serving.recommender.evaluation.tracks import Evaluation, Interval, compare

Outcome = Literal["better", "as good", "worse", "undecided"]


@dataclass(frozen=True)
class TrackVerdict:
    """How the candidate compares in one track."""

    track: str
    outcome: Outcome
    candidate: float
    baseline: float
    difference: Interval


@dataclass(frozen=True)
class Verdict:
    """What a quality gate needs to know."""

    passes: bool
    metric: str
    tracks: tuple[TrackVerdict, ...]
    reason: str
    """One sentence."""


def verdict(
    candidate: Sequence[Evaluation],
    baseline: Sequence[Evaluation],
    *,
    metric: str = "ndcg@10",
    tolerance: float = 0.02,
    level: float = 0.95,
    seed: int = 0,
) -> Verdict:
    """Judge a candidate in each track, by the paired bootstrap interval of its difference to the baseline.

    Better: the interval is above zero. As good: it is above a loss of `tolerance` of the baseline's mean. Worse: it
    reaches further down and is below zero. Undecided: it is too wide to say. A candidate passes if it is better or as
    good in every track.

    Args:
        candidate: one evaluation per track.
        baseline: of the same tracks, users and order.
        metric: what counts, one of an evaluation's `per_user`.
        tolerance: share of the baseline's mean that may be lost, 0 to 1.
        level: of the interval.
        seed: of the resampling.

    Raises:
        InvalidInput: the two were not measured on the same tracks, or there is no such metric.
    """
    if len(candidate) != len(baseline) or not candidate:
        raise InvalidInput("cannot compare", where="tracks", why="they are not of the same number, or there is none")
    if not 0 <= tolerance <= 1:
        raise InvalidInput("not a share from 0 to 1", where="tolerance")
    if unknown := [one for one in (*candidate, *baseline) if metric not in one.per_user]:
        known = ", ".join(sorted(unknown[0].per_user))
        raise InvalidInput("no such metric", where=metric, why=f"there are {known}")
    found = tuple(
        _of_track(ours, theirs, metric, tolerance, level, seed)
        for ours, theirs in zip(candidate, baseline, strict=True)
    )
    passes = all(track.outcome in {"better", "as good"} for track in found)
    told = "; ".join(
        f"track {track.track}: {track.outcome}, {track.difference.mean:+.4f} "
        f"({track.difference.low:+.4f} to {track.difference.high:+.4f}) of {track.baseline:.4f}"
        for track in found
    )
    return Verdict(passes, metric, found, f"{metric}: {told}")


def _of_track(
    ours: Evaluation, theirs: Evaluation, metric: str, tolerance: float, level: float, seed: int
) -> TrackVerdict:
    difference = compare(ours, theirs, metric, seed=seed, level=level)
    before = theirs.mean(metric)
    outcome: Outcome
    if difference.low > 0:
        outcome = "better"
    elif difference.low >= -tolerance * before:
        outcome = "as good"
    elif difference.high < 0:
        outcome = "worse"
    else:
        outcome = "undecided"
    return TrackVerdict(ours.track.name, outcome, ours.mean(metric), before, difference)
