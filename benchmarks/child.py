"""Child processes of the benchmarks: the same Python, the same source tree."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def environment() -> dict[str, str]:
    """The own environment, with this repository importable."""
    former = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{former}" if former else str(ROOT), "NO_COLOR": "1"}
