"""Writes the lock of the running Python: `make lock`. Resolves pyproject.toml with pip, downloads nothing.

The lock names packages and versions only: no index, no address, so it is good behind any mirror.
torch stands apart: the same pin is a CPU or a CUDA build depending on where it comes from, so it is
installed with whatever dependencies its build names, and those are left out here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TORCHS_OWN = re.compile(r"(nvidia|cuda|triton)")


def main() -> None:
    """Resolve the product's and the checks' requirements and write `py<minor>.txt`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    torch = [line for line in (ROOT / "requirements/torch.txt").read_text().splitlines() if line.startswith("torch")]
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"], *torch]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    report = json.loads(subprocess.run([*command, *wanted], check=True, capture_output=True, text=True).stdout)
    pins = {
        re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(): item["metadata"]["version"]
        for item in report["install"]
    }
    del pins["torch"]
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    lines = [
        f"# Every package of the product and its checks, pinned, for CPython {minor} on Linux x86-64.",
        "# torch is installed first, by itself, with its own dependencies: see the Makefile. Made by `make lock`.",
        *(f"{name}=={version}" for name, version in sorted(pins.items()) if not TORCHS_OWN.match(name)),
    ]
    (ROOT / f"requirements/py{minor}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
