"""A picture of `hcctl model evaluate`: each track's metrics, and how they differ from the other version's."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import canvas
from cli.canvas import INK, PAPER, SITE_COLOURS, SOFT
from serving.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = ("ndcg@10", "recall@20", "precision@10", "hit_rate@10", "mrr@10", "f1@10", "auc", "coverage@10", "diversity@10")
"""From the top; all of them are 0 to 1."""


def write(path: Path, found: Mapping[str, Any], metric: str) -> None:
    """Draw what `judge` found into a PNG; the same figures give the same bytes.

    Raises:
        HcctlError: the disk is full or failing.
    """
    from matplotlib.figure import Figure

    tracks = list(found["users"])
    with canvas.style():
        figure = Figure(figsize=(10, 4.6))
        label = " (generated shop)" if found["generated"] else ""
        title = found["model"] + (f" against {found['against']}" if found["against"] else "") + label
        figure.suptitle(title, x=0.02, ha="left", fontweight="bold", color=INK)
        axes = figure.subplots(1, len(tracks), squeeze=False)[0]
        for axis, track in zip(axes, tracks, strict=True):
            rows = [row for row in found["metrics"] if row["track"] == track and row["metric"] in {*SHOWN, metric}]
            _draw(axis, rows, f"track {track}, {found['users'][track]:,} users", differ=found["verdict"] is not None)
        figure.tight_layout(rect=(0, 0, 1, 0.95))
        target = io.BytesIO()
        figure.savefig(target, format="png", dpi=150, facecolor=PAPER)
    write_atomic(path, target.getvalue(), 0o644)


def _draw(axis: Axes, rows: Sequence[Mapping[str, Any]], title: str, *, differ: bool) -> None:
    """A bar for each metric; with a second version the difference and its interval instead."""
    places = list(range(len(rows)))[::-1]
    values = [row["difference" if differ else "value"] for row in rows]
    axis.barh(places, values, height=0.55, color=SITE_COLOURS[0])
    for place, row, value in zip(places, rows, values, strict=True):
        low, high = row.get("low"), row.get("high")
        if low is not None and high is not None:
            axis.plot([low, high], [place, place], color=SITE_COLOURS[1], linewidth=2.5, solid_capstyle="butt")
        axis.annotate(
            f"{value:+.4f}" if differ else f"{value:.4f}",
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=SOFT,
        )
    axis.axvline(0, color=INK, linewidth=0.8)
    axis.set_yticks(places, [row["metric"] for row in rows])
    axis.set_title(title, loc="left", fontsize=10.5, color=INK)
    if differ:
        axis.set_xlabel("difference, with its 95 % interval")
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
