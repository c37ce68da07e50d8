"""The demo's chart: who answered, how fast, on how many replicas, for how much.

Four panels over one time axis, drawn without pyplot and its global state. Lines and areas are
labelled where they are, so that no legend has to be read.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cli.canvas import (
    ALARM,
    CHARACTER_SHARE,
    INK,
    PAPER,
    REFUSED,
    SITE_COLOURS,
    SOFT,
    decade_ticks,
    end_labels,
    label_longest,
    label_thick,
    plain,
    seconds,
    style,
    ticks_every,
    usd,
)
from cli.demo.cost import CostComparison
from cli.demo.outcome import ReplayResult
from cli.demo.verdict import Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN, PANELS_IN, TITLE_IN = 10.0, 8.75, 0.85
LEFT, RIGHT = 0.07, 0.845
PANELS_TOP_IN, BOTTOM_IN = 8.05, 0.58
SUBTITLE_CHARS = 112
PNG_DPI = 160
RATE_BIN_S, LATENCY_BIN_S = 2.0, 3.0


@dataclass(frozen=True)
class Event:
    """A moment worth a mark: burst opened, cloud ready, home again."""

    t_s: float
    """Since the start of the replay."""
    label: str


@dataclass(frozen=True)
class ChartData:
    """Everything the chart shows."""

    headline: str
    subtitle: str
    result: ReplayResult
    samples: Sequence[Sample]
    """At least one."""
    sites: Sequence[str]
    """In the order in which they are filled; private first."""
    events: Sequence[Event]
    slo_p99_s: float
    cost: CostComparison

    @property
    def end_s(self) -> float:
        """When the time axis ends."""
        last_arrival_s = self.result.outcomes[-1].intended_s if self.result.outcomes else 0.0
        return max(last_arrival_s, self.samples[-1].t_s, 1.0)


def render(data: ChartData, kind: Literal["png", "svg"], *, titled: bool = True) -> bytes:
    """The chart as an image, 10 inches wide, with or without its headline."""
    with style():
        figure = _draw(data, titled=titled)
        target = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else {}
        figure.savefig(target, format=kind, dpi=PNG_DPI, facecolor=PAPER, metadata=metadata)
    return target.getvalue()


def _draw(data: ChartData, *, titled: bool) -> Figure:
    from matplotlib.figure import Figure

    height_in = PANELS_IN + (TITLE_IN if titled else 0.0)
    figure = Figure(figsize=(WIDTH_IN, height_in))
    top, bottom = PANELS_TOP_IN / height_in, BOTTOM_IN / height_in
    grid = figure.add_gridspec(
        4, 1, height_ratios=(1.5, 1.5, 0.85, 1.1), hspace=0.4, left=LEFT, right=RIGHT, top=top, bottom=bottom
    )
    axes = [figure.add_subplot(grid[row]) for row in range(4)]
    panels: list[tuple[str, Callable[[Axes, ChartData, float], None]]] = [
        ("Requests per second, by the site that answered", _draw_rate),
        ("Latency of served requests at the client, queue included", _draw_latency),
        ("Ready replicas", _draw_replicas),
        ("Cost of the run so far", _draw_cost),
    ]
    for axis, (title, draw) in zip(axes, panels, strict=True):
        plain(axis, title, data.end_s, title_pad=34 if axis is axes[0] else 7)  # room for the names of events
        draw(axis, data, height_in)
    for axis in axes[:-1]:
        axis.tick_params(labelbottom=False)
    axes[-1].set_xlabel("minutes and seconds since the replay began", fontsize=9, loc="right")
    _draw_events(axes, data)
    if titled:
        subtitle = textwrap.fill(data.subtitle, SUBTITLE_CHARS, max_lines=2, placeholder=" ...")
        figure.text(LEFT, 0.962, data.headline, fontsize=16, fontweight="bold", va="bottom")
        figure.text(LEFT, 0.954, subtitle, fontsize=10.5, color=SOFT, va="top", linespacing=1.35)
    return figure


def _draw_rate(axis: Axes, data: ChartData, _: float) -> None:
    windows = data.result.windows(RATE_BIN_S)
    if not windows:
        return
    edges = [window.t_s for window in windows] + [windows[-1].t_s + RATE_BIN_S]
    base = [0.0] * len(windows)
    layers: list[tuple[str, str, list[float]]] = [
        (site, _colour(data, site), [w.served_by_site.get(site, 0) / RATE_BIN_S for w in windows])
        for site in data.sites
    ]
    layers.append(("refused", REFUSED, [w.refused / RATE_BIN_S for w in windows]))
    layers.append(("lost", ALARM, [w.lost / RATE_BIN_S for w in windows]))
    for name, colour, heights in layers:
        if not any(heights):
            continue
        top = [low + height for low, height in zip(base, heights, strict=True)]
        axis.fill_between(edges, [*base, base[-1]], [*top, top[-1]], step="post", color=colour, linewidth=0)
        label_thick(axis, name, colour, edges, base, heights)
        base = top
    axis.set_ylim(0, max(base) * 1.08 or 1.0)


def _draw_latency(axis: Axes, data: ChartData, height_in: float) -> None:
    windows = data.result.windows(LATENCY_BIN_S)
    middle = [window.t_s + LATENCY_BIN_S / 2 for window in windows]
    # Where nothing was served the line has a gap, not a zero.
    p50 = [math.nan if window.p50_s is None else window.p50_s for window in windows]
    p99 = [math.nan if window.p99_s is None else window.p99_s for window in windows]
    slo_s = data.slo_p99_s
    late = [value > slo_s for value in p99]
    axis.set_yscale("log")
    axis.axhline(slo_s, color=ALARM, linewidth=1.1, linestyle=(0, (5, 3)))
    axis.fill_between(middle, slo_s, p99, where=late, interpolate=True, color=ALARM, alpha=0.13, linewidth=0)
    axis.plot(middle, p50, color=SOFT, linewidth=1.4)
    axis.plot(middle, p99, color=INK, linewidth=2.0)
    seen = [value for value in (*p50, *p99, slo_s) if not math.isnan(value)]
    axis.set_ylim(min(seen) / 1.6, max(seen) * 1.6)
    decade_ticks(axis)
    labels = [(f"SLO {seconds(slo_s)}", slo_s, ALARM)]
    for name, values, colour in (("p50", p50, SOFT), ("p99", p99, INK)):
        labels += [(name, value, colour) for value in values if not math.isnan(value)][-1:]
    end_labels(axis, labels, height_in)


def _draw_replicas(axis: Axes, data: ChartData, _: float) -> None:
    """Ready replicas as full steps; those that a site is starting as a tint in their place."""
    times = [sample.t_s for sample in data.samples]
    base = [0] * len(times)
    for site in data.sites:
        colour = _colour(data, site)
        ready = [sample.replicas.get(site, 0) for sample in data.samples]
        starting = _starting(data.samples, site)
        ready_top = [low + height for low, height in zip(base, ready, strict=True)]
        top = [low + height for low, height in zip(ready_top, starting, strict=True)]
        axis.fill_between(times, ready_top, top, step="post", color=colour, alpha=0.25, linewidth=0)
        axis.fill_between(times, base, ready_top, step="post", color=colour, linewidth=0)
        label_longest(axis, f"{site}  {max(ready)}", colour, times, base, ready)
        label_longest(axis, "starting", None, times, ready_top, starting)
        base = top
    peak = max(base)
    axis.set_ylim(0, peak + 0.4)
    ticks_every(axis.yaxis, 1 if peak <= 4 else 2 if peak <= 12 else 5)


def _starting(samples: Sequence[Sample], site: str) -> list[int]:
    """Replicas that a site without any is starting: as many as it has at first when they are ready."""
    starting = [0] * len(samples)
    coming = 0
    for index in range(len(samples) - 1, -1, -1):
        ready, phase = samples[index].replicas.get(site, 0), samples[index].phases.get(site)
        coming = ready or (coming if phase in {"opening", "open"} else 0)
        starting[index] = 0 if ready else coming
    return starting


def _draw_cost(axis: Axes, data: ChartData, height_in: float) -> None:
    cost = data.cost
    lines = [
        ("always on", cost.always_on_usd, SOFT, 1.4, (0, (1, 1.5))),
        ("cloud only", cost.cloud_only_usd, SOFT, 1.4, (0, (5, 2))),
        ("hcctl", cost.hybrid_usd, INK, 2.4, "-"),
    ]
    for _, values, colour, width, dashes in lines:
        axis.plot(cost.t_s, values, color=colour, linewidth=width, linestyle=dashes, clip_on=False)
    top = max(max(values) for _, values, *_ in lines)
    axis.set_ylim(0, top * 1.08 or 1.0)
    axis.yaxis.set_major_formatter(lambda value, _: usd(value))
    labels = [(f"{name} {usd(values[-1])}", values[-1], colour) for name, values, colour, *_ in lines]
    end_labels(axis, labels, height_in)


def _draw_events(axes: Sequence[Axes], data: ChartData) -> None:
    """A thin line through all panels for each event, named above the first; near ones are staggered."""
    row_free_at_s = [0.0, 0.0]
    for event in sorted(data.events, key=lambda event: event.t_s):
        if not 0 <= event.t_s <= data.end_s:
            continue
        for axis in axes:
            axis.axvline(event.t_s, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), zorder=3)
        row = 0 if event.t_s >= row_free_at_s[0] else 1
        row_free_at_s[row] = event.t_s + CHARACTER_SHARE * data.end_s * (len(event.label) + 1)
        axes[0].annotate(
            event.label,
            xy=(event.t_s, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-1, 4 + 13 * row),
            textcoords="offset points",
            fontsize=9.5,
            color=INK,
        )


def _colour(data: ChartData, site: str) -> str:
    return SITE_COLOURS[list(data.sites).index(site) % len(SITE_COLOURS)]
