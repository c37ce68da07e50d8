"""How long the command line takes to say anything: `hcctl --help`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.child import environment
from benchmarks.figures import Figure, Goal, Section

PROGRAM = "from cli.main import main; main()"

HOW = """\
Wall time of a new process, beside that of a Python that does nothing. The files are in the page cache."""


def run(*, repetitions: int, say: Callable[[str], None]) -> Section:
    """Start both in turn."""
    say(f"{repetitions} starts of hcctl --help")
    script = Path(sys.executable).with_name("hcctl")
    hcctl = [str(script)] if script.exists() else [sys.executable, "-c", PROGRAM]
    commands = {"`hcctl --help`": [*hcctl, "--help"], "`python -c pass`": [sys.executable, "-c", "pass"]}
    found: dict[str, list[float]] = {name: [] for name in commands}
    for command in commands.values():
        _wall_s(command)
    for _ in range(repetitions):
        for name, command in commands.items():
            found[name].append(_wall_s(command))
    figures = tuple(Figure(name, "s", tuple(values)) for name, values in found.items())
    goal = Goal("`hcctl --help`", "s", 0.3, "at most", tuple(found["`hcctl --help`"]))
    return Section("help", "Command line", HOW, figures, (goal,))


def _wall_s(command: list[str]) -> float:
    begun_s = time.perf_counter()
    subprocess.run(command, env=environment(), stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun_s
