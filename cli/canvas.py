"""The chart's hand: palette, plain axes, and labels that stand where the thing is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, SOFT, FAINT, PAPER = "#1d2733", "#6b7785", "#e3e7ec", "#ffffff"
SITE_COLOURS = ("#1f5f8b", "#e8963e", "#7a9e7e", "#9a7aa0")
"""Private first, then the clouds, as they are filled."""
REFUSED, ALARM = "#c9ced6", "#c0392b"
DARK = frozenset({SITE_COLOURS[0], ALARM})
"""Areas that take white text."""

LINE_POINTS = 15.0
"""Least distance between two labels, in points."""
CHARACTER_SHARE = 0.012
"""About the width of a character, as a share of the axis."""

HOURS_FROM_S, DAYS_FROM_S = 3_600.0, 3.5 * 86_400.0
"""A longer run has a time axis in hours, or in days."""
TIME_STEPS_S = (30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 14_400, 21_600, 43_200, 86_400, 172_800, 604_800, 1_209_600)
MOST_TICKS = 14

RC = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "text.color": INK,
    "text.parse_math": False,  # names and amounts may hold a dollar sign
    "svg.hashsalt": "hcctl",  # the same run gives the same bytes
    "svg.fonttype": "path",
}


@contextmanager
def style() -> Iterator[None]:
    """The chart's settings for the block, and nowhere else."""
    import matplotlib as mpl

    with mpl.rc_context(RC):
        yield


def plain(axis: Axes, title: str, end_s: float, *, title_pad: float) -> None:
    """A time axis from 0 to `end_s` with a title at its left and faint horizontal lines."""
    axis.set_xlim(0, end_s)
    ticks_every(axis.xaxis, next((step for step in TIME_STEPS_S if end_s / step <= MOST_TICKS), TIME_STEPS_S[-1]))
    axis.xaxis.set_major_formatter(lambda value, _: clock(value, end_s))
    axis.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=title_pad)
    axis.grid(axis="y", color=FAINT, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def clock(value_s: float, end_s: float) -> str:
    """A moment of a run that lasts `end_s`: minutes:seconds, hours:minutes, or days."""
    whole = int(value_s)
    if end_s <= HOURS_FROM_S:
        return f"{whole // 60}:{whole % 60:02d}"
    if end_s <= DAYS_FROM_S:
        return f"{whole // 3_600}:{whole // 60 % 60:02d}"
    return f"{value_s / 86_400:g}"


def clock_unit(end_s: float) -> str:
    """What `clock` counts in."""
    if end_s <= HOURS_FROM_S:
        return "minutes and seconds"
    return "hours and minutes" if end_s <= DAYS_FROM_S else "days"


def ticks_every(one_axis: object, step: float) -> None:
    """Ticks at the multiples of `step`."""
    from matplotlib.ticker import MultipleLocator

    one_axis.set_major_locator(MultipleLocator(step))  # type: ignore[attr-defined]


def decade_ticks(axis: Axes) -> None:
    """Ticks at 1 and 3 of each decade of a logarithmic latency axis."""
    from matplotlib.ticker import FixedLocator, NullLocator

    low, high = axis.get_ylim()
    steps = [base * 10**power for power in range(-4, 4) for base in (1, 3)]
    axis.yaxis.set_major_locator(FixedLocator([step for step in steps if low <= step <= high]))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(lambda value, _: seconds(value))


def label_thick(
    axis: Axes, text: str, colour: str, edges: Sequence[float], base: Sequence[float], heights: Sequence[float]
) -> None:
    """Write `text` into a layer of bars where it is thick for the width of the word, if it is anywhere."""
    width = min(12, len(heights))
    thickness = [min(heights[first : first + width]) for first in range(len(heights) - width + 1)]
    thickest = max(thickness)
    if thickest < 0.25 * max(heights) or thickest == 0:
        return
    good = [first for first, least in enumerate(thickness) if least >= 0.8 * thickest]
    middle = good[len(good) // 2] + width // 2
    write_on(axis, edges[middle], base[middle] + heights[middle] / 2, text, colour)


def label_longest(
    axis: Axes, text: str, colour: str | None, times: Sequence[float], base: Sequence[int], heights: Sequence[int]
) -> None:
    """Write `text` at the middle of the longest stretch at most height, if it has room there."""
    most = max(heights)
    runs = [list(run) for full, run in itertools.groupby(range(len(heights)), lambda i: heights[i] == most) if full]
    longest = max(runs, key=len)
    first_s, last_s = times[longest[0]], times[longest[-1]]
    if most > 0 and last_s - first_s >= CHARACTER_SHARE * len(text) * axis.get_xlim()[1]:
        write_on(axis, (first_s + last_s) / 2, base[longest[0]] + most / 2, text, colour)


def write_on(axis: Axes, x: float, y: float, text: str, colour: str | None) -> None:
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


def end_labels(axis: Axes, labels: Sequence[tuple[str, float, str]], height_in: float) -> None:
    """(text, value, colour) at the right ends of lines, pushed apart where they would overlap.

    `height_in` is the height of the figure in inches.
    """
    to_share = axis.transData + axis.transAxes.inverted()
    right = axis.get_xlim()[1]
    places = sorted((float(to_share.transform((right, value))[1]), text, colour) for text, value, colour in labels)
    gap = LINE_POINTS / (axis.get_position().height * height_in * 72)
    for height, (_, text, colour) in zip(apart([place for place, _, _ in places], gap), places, strict=True):
        axis.text(1.01, height, text, transform=axis.transAxes, color=colour, va="center", fontsize=10, weight="bold")


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Ascending places moved up until neighbours are `gap` apart, and down again where they would pass 1."""
    placed: list[float] = []
    for place in wanted:
        placed.append(max(place, placed[-1] + gap) if placed else place)
    ceiling = 1.0
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = min(placed[index], ceiling)
        ceiling = placed[index] - gap
    return placed


def seconds(value_s: float) -> str:
    """A time as people write it."""
    return f"{value_s * 1000:.0f} ms" if value_s < 0.9995 else f"{value_s:.3g} s"


def usd(value_usd: float) -> str:
    """An amount, with four decimals where cents say nothing."""
    return f"${value_usd:.2f}" if value_usd >= 0.095 or value_usd == 0 else f"${value_usd:.4f}"
