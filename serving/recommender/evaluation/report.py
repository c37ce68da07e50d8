"""Evaluations as rows, as JSON and as a picture."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence

from serving.errors import InvalidInput
from serving.recommender.evaluation.tracks import Evaluation, bootstrap

Evaluations = Mapping[str, Sequence[Evaluation]]
"""By model, one per track."""
METRICS = ("ndcg@10", "recall@10", "precision@10", "f1@10", "hit_rate@10", "mrr@10", "accuracy@10", "auc")
COLOURS = ("#3a6ea5", "#c8553d", "#588157", "#7b5ea7")
PNG_DPI = 150


def table(evaluations: Evaluations, metrics: Sequence[str] = METRICS) -> list[dict[str, str | int | float | None]]:
    """One row per model and track with the means of `metrics`; None where one is not defined."""
    rows = []
    for model, tracks in evaluations.items():
        for one in tracks:
            row: dict[str, str | int | float | None] = {"model": model, "track": one.track.name}
            row["users"] = len(one.track.users)
            rows.append(row | {metric: _or_none(one.mean(metric)) for metric in metrics})
    return rows


def as_json(evaluations: Evaluations) -> str:
    """By model, track and metric: mean and 95 % bootstrap interval over users; null where it is not defined."""
    found = {
        model: {
            one.track.name: {metric: _interval(one, metric) for metric in one.per_user} | _coverage(one)
            for one in tracks
        }
        for model, tracks in evaluations.items()
    }
    return json.dumps(found, indent=1)


def chart(evaluations: Evaluations, metric: str) -> bytes:
    """A PNG: the metric of each model in each track, with 95 % bootstrap intervals. The same input, the same bytes.

    Raises:
        InvalidInput: there is no such metric, or nothing to draw.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tracks = list(dict.fromkeys(one.track.name for several in evaluations.values() for one in several))
    if not tracks or any(metric not in one.per_user for several in evaluations.values() for one in several):
        raise InvalidInput("nothing to draw", where=metric, why="no evaluation has this metric")
    figure = Figure(figsize=(7.0, 1.2 + 0.45 * len(evaluations) * len(tracks)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    labels = []
    for place, (model, one) in enumerate((model, one) for model, several in evaluations.items() for one in several):
        found = bootstrap(one.per_user[metric])
        spread = [[found.mean - found.low], [found.high - found.mean]]
        colour = COLOURS[tracks.index(one.track.name) % len(COLOURS)]
        axes.barh(place, found.mean, xerr=spread, color=colour, height=0.7, capsize=3)
        labels.append(f"{model}, track {one.track.name}")
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel(f"{metric}, mean over users with 95 % interval")
    axes.spines[["top", "right"]].set_visible(False)
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=PNG_DPI, metadata={"Software": None})
    return target.getvalue()


def _interval(one: Evaluation, metric: str) -> dict[str, float] | None:
    if math.isnan(one.mean(metric)):
        return None
    found = bootstrap(one.per_user[metric])
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _coverage(one: Evaluation) -> dict[str, dict[str, float] | None]:
    return {f"coverage@{k}": {"mean": share} for k, share in one.coverage.items()}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
