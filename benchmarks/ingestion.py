"""`hcctl model ingest` on generated shops of growing size: time, and the most memory it ever held."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.child import environment
from benchmarks.figures import Figure, Goal, Section
from serving.recommender.generated.events import World
from serving.recommender.generated.shop import Shop
from serving.recommender.generated.writing import Format, write

EVENTS_PER_USER = 194
"""Of a generated shop with the usual settings."""
MILLION = 1_000_000
WITHIN_S = 60.0
GROWTH = 1.25
"""Most that peak memory may grow when there are four times the events."""

HOW = """\
The whole command in a process of its own, from the files of a generated shop (1,200 items, users as needed) to clean
data: declared schema, all rules, rejected rows, and events laid out by user in files sorted by time. Memory is the peak
of the process's resident set, as the kernel counts it. Four times the events take four times the users, so what is held
at once must not grow with the shop."""


@dataclass(frozen=True)
class Ingested:
    """One run."""

    events: int
    seconds: float
    peak_mb: float


def ingested(shop: Path, folder: Path, events: int) -> Ingested:
    """Run the command on a shop's files.

    Raises:
        RuntimeError: it failed.
    """
    command = ["model", "ingest", str(shop / "data.yaml"), str(folder), "-o", "json"]
    began_s = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-c", "from cli.main import main; main()", *command],
        env=environment(),
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"hcctl {' '.join(command)} ended with {child.returncode}")
    return Ingested(events, time.perf_counter() - began_s, usage.ru_maxrss / 1_024)


def made(folder: Path, events: int, file_format: Format) -> int:
    """Write a shop with about so many events; returns how many they are."""
    users = max(1, round(events / EVENTS_PER_USER))
    return write(World(Shop(users=users)), folder, file_format=file_format, images=False)


def run(sizes: Sequence[int], say: Callable[[str], None]) -> Section:
    """Ingest a shop of each size, as CSV and as Parquet."""
    found: dict[tuple[str, int], Ingested] = {}
    with tempfile.TemporaryDirectory(prefix="hcctl-ingestion-") as root:
        for file_format in ("csv", "parquet"):
            for size in sizes:
                shop = Path(root) / f"{file_format}-{size}"
                count = made(shop, size, "csv" if file_format == "csv" else "parquet")
                one = found[file_format, size] = ingested(shop, Path(root) / f"clean-{file_format}-{size}", count)
                say(f"{file_format}: {one.events:,} events in {one.seconds:.1f} s, at most {one.peak_mb:.0f} MB")
    figures = [
        figure
        for (file_format, size), one in found.items()
        for figure in (
            Figure(f"{file_format}, {size:,} events asked for", "events", (one.events,)),
            Figure(f"{file_format}, {size:,} events asked for", "time [s]", (one.seconds,)),
            Figure(f"{file_format}, {size:,} events asked for", "peak memory [MB]", (one.peak_mb,)),
        )
    ]
    goals = []
    for file_format in ("csv", "parquet"):
        first, last = found[file_format, sizes[0]], found[file_format, sizes[-1]]
        per_million_s = first.seconds * MILLION / first.events
        goals.append(Goal(f"a million events from {file_format}", "s", WITHIN_S, "at most", (per_million_s,)))
        what = f"peak memory from {file_format}, most events over fewest"
        goals.append(Goal(what, "", GROWTH, "at most", (last.peak_mb / first.peak_mb,)))
    return Section("ingestion", "Ingestion of events (generated)", HOW, tuple(figures), tuple(goals))
