"""Writes the lock of the running Python: `make lock`. Resolves pyproject.toml with pip, downloads nothing.

The lock names packages, versions and the SHA-256 of the one wheel that was resolved: no index and no
address, so it is good behind any mirror, and a mirror that serves another file is refused. Wheels
only: building a source archive runs its code. torch stands apart: the same pin is a CPU or a CUDA
build depending on where it comes from, so it is installed with whatever dependencies its build names,
and those are left out here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TORCHS_OWN = re.compile(r"(nvidia|cuda|triton)")


def main() -> None:
    """Resolve the product's and the checks' requirements and write `py<minor>.txt`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    torch = [line for line in (ROOT / "requirements/torch.txt").read_text().splitlines() if line.startswith("torch")]
    extras = [line for extra in project["project"]["optional-dependencies"].values() for line in extra]
    wanted = [*project["project"]["dependencies"], *extras, *project["dependency-groups"]["dev"], *torch]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    command += ["--only-binary", ":all:"]
    report = json.loads(subprocess.run([*command, *wanted], check=True, capture_output=True, text=True).stdout)
    pins = {re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(): _pin(item) for item in report["install"]}
    del pins["torch"]
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    lines = [
        f"# Every package of the product and its checks, pinned, for CPython {minor} on Linux x86-64.",
        "# torch is installed by itself, with its own dependencies: see the Makefile. Made by `make lock`.",
        *(f"{name}=={pin}" for name, pin in sorted(pins.items()) if not TORCHS_OWN.match(name)),
    ]
    (ROOT / f"requirements/py{minor}.txt").write_text("\n".join(lines) + "\n")


def _pin(item: dict[str, Any]) -> str:
    """Version and hash of one package of pip's report."""
    return f"{item['metadata']['version']} --hash=sha256:{item['download_info']['archive_info']['hashes']['sha256']}"


if __name__ == "__main__":
    main()
