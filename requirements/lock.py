"""Writes the lock of the running Python: `make lock`. Resolves pyproject.toml with pip, downloads nothing.

The lock names packages, versions and the SHA-256 of the one wheel that was resolved: no index and no
address, so it is good behind any mirror, and a mirror that serves another file is refused. Wheels
only: building a source archive runs its code. torch stands apart: the same pin is a CPU or a CUDA
build depending on where it comes from, so it is installed with whatever dependencies its build names,
and those are left out here.

What the extra `train` adds stands in a file of its own and is installed in a folder of its own: Serve imports pandas
in each of its processes where it finds it, which makes the start of a site a fifth longer.
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


APART = "train"
"""The extra that is locked by itself."""


def main() -> None:
    """Resolve the product's and the checks' requirements and write `py<minor>.txt` and `train-py<minor>.txt`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    torch = [line for line in (ROOT / "requirements/torch.txt").read_text().splitlines() if line.startswith("torch")]
    extras = project["project"]["optional-dependencies"]
    apart = extras.pop(APART)
    others = [line for extra in extras.values() for line in extra]
    wanted = [*project["project"]["dependencies"], *others, *project["dependency-groups"]["dev"]]
    pins = resolved([*wanted, *torch])
    same = [f"{name}=={pin.partition(' ')[0]}" for name, pin in pins.items()]
    added = {name: pin for name, pin in resolved([*same, *torch, *apart]).items() if name not in pins}
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    write(
        f"py{minor}.txt",
        pins,
        f"# Every package of the product and its checks, pinned, for CPython {minor} on Linux x86-64.",
        "# torch is installed by itself, with its own dependencies: see the Makefile. Made by `make lock`.",
    )
    write(
        f"{APART}-py{minor}.txt",
        added,
        f"# What the extra `{APART}` adds to py{minor}.txt. Made by `make lock`.",
    )


def resolved(wanted: list[str]) -> dict[str, str]:
    """Pins by name of all that pip would install for these requirements, without torch and its own."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    command += ["--only-binary", ":all:"]
    report = json.loads(subprocess.run([*command, *wanted], check=True, capture_output=True, text=True).stdout)
    pins = {re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(): _pin(item) for item in report["install"]}
    return {name: pin for name, pin in pins.items() if name != "torch" and not TORCHS_OWN.match(name)}


def write(name: str, pins: dict[str, str], *head: str) -> None:
    """Write one lock."""
    lines = [*head, *(f"{package}=={pin}" for package, pin in sorted(pins.items()))]
    (ROOT / "requirements" / name).write_text("\n".join(lines) + "\n")


def _pin(item: dict[str, Any]) -> str:
    """Version and hash of one package of pip's report."""
    return f"{item['metadata']['version']} --hash=sha256:{item['download_info']['archive_info']['hashes']['sha256']}"


if __name__ == "__main__":
    main()
