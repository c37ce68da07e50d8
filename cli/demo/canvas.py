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
    ticks_every(axis.xaxis, 30 if end_s <= 420 else 120)
    axis.xaxis.set_major_formatter(lambda value, _: f"{int(value) // 60}:{int(value) % 60:02d}")
    axis.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=INK, pad=title_pad)
    axis.grid(axis="y", color=FAINT, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


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
    """Ascending places moved up until neighbours are `gap` apart, then down together to end at most at 1."""
    placed: list[float] = []
    for place in wanted:
        placed.append(max(place, placed[-1] + gap) if placed else place)
    excess = max(0.0, placed[-1] - 1.0) if placed else 0.0
    return [place - excess for place in placed]


def seconds(value_s: float) -> str:
    """A time as people write it."""
    return f"{value_s * 1000:.0f} ms" if value_s < 0.9995 else f"{value_s:.3g} s"


def usd(value_usd: float) -> str:
    """An amount, with four decimals where cents say nothing."""
    return f"${value_usd:.2f}" if value_usd >= 0.095 or value_usd == 0 else f"${value_usd:.4f}"
