"""The picture of a comparison: requests, each policy's cloud replicas, their bills and their late answers.

One strip for each policy, in the order of the table, so that many policies stay as readable as two; the
lines below are named at their ends, in the colour of their strip.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cli import canvas, output, page
from cli.canvas import ALARM, INK, PAPER, SITE_COLOURS, SOFT
from cli.simulation import report
from cli.simulation.inputs import Scene
from serving.files import write_atomic

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from autoscaler.simulation.contest import Contest
    from autoscaler.simulation.world import WorldSpec

WIDTH_IN, LEFT, RIGHT = 10.0, 0.085, 0.8
TOP_IN, TITLE_IN, BOTTOM_IN, GAP_IN = 0.3, 0.75, 0.55, 0.42
RATE_IN, STRIP_IN, STRIP_GAP_IN, LINES_IN = 1.3, 0.42, 0.1, 1.6
LABEL_IN = 0.215
"""Height that the label of a line takes."""
BINS = 720
LEAST_LATE = 1e-5
"""Bottom of the axis of late shares; a share below is drawn there."""
COLOURS = ("#1f5f8b", "#e8963e", "#7a9e7e", "#9a7aa0", "#b5651d", "#4a9d9c", "#c2748b", "#8a8d3a", "#5d6fb0", "#a08c6a")


@dataclass(frozen=True)
class _Line:
    """One policy, by bins of the run."""

    name: str
    colour: str
    dashed: bool
    ready: NDArray[np.float64]
    launching: NDArray[np.float64]
    usd: NDArray[np.float64]
    """Paid by the end of each bin."""
    late: NDArray[np.float64]
    """Late by the end of each bin, as a share of all requests."""
    kept_away: NDArray[np.float64] | None
    """The same of light answers and refusals by priority; None: without relief, or there were none."""
    told: str


@dataclass(frozen=True)
class _Picture:
    """What is drawn."""

    title: str
    subtitle: str
    end_s: float
    times_s: NDArray[np.float64]
    """Where bins end."""
    rate_rps: NDArray[np.float64]
    private_rps: float
    lines: Sequence[_Line]
    """In the order of the table."""


def write(path: Path, scene: Scene, found: Contest, figures: Mapping[str, Any]) -> None:
    """Draw into a PNG, or into an HTML page with the figures beside the picture.

    Raises:
        HcctlError: the disk is full or failing.
    """
    picture = _picture(scene, found, figures)
    made = render(picture, "png") if path.suffix == ".png" else _html(picture, figures).encode()
    write_atomic(path, made, 0o644)


def render(picture: _Picture, kind: Literal["png", "svg"], *, titled: bool = True) -> bytes:
    """The picture as an image; the same comparison gives the same bytes."""
    with canvas.style():
        figure = _draw(picture, titled=titled)
        target = io.BytesIO()
        figure.savefig(target, format=kind, dpi=150, facecolor=PAPER, metadata={"Date": None} if kind == "svg" else {})
    return target.getvalue()


def _picture(scene: Scene, found: Contest, figures: Mapping[str, Any]) -> _Picture:
    import numpy as np

    from autoscaler.money.cost import HOUR_S
    from autoscaler.simulation.contest import POLICIES

    seconds, world = len(scene.arrivals), scene.world
    edges = np.unique(np.linspace(0, seconds, min(BINS, seconds) + 1).astype(int))
    ends, width = edges[1:], np.diff(edges)

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.add.reduceat(values.astype(float), edges[:-1]) / width)

    requests = max(1.0, float(scene.arrivals.sum()))

    def share(counts: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.cumsum(counts)[ends - 1] / requests)

    series = {
        result.policy: (
            result.run.ready,
            result.run.launching,
            np.cumsum(result.run.usd)[ends - 1],
        )
        for result in found.results
    }
    late = {result.policy: share(result.lateness.late) for result in found.results}
    kept_away = {
        result.policy: share(result.run.arrivals - result.run.to_replicas)
        for result in found.results
        if result.run.light_share or result.run.shed_share
    }
    paid = found.best.ready + found.best.launching
    usd = np.cumsum(paid)[ends - 1] * found.best_price_usd_per_hour / HOUR_S
    usd += found.best_usd - usd[-1]  # what it launched before the trace began
    series[report.CLAIRVOYANT] = (found.best.ready, found.best.launching, usd)
    palette = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(POLICIES)}  # the same in every picture
    lines = []
    for row in report.rows(figures):
        ready, launching, usd = series[row["policy"]]
        lines.append(
            _Line(
                name=row["policy"],
                colour=palette.get(row["policy"], SOFT),
                dashed=row["policy"] == report.CLAIRVOYANT,
                ready=mean(ready),
                launching=mean(launching),
                usd=usd,
                late=late.get(row["policy"], np.full(len(ends), np.nan)),
                kept_away=kept_away.get(row["policy"]),
                told=f"{output.usd(row['cloud_usd'])}, {report.percent(row['late_share'])} late",
            )
        )
    return _Picture(
        title=f"{scene.name}: {output.seconds(seconds)}, {float(scene.arrivals.sum()):,.0f} requests",
        subtitle=_subtitle(found.world),
        end_s=float(seconds),
        times_s=ends.astype(float),
        rate_rps=mean(scene.arrivals),
        private_rps=world.private_replicas * world.replica_rps,
        lines=lines,
    )


def _subtitle(world: WorldSpec) -> str:
    plural = "" if world.private_replicas == 1 else "s"
    lead_s = _range([pool.lead_s for pool in world.pools])
    price = _range([pool.price_usd_per_hour for pool in world.pools])
    return (
        f"{world.private_replicas} private replica{plural} of {world.slots_per_replica} slots x "
        f"{world.service_s:.3g} s, SLO {world.slo_latency_s:g} s; a cloud replica is ready after {lead_s} s "
        f"and costs ${price}/h from its launch"
    )


def _range(values: Sequence[float]) -> str:
    return " to ".join(f"{value:g}" for value in sorted({min(values), max(values)}))


def _draw(picture: _Picture, *, titled: bool) -> Figure:
    from matplotlib.figure import Figure

    strips = len(picture.lines)
    labels = strips + 1 + sum(line.kept_away is not None for line in picture.lines)
    lines_in = max(LINES_IN, LABEL_IN * labels)
    heights = [RATE_IN, *[STRIP_IN] * strips, lines_in, lines_in]
    gaps = [GAP_IN, *[STRIP_GAP_IN] * (strips - 1), GAP_IN, GAP_IN]
    total = sum(heights) + sum(gaps) + TOP_IN + BOTTOM_IN + (TITLE_IN if titled else 0.0)
    figure = Figure(figsize=(WIDTH_IN, total))
    top, axes = total - TOP_IN - (TITLE_IN if titled else 0.0), []
    for height, gap in zip(heights, [*gaps, 0.0], strict=True):
        axes.append(figure.add_axes((LEFT, (top - height) / total, RIGHT - LEFT, height / total)))
        top -= height + gap
    _draw_rate(axes[0], picture)
    most = max(1.0, *(float((line.ready + line.launching).max()) for line in picture.lines))
    for axis, line in zip(axes[1:-2], picture.lines, strict=True):
        title = "Cloud replicas, ready (full) and starting (light)" if axis is axes[1] else ""
        _draw_strip(axis, picture, line, title, most)
    _draw_cost(axes[-2], picture, total)
    _draw_late(axes[-1], picture, total)
    for axis in axes[:-1]:
        axis.tick_params(labelbottom=False)
    axes[-1].tick_params(axis="x", pad=8)
    unit = canvas.clock_unit(picture.end_s)
    axes[-1].set_xlabel(f"{unit} since the beginning", fontsize=9, loc="right")
    if titled:
        figure.text(LEFT, 1 - 0.38 / total, picture.title, fontsize=15, fontweight="bold", va="bottom")
        figure.text(LEFT, 1 - 0.44 / total, picture.subtitle, fontsize=9.5, color=SOFT, va="top")
    return figure


def _draw_rate(axis: Axes, picture: _Picture) -> None:
    canvas.plain(axis, "Requests per second", picture.end_s, title_pad=7)
    times, rate = _steps(picture.times_s, picture.rate_rps)
    axis.fill_between(times, rate, step="pre", color=SITE_COLOURS[0], alpha=0.85, linewidth=0)
    axis.axhline(picture.private_rps, color=INK, linewidth=1.1, linestyle=(0, (5, 3)))
    axis.set_ylim(0, max(float(picture.rate_rps.max()), picture.private_rps) * 1.1 or 1.0)
    share = picture.private_rps / axis.get_ylim()[1]
    axis.text(1.01, share, "private can hold", transform=axis.transAxes, color=INK, va="center", fontsize=9.5)


def _draw_strip(axis: Axes, picture: _Picture, line: _Line, title: str, most: float) -> None:
    canvas.plain(axis, title, picture.end_s, title_pad=7)
    times, ready = _steps(picture.times_s, line.ready)
    _, top = _steps(picture.times_s, line.ready + line.launching)
    axis.fill_between(times, top, step="pre", color=line.colour, alpha=0.3, linewidth=0)
    axis.fill_between(times, ready, step="pre", color=line.colour, linewidth=0)
    axis.set_ylim(0, most * 1.05)
    axis.set_yticks([math.floor(most)])
    axis.tick_params(axis="y", labelsize=8.5)
    axis.text(
        1.01, 0.72, line.name, transform=axis.transAxes, color=line.colour, va="center", fontsize=10, weight="bold"
    )
    axis.text(1.01, 0.26, line.told, transform=axis.transAxes, color=INK, va="center", fontsize=9)


def _draw_cost(axis: Axes, picture: _Picture, height_in: float) -> None:
    canvas.plain(axis, "Cloud cost so far", picture.end_s, title_pad=7)
    _draw_lines(axis, picture, lambda line: line.usd)
    axis.set_ylim(0, max(float(line.usd[-1]) for line in picture.lines) * 1.08 or 1.0)
    axis.yaxis.set_major_formatter(lambda value, _: canvas.usd(value))
    labels = [
        (f"{line.name} {output.usd(float(line.usd[-1]))}", float(line.usd[-1]), line.colour) for line in picture.lines
    ]
    canvas.end_labels(axis, labels, height_in)


def _draw_late(axis: Axes, picture: _Picture, height_in: float) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    from autoscaler.simulation.contest import LATE_SHARE

    relieved = [(line, line.kept_away) for line in picture.lines if line.kept_away is not None]
    dotted = "; dotted: answered lightly or refused" if relieved else ""
    canvas.plain(axis, f"Late so far, of all requests{dotted}", picture.end_s, title_pad=7)
    axis.set_yscale("log")
    shown = [line for line in picture.lines if not line.dashed]
    _draw_lines(axis, picture, lambda line: line.late.clip(LEAST_LATE), shown)
    for line, kept_away in relieved:
        axis.plot(picture.times_s, kept_away.clip(LEAST_LATE), color=line.colour, linewidth=1.3, linestyle=":")
    axis.axhline(LATE_SHARE, color=ALARM, linewidth=1.1, linestyle=(0, (5, 3)))
    ends = [float(line.late[-1]) for line in shown] + [float(kept_away[-1]) for _, kept_away in relieved]
    axis.set_ylim(LEAST_LATE, max(LATE_SHARE, *ends) * 2)
    axis.yaxis.set_major_locator(LogLocator(10))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(lambda value, _: f"{value * 100:g} %")
    labels = [
        (f"{line.name} {report.percent(float(line.late[-1]))}", max(float(line.late[-1]), LEAST_LATE), line.colour)
        for line in shown
    ]
    labels += [
        (f"{line.name} ... {report.percent(end)}", max(end, LEAST_LATE), line.colour)
        for line, kept_away in relieved
        for end in (float(kept_away[-1]),)
    ]
    canvas.end_labels(axis, [*labels, (f"allowed {report.percent(LATE_SHARE)}", LATE_SHARE, ALARM)], height_in)


def _draw_lines(
    axis: Axes,
    picture: _Picture,
    values: Callable[[_Line], NDArray[np.float64]],
    lines: Sequence[_Line] | None = None,
) -> None:
    for line in lines or picture.lines:
        dashes = (0, (4, 2)) if line.dashed else "-"
        axis.plot(picture.times_s, values(line), color=line.colour, linewidth=1.7, linestyle=dashes, clip_on=True)


def _steps(ends_s: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bins as steps that begin at 0: each value holds from the end of the bin before."""
    import numpy as np

    return np.concatenate(([0.0], ends_s)), np.concatenate((values[:1], values))


def _html(picture: _Picture, figures: Mapping[str, Any]) -> str:
    columns = [column for column in report.columns(figures) if isinstance(column, output.Column)]
    head = ["policy", *(column.header or column.key for column in columns)]
    cells = [
        [row["policy"], *(_cell(column, row.get(column.key)) for column in columns)] for row in report.rows(figures)
    ]
    facts = [
        (name, f"{value:,.10g}" if isinstance(value, float) else str(value)) for name, value in figures["trace"].items()
    ]
    return page.page(
        picture.title,
        [
            f"<h1>{escape(picture.title)}</h1>",
            f"<p class=lead>{escape(picture.subtitle)}</p>",
            page.picture(render(picture, "svg", titled=False), f"{picture.title}. {picture.subtitle}"),
            page.section("Policies, the cheapest first", page.table(head, cells)),
            page.section("The trace", page.table((), facts)),
        ],
    )


def _cell(column: output.Column, value: Any) -> str:
    if value is None:
        return output.MISSING
    return str(column.render(value) if column.render else value)
