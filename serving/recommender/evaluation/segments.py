"""Where a model is good: by how much a user bought, by how well an item sells, by any label of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.recommender import metrics
from serving.recommender.evaluation.tracks import Evaluation
from serving.recommender.orders.lines import Index
from serving.recommender.orders.splits import MIN_ROWS, Track

HEAVY_ROWS = 50
"""Purchases in the fit from which a user is heavy."""
BANDS = (("head", 0.0, 0.5), ("middle", 0.5, 0.8), ("tail", 0.8, 1.0))
"""Items by popularity: those that make the first half of all purchases, the next 30 %, and the rest."""
NOT_KNOWN, OTHERS = "not known", "others"

Chosen = NDArray[np.bool_]


@dataclass(frozen=True)
class SegmentRow:
    """One line of the table of segments."""

    segment: str
    users: int
    metrics: dict[str, float]
    """Means over the segment's users; NaN where it is defined for none."""


def by_history(track: Track) -> dict[str, Chosen]:
    """Users of a track as new, light and heavy, by their purchases in the fit.

    Tracks leave new users out unless they were made with `min_rows=1`.
    """
    rows = np.bincount(track.past.user, minlength=len(track.past.user_ids))[track.users]
    return {
        f"new (under {MIN_ROWS} purchases)": rows < MIN_ROWS,
        f"light (under {HEAVY_ROWS})": (rows >= MIN_ROWS) & (rows < HEAVY_ROWS),
        f"heavy ({HEAVY_ROWS} and more)": rows >= HEAVY_ROWS,
    }


def by_label(track: Track, labels: Mapping[str, str], at_least: int = 20) -> dict[str, Chosen]:
    """Users of a track by a label, as their country; labels of few users are one, as are users without a label."""
    found = np.array([labels.get(track.past.user_ids[user], NOT_KNOWN) for user in track.users])
    names, counts = np.unique(found, return_counts=True)
    large = [name for name, count in zip(names, counts, strict=True) if count >= at_least and name != OTHERS]
    segments = {str(name): found == name for name in large}
    rest = ~np.isin(found, large)
    return segments | ({OTHERS: rest} if rest.any() else {})


def by_segment(evaluation: Evaluation, segments: Mapping[str, Chosen], wanted: Sequence[str]) -> list[SegmentRow]:
    """The metrics of each segment of users."""
    rows = []
    for name, chosen in segments.items():
        means = {}
        for metric in wanted:
            values = evaluation.per_user[metric][chosen]
            defined = values[~np.isnan(values)]
            means[metric] = float(defined.mean()) if len(defined) else float("nan")
        rows.append(SegmentRow(name, int(chosen.sum()), means))
    return rows


def by_popularity(evaluation: Evaluation, k: int = 10) -> list[SegmentRow]:
    """Bands of items: recall of the relevant items of the band, and the band's share of the lists.

    Recall is over users to whom an item of the band is relevant.
    """
    track, lists = evaluation.track, evaluation.lists[:, :k]
    band_of = item_bands(np.bincount(track.past.item, minlength=len(track.past.item_ids)))
    listed = lists != metrics.NO_ITEM
    rows = []
    for band, (name, _, _) in enumerate(BANDS):
        inside = band_of == band
        relevant = track.relevant.multiply(inside.astype(float)).tocsr()
        relevant.eliminate_zeros()
        count = np.diff(relevant.indptr)
        users = count > 0
        found = metrics.hits(lists, relevant)[users].sum(axis=1) / count[users]
        recall = float(found.mean()) if users.any() else float("nan")
        share = float((inside[np.maximum(lists, 0)] & listed).sum() / max(listed.sum(), 1))
        rows.append(SegmentRow(name, int(users.sum()), {f"recall@{k}": recall, f"share@{k}": share}))
    return rows


def item_bands(sold: Index) -> Index:
    """The band of each item, as a place in `BANDS`; the best seller is in the first, whatever its share."""
    order = np.argsort(-sold, kind="stable")
    before = np.cumsum(sold[order]) - sold[order]
    ends = np.array([end for _, _, end in BANDS[:-1]])
    found = np.empty(len(sold), dtype=np.int64)
    found[order] = np.searchsorted(ends, before / max(sold.sum(), 1), side="right")
    return found
