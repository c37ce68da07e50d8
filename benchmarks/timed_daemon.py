"""The project's daemon, with the time of each tick written to a file: `python -m benchmarks.timed_daemon DIR FILE`.

A line per tick: when it began (seconds since the epoch), how long it took, and its processor time (seconds).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from autoscaler.daemon import Daemon
from autoscaler.step import Step
from cli import wiring
from cli.context import Project
from serving.loading import load_project
from serving.paths import ProjectPaths


def main(folder: str, times_file: str) -> None:
    """Run the daemon of a project until SIGTERM."""
    tick = Daemon.tick
    with Path(times_file).open("a", buffering=1) as times:

        def timed(daemon: Daemon) -> Step:
            at_s, begun_s, cpu_s = time.time(), time.perf_counter(), time.thread_time()
            try:
                return tick(daemon)
            finally:
                times.write(f"{at_s} {time.perf_counter() - begun_s} {time.thread_time() - cpu_s}\n")

        Daemon.tick = timed  # type: ignore[method-assign]
        paths = ProjectPaths(Path(folder).resolve())
        wiring.run_daemon(Project(paths, load_project(paths.project_file)), shadow=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
