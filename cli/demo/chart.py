"""The demo's chart: four panels over one time axis, drawn without pyplot and its global state.

Who answered, how fast, on how many replicas, for how much. Lines and areas are labelled where they
are, so that no legend has to be read.
"""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from cli.demo.cost import CostComparison
from cli.demo.outcome import ReplayResult, Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, FAINT, PAPER = "#1d2733", "#6b7785", "#e3e7ec", "#ffffff"
SITE_COLOURS = ("#1f5f8b", "#e8963e", "#7a9e7e", "#9a7aa0")
"""Private first, then the clouds, as they are filled."""
REFUSED, ALARM = "#c9ced6", "#c0392b"
DARK = frozenset({SITE_COLOURS[0], ALARM})
"""Areas that take white text."""
WIDTH_IN, PANELS_IN, TITLE_IN = 10.0, 8.75, 0.85
LEFT, RIGHT = 0.07, 0.845
PANELS_TOP_IN, BOTTOM_IN = 8.05, 0.58
SUBTITLE_CHARS = 112
PNG_DPI = 160
RATE_BIN_S, LATENCY_BIN_S = 2.0, 3.0

RC = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
    "svg.hashsalt": "hcctl",  # the same run gives the same bytes
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Sample:
    """What the daemon saw and held at one moment of the replay."""

    t_s: float
    """Since the start of the replay."""
    replicas: dict[str, int]
    """Ready replicas per site."""
    nodes: dict[str, int]
    """Nodes per site that are held, ready or not: what is paid for."""
    limits: dict[str, int]
    """Requests the gateway lets each site hold at once."""
    queue: int | None
    """Requests waiting at the gateway."""
    rented_usd: float
    """Rent billed since the start of the replay."""


@dataclass(frozen=True)
class Event:
    """A moment worth a mark: burst opened, cloud ready, home again."""

    t_s: float
    label: str


@dataclass(frozen=True)
class ChartData:
    """Everything the chart shows."""

    headline: str
    subtitle: str
    result: ReplayResult
    samples: Sequence[Sample]
    sites: Sequence[str]
    """In the order in which they are filled; private first."""
    events: Sequence[Event]
    slo_p99_s: float
    cost: CostComparison


def render(data: ChartData, kind: Literal["png", "svg"], *, titled: bool = True) -> bytes:
    """The chart as an image, 10 inches wide, with or without its headline."""
    with _style():
        figure = _draw(data, titled=titled)
        target = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else {}
        figure.savefig(target, format=kind, dpi=PNG_DPI, facecolor=PAPER, metadata=metadata)
    return target.getvalue()


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib as mpl

    with mpl.rc_context(RC):
        yield


def _draw(data: ChartData, *, titled: bool) -> Figure:
    from matplotlib.figure import Figure

    height_in = PANELS_IN + (TITLE_IN if titled else 0.0)
    figure = Figure(figsize=(WIDTH_IN, height_in))
    top, bottom = PANELS_TOP_IN / height_in, BOTTOM_IN / height_in
    grid = figure.add_gridspec(
        4, 1, height_ratios=(1.5, 1.5, 0.85, 1.1), hspace=0.4, left=LEFT, right=RIGHT, top=top, bottom=bottom
    )
    axes = [figure.add_subplot(grid[row]) for row in range(4)]
    end_s = max(data.result.outcomes[-1].intended_s if data.result.outcomes else 0.0, data.samples[-1].t_s, 1.0)
    panels: list[tuple[str, Callable[[Axes, ChartData], None]]] = [
        ("Requests per second, by the site that answered", _draw_rate),
        ("Latency at the client, queue included", _draw_latency),
        ("Ready replicas", _draw_replicas),
        ("Cost of the run so far", _draw_cost),
    ]
    for axis, (title, draw) in zip(axes, panels, strict=True):
        _plain(axis, title, end_s, pad=34 if axis is axes[0] else 7)  # room for the names of events
        draw(axis, data)
    for axis in axes[:-1]:
        axis.tick_params(labelbottom=False)
    axes[-1].set_xlabel("minutes and seconds since the replay began", fontsize=9, loc="right")
    _draw_events(axes, data.events, end_s)
    if titled:
        subtitle = textwrap.fill(data.subtitle, SUBTITLE_CHARS, max_lines=2, placeholder=" ...")
        figure.text(LEFT, 0.962, data.headline, fontsize=16, fontweight="bold", va="bottom")
        figure.text(LEFT, 0.954, subtitle, fontsize=10.5, color=SOFT, va="top", linespacing=1.35)
    return figure


def _plain(axis: Axes, title: str, end_s: float, pad: float) -> None:
    axis.set_xlim(0, end_s)
    axis.xaxis.set_major_locator(_locator(30))
    axis.xaxis.set_major_formatter(lambda value, _: f"{int(value) // 60}:{int(value) % 60:02d}")
    axis.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=pad)
    axis.grid(axis="y", color=FAINT, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def _locator(step: float) -> Any:
    from matplotlib.ticker import MultipleLocator

    return MultipleLocator(step)


def _draw_rate(axis: Axes, data: ChartData) -> None:
    windows = data.result.windows(RATE_BIN_S)
    edges = [window.t_s for window in windows] + [windows[-1].t_s + RATE_BIN_S] if windows else [0.0]
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
        _label_layer(axis, name, colour, edges, base, heights)
        base = top
    axis.set_ylim(0, max(base, default=1.0) * 1.08 or 1.0)


def _label_layer(
    axis: Axes, name: str, colour: str, edges: Sequence[float], base: Sequence[float], heights: Sequence[float]
) -> None:
    """Write the name into the layer, where it is thick over the width of the word."""
    width = min(12, len(heights))
    thickness = [min(heights[first : first + width]) for first in range(len(heights) - width + 1)]
    thickest = max(thickness)
    if thickest < 0.25 * max(heights) or thickest == 0:
        return
    good = [first for first, least in enumerate(thickness) if least >= 0.8 * thickest]
    middle = good[len(good) // 2] + width // 2
    _write_on(axis, edges[middle], base[middle] + heights[middle] / 2, name, colour)


def _draw_latency(axis: Axes, data: ChartData) -> None:
    windows = data.result.windows(LATENCY_BIN_S)
    middle = [window.t_s + LATENCY_BIN_S / 2 for window in windows]
    p50, p99 = _gaps(windows, "p50_s"), _gaps(windows, "p99_s")
    slo = data.slo_p99_s
    axis.set_yscale("log")
    axis.axhline(slo, color=ALARM, linewidth=1.1, linestyle=(0, (5, 3)))
    axis.fill_between(
        middle, slo, p99, where=[v > slo for v in p99], color=ALARM, alpha=0.13, linewidth=0, interpolate=True
    )
    axis.plot(middle, p50, color=SOFT, linewidth=1.4)
    axis.plot(middle, p99, color=INK, linewidth=2.0)
    seen = [value for value in (*p50, *p99, slo) if value == value]
    axis.set_ylim(min(seen) / 1.6, max(seen) * 1.6)
    _latency_ticks(axis)
    ends = [("p50", _last(p50), SOFT), ("p99", _last(p99), INK), (f"SLO {_seconds(slo)}", slo, ALARM)]
    _end_labels(axis, [(text, value, colour) for text, value, colour in ends if value is not None])


def _gaps(windows: Sequence[Window], field: str) -> list[float]:
    """Values with NaN where nothing was served: a gap in the line, not a zero."""
    return [float("nan") if getattr(window, field) is None else getattr(window, field) for window in windows]


def _latency_ticks(axis: Axes) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    low, high = axis.get_ylim()
    steps = [base * 10**power for power in range(-4, 4) for base in (1, 3)]
    axis.yaxis.set_major_locator(FixedLocator([step for step in steps if low <= step <= high]))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(lambda value, _: _seconds(value))


def _draw_replicas(axis: Axes, data: ChartData) -> None:
    """Ready replicas as full steps; nodes that are paid for and not ready yet as a tint above them."""
    times = [sample.t_s for sample in data.samples]
    base = [0] * len(times)
    for site in data.sites:
        colour = _colour(data, site)
        ready = [sample.replicas.get(site, 0) for sample in data.samples]
        held = [max(sample.nodes.get(site, 0), sample.replicas.get(site, 0)) for sample in data.samples]
        ready_top = [low + height for low, height in zip(base, ready, strict=True)]
        held_top = [low + height for low, height in zip(base, held, strict=True)]
        axis.fill_between(times, ready_top, held_top, step="post", color=colour, alpha=0.25, linewidth=0)
        axis.fill_between(times, base, ready_top, step="post", color=colour, linewidth=0)
        _label_longest(axis, times, base, ready, f"{site}  {max(ready)}", colour)
        waiting = [all_held - up for all_held, up in zip(held, ready, strict=True)]
        _label_longest(axis, times, ready_top, waiting, "paid for, starting", None)
        base = held_top
    peak = max(base, default=1)
    axis.set_ylim(0, peak + 0.4)
    axis.yaxis.set_major_locator(_locator(1 if peak <= 4 else 2 if peak <= 12 else 5))


def _label_longest(
    axis: Axes, times: Sequence[float], base: Sequence[int], heights: Sequence[int], text: str, colour: str | None
) -> None:
    """Write the text at the middle of the longest stretch at most height, if it has room there."""
    most = max(heights)
    runs = [list(run) for held, run in itertools.groupby(range(len(heights)), lambda i: heights[i] == most) if held]
    longest = max(runs, key=len)
    length_s = times[longest[-1]] - times[longest[0]]
    if most == 0 or length_s < 0.011 * len(text) * axis.get_xlim()[1]:
        return
    middle_s = (times[longest[0]] + times[longest[-1]]) / 2
    _write_on(axis, middle_s, base[longest[0]] + most / 2, text, colour)


def _write_on(axis: Axes, x: float, y: float, text: str, colour: str | None) -> None:
    """Text on an area of this colour (None: a tint), kept clear of lines by an outline in that colour."""
    from matplotlib.patheffects import withStroke

    axis.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        color=PAPER if colour in DARK else INK,
        fontweight="normal" if colour is None else "bold",
        fontsize=9.5 if colour is None else 10,
        path_effects=[withStroke(linewidth=3, foreground=colour)] if colour else [],
        zorder=4,
    )


def _draw_cost(axis: Axes, data: ChartData) -> None:
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
    axis.yaxis.set_major_formatter(lambda value, _: _usd(value, top))
    _end_labels(axis, [(f"{name} {_usd(values[-1], top)}", values[-1], colour) for name, values, colour, *_ in lines])


def _draw_events(axes: Sequence[Axes], events: Sequence[Event], end_s: float) -> None:
    """A thin line through all panels for each event, named above the first; near ones are staggered."""
    free_from_s = [-end_s, -end_s]
    for event in sorted(events, key=lambda event: event.t_s):
        if not 0 <= event.t_s <= end_s:
            continue
        for axis in axes:
            axis.axvline(event.t_s, color=INK, linewidth=0.8, linestyle=(0, (1, 2)), zorder=3)
        row = 0 if event.t_s >= free_from_s[0] else 1
        free_from_s[row] = event.t_s + 0.0135 * end_s * (len(event.label) + 1)
        axes[0].annotate(
            event.label,
            xy=(event.t_s, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(-1, 4 + 13 * row),
            textcoords="offset points",
            fontsize=9.5,
            color=INK,
        )


def _end_labels(axis: Axes, labels: Sequence[tuple[str, float, str]]) -> None:
    """Names at the right ends of lines, pushed apart where they would overlap."""
    to_fraction = axis.transData + axis.transAxes.inverted()
    right = axis.get_xlim()[1]
    places = sorted((float(to_fraction.transform((right, value))[1]), text, colour) for text, value, colour in labels)
    gap = 15.0 / (axis.get_position().height * axis.figure.get_figheight() * 72)
    heights = _apart([place for place, _, _ in places], gap)
    for height, (_, text, colour) in zip(heights, places, strict=True):
        axis.text(
            1.01, height, text, transform=axis.transAxes, color=colour, va="center", fontsize=10, fontweight="bold"
        )


def _apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Ascending places moved as little as needed so that neighbours are `gap` apart."""
    placed: list[float] = []
    for place in wanted:
        placed.append(max(place, placed[-1] + gap) if placed else place)
    excess = max(0.0, placed[-1] - 1.0) if placed else 0.0
    return [place - excess for place in placed]


def _colour(data: ChartData, site: str) -> str:
    return SITE_COLOURS[list(data.sites).index(site) % len(SITE_COLOURS)]


def _last(values: Sequence[float]) -> float | None:
    return next((value for value in reversed(values) if value == value), None)


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 0.9995 else f"{value:g} s"


def _usd(value: float, scale: float) -> str:
    return f"${value:.2f}" if scale >= 0.1 else f"${value:.4f}"
