"""Coverage-guided search for new inputs, by atheris: `python -m tests.fuzz.explore TARGET [SECONDS]`.

Not part of any run: it is how the corpora grew. atheris is installed by hand (`pip install atheris`). An input that
reaches new code is kept in the target's corpus if it is small; the smallest set that covers the same is left at the
end. A fault ends the search with its traceback, and its input is kept as by `test_fuzz`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LONGEST_BYTES = 1_024
LONGEST_KEPT_BYTES = 2_048
"""Larger files of the corpus are starting points only."""
MOST_KEPT = 24
"""New inputs of one search; libFuzzer writes those that reach the most first."""
SMALLEST = ("-set_cover_merge=1", "-use_counters=0")
"""libFuzzer: leave the fewest inputs that reach the same code, however often they do."""


def search(name: str, folder: Path, arguments: list[str]) -> None:
    """Run libFuzzer on one target in this process; does not return."""
    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports(include=["serving", "autoscaler", "cli", "yaml", "http.client", "csv"]):
        from tests.fuzz.target import accepts, keep
        from tests.fuzz.targets import TARGETS
    target = next(target for target in TARGETS if target.name == name)
    target.prepare()
    work = folder / "work"

    def once(data: bytes) -> None:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            accepts(target, data, work)
        except BaseException:
            keep(target, data)
            raise

    again = folder / "again"  # what libFuzzer calls to compare inputs
    again.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.fuzz.explore --child {name} "{folder}" "$@"\n')
    again.chmod(0o700)
    atheris.Setup([str(again), *arguments], once)
    atheris.Fuzz()


def main(name: str, seconds: int) -> None:
    """Search in a child process, then keep the smallest set of inputs that covers what was reached."""
    corpus = Path(__file__).parent / "corpus" / name
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        found, least = folder / "found", folder / "least"
        found.mkdir()
        least.mkdir()
        for start in corpus.iterdir():
            shutil.copy(start, found)
        child = [sys.executable, "-m", "tests.fuzz.explore", "--child", name, str(folder)]
        limits = [
            f"-max_len={LONGEST_BYTES}",
            "-rss_limit_mb=4096",
            f"-artifact_prefix={folder}/",
            "-verbosity=0",
            "-print_final_stats=1",
        ]
        subprocess.run([*child, *limits, f"-max_total_time={seconds}", str(found)], check=False)
        subprocess.run([*child, *limits, *SMALLEST, str(least), str(corpus), str(found)], check=False)
        known = {path.read_bytes() for path in corpus.iterdir()}
        for path in sorted(least.iterdir(), key=lambda path: path.stat().st_mtime_ns)[:MOST_KEPT]:
            if path.stat().st_size <= LONGEST_KEPT_BYTES and path.read_bytes() not in known:
                shutil.copyfile(path, corpus / path.name[:12])


if __name__ == "__main__":
    if sys.argv[1] == "--child":
        search(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    else:
        main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 60)
