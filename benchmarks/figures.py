"""What was measured, and the tables made from it. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from pydantic import TypeAdapter


@dataclass(frozen=True)
class Figure:
    """One quantity, measured several times in one run: a cell of a section's table."""

    subject: str
    """What was measured: the row."""
    measure: str
    """Which quantity, with its unit: the column."""
    values: tuple[float, ...]


@dataclass(frozen=True)
class Goal:
    """A figure that was promised."""

    what: str
    unit: str
    bound: float
    side: Literal["at least", "at most"]
    values: tuple[float, ...]
    reach: float | None = None
    """A better bound that was hoped for."""

    @property
    def holds(self) -> bool:
        """Whether the median is on the right side of the bound."""
        return median(self.values) >= self.bound if self.side == "at least" else median(self.values) <= self.bound


@dataclass(frozen=True)
class Section:
    """One benchmark: how it measures, under which conditions, and what came out."""

    name: str
    """The subcommand that makes it."""
    title: str
    how: str
    figures: tuple[Figure, ...]
    goals: tuple[Goal, ...]
    conditions: str = ""
    """When, and what else the machine had to do."""


SECTIONS = TypeAdapter(dict[str, Section])
"""Sections by name, as they are kept between runs."""


def quantile(ordered: Sequence[float], part: float) -> float:
    """The smallest value that at least `part` of the sorted values do not exceed (nearest rank).

    Raises:
        ValueError: there is no value.
    """
    if not ordered:
        raise ValueError("nothing was measured")
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def number(value: float) -> str:
    """Three significant digits, thousands apart."""
    if value == 0:
        return "0"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(0, digits)}f}"


def spread(values: Sequence[float]) -> str:
    """Median, and in brackets the smallest and largest value."""
    middle = number(median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))} to {number(max(values))})"


def goal_table(goals: Sequence[Goal]) -> str:
    """Goals beside what was measured, as Markdown."""
    rows = [
        (
            goal.what,
            f"{goal.side} {goal.bound:g} {goal.unit}".strip(),
            f"{spread(goal.values)} {goal.unit}".strip(),
            str(len(goal.values)),
            _verdict(goal),
        )
        for goal in goals
    ]
    return markdown(("goal", "bound", "measured: median (lowest to highest)", "n", "holds"), rows)


def figure_table(figures: Sequence[Figure]) -> str:
    """One row per subject, one column per measure, as Markdown."""
    subjects = list(dict.fromkeys(figure.subject for figure in figures))
    measures = list(dict.fromkeys(figure.measure for figure in figures))
    cells = {(figure.subject, figure.measure): spread(figure.values) for figure in figures}
    rows = [(subject, *(cells.get((subject, measure), "") for measure in measures)) for subject in subjects]
    return markdown(("", *measures), rows)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(sections: Sequence[Section], machine: str) -> str:
    """The whole of docs/benchmarks.md."""
    parts = ["# Benchmarks", INTRODUCTION, machine, "## Goals", goal_table([g for s in sections for g in s.goals])]
    for section in sections:
        parts += [f"## {section.title}", section.how, figure_table(section.figures)]
        parts.append(f"`python -m benchmarks {section.name}`; {section.conditions}.")
    return "\n\n".join(parts) + "\n"


def _verdict(goal: Goal) -> str:
    if not goal.holds:
        return "**no**"
    if goal.reach is None:
        return "yes"
    reached = Goal(goal.what, goal.unit, goal.reach, goal.side, goal.values).holds
    return f"yes{', and' if reached else '; not'} {goal.side} {goal.reach:g} {goal.unit}".strip()


INTRODUCTION = """\
Written by `make bench`; do not edit. Cells are the median of several repetitions, with the lowest and highest in
brackets. What is compared ran side by side in one run, in turn, so read ratios: the absolute figures are those of
one small machine that the load generator shares. No test asserts them."""
