"""`python -m benchmarks [NAME...]`: measure, print the tables, and write them to docs/benchmarks.md.

A benchmark that is run alone replaces its own section; the others stay as they were measured, each
with its date. docs/benchmarks.json keeps the figures themselves.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import batching, gateway, help, reaction, start, tick, validation  # noqa: A004 - named for what it measures
from benchmarks.child import ROOT
from benchmarks.figures import SECTIONS, Section, figure_table, goal_table, page
from benchmarks.machine import load_average, machine

Say = Callable[[str], None]
FOLDER = ROOT / "docs"


def _recommender(*, quick: bool, say: Say) -> Section:
    """The others are measured without its extra."""
    from benchmarks import recommender

    return recommender.run(recommender.QUICK if quick else recommender.ENTRANTS, say)


def _deep(*, quick: bool, say: Say) -> Section:
    """Needs the recommender's extra."""
    from benchmarks import deep

    return deep.run(quick=quick, say=say)


def _clicks(*, quick: bool, say: Say) -> Section:
    """Needs the recommender's extra."""
    from benchmarks import clicks

    return clicks.run(quick=quick, say=say)


def _search(*, quick: bool, say: Say) -> Section:
    from benchmarks import search

    return search.run(search.QUICK if quick else search.FULL, say)


def _ingestion(sizes: Sequence[int], say: Say) -> Section:
    """The others are measured without its extra."""
    from benchmarks import ingestion

    return ingestion.run(sizes, say)


def _cold(*, quick: bool, say: Say) -> Section:
    from benchmarks import cold

    return cold.run(cold.QUICK if quick else cold.FULL, say)


BENCHMARKS: dict[str, tuple[Callable[[Say], Section], Callable[[Say], Section]]] = {
    "gateway": (
        lambda say: gateway.run(repetitions=11, seconds=2.0, say=say),
        lambda say: gateway.run(repetitions=2, seconds=1.0, say=say),
    ),
    "reaction": (lambda say: reaction.run(bursts=10, say=say), lambda say: reaction.run(bursts=1, say=say)),
    "start": (lambda say: start.run(repetitions=5, say=say), lambda say: start.run(repetitions=1, say=say)),
    "tick": (lambda say: tick.run(warm=14, ticks=9, say=say), lambda say: tick.run(warm=2, ticks=1, say=say)),
    "validation": (validation.run, validation.run),
    "help": (lambda say: help.run(repetitions=20, say=say), lambda say: help.run(repetitions=3, say=say)),
    "batching": (
        lambda say: batching.run(repetitions=7, seconds=2.0, say=say),
        lambda say: batching.run(repetitions=2, seconds=1.0, say=say),
    ),
    "recommender": (lambda say: _recommender(quick=False, say=say), lambda say: _recommender(quick=True, say=say)),
    "deep": (lambda say: _deep(quick=False, say=say), lambda say: _deep(quick=True, say=say)),
    "clicks": (lambda say: _clicks(quick=False, say=say), lambda say: _clicks(quick=True, say=say)),
    "search": (lambda say: _search(quick=False, say=say), lambda say: _search(quick=True, say=say)),
    "ingestion": (
        lambda say: _ingestion((1_000_000, 4_000_000), say),
        lambda say: _ingestion((20_000, 60_000), say),
    ),
    "cold": (lambda say: _cold(quick=False, say=say), lambda say: _cold(quick=True, say=say)),
}
"""Each as the table needs it, and with `--quick`."""


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"all (the default), or some of: {', '.join(BENCHMARKS)}"
    )
    parser.add_argument("--quick", action="store_true", help="few repetitions, to try it; docs/ is left alone")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: what was started is stopped
    names = list(BENCHMARKS) if given.names in ([], ["all"]) else given.names
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"no such benchmark: {', '.join(unknown)}")
    for name in names:
        section = measured(name, quick=given.quick)
        print(f"\n## {section.title}\n\n{figure_table(section.figures)}\n\n{section.conditions}.")
        if section.goals:
            print(f"\n{goal_table(section.goals)}", flush=True)
        if not given.quick:
            keep(section, FOLDER)


def measured(name: str, *, quick: bool) -> Section:
    """Run one benchmark and note under which conditions."""
    when, before = time.strftime("%d %B %Y, %H:%M UTC", time.gmtime()), load_average()
    section = BENCHMARKS[name][quick](lambda text: print(f"{name}: {text}", file=sys.stderr, flush=True))
    return replace(section, conditions=f"{when}; load average {before:.1f} before and {load_average():.1f} after")


def keep(section: Section, folder: Path) -> None:
    """Replace one section of the page and of the figures behind it."""
    store = folder / "benchmarks.json"
    sections = SECTIONS.validate_json(store.read_bytes()) if store.exists() else {}
    sections[section.name] = section
    ordered = {name: sections[name] for name in BENCHMARKS if name in sections}
    store.write_bytes(SECTIONS.dump_json(ordered, indent=1) + b"\n")
    (folder / "benchmarks.md").write_text(page(list(ordered.values()), machine()))


if __name__ == "__main__":
    main()
