"""Writes the lock of the running Python: `make lock`. Resolves pyproject.toml with pip, downloads nothing.

The lock names packages, versions and the SHA-256 of the one wheel that was resolved: no index and no
address, so it is good behind any mirror, and a mirror that serves another file is refused. Wheels
only: building a source archive runs its code. torch stands apart: the same pin is a CPU or a CUDA
build depending on where it comes from, so it is installed with whatever dependencies its build names,
and those are left out here.

Four locks, each with what it adds to the one before: the product; what a container needs besides on clusters; the
checks, with all extras that stay in the same environment; and the extra `train`, which is installed in a folder of its
own, because Serve imports pandas in each of its processes where it finds it, which makes the start of a site a fifth
longer.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TORCHS_OWN = re.compile(r"(nvidia|cuda|triton)")

APART = "train"
"""The extra that does not stay in the same environment."""
CLUSTERS = ("aws", "kubernetes", "prometheus")
"""The extras that the container image has: see the Dockerfile."""


def main() -> None:
    """Resolve everything together, so that all fits, and write the four locks of this Python."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    torch = [line for line in (ROOT / "requirements/torch.txt").read_text().splitlines() if line.startswith("torch")]
    extras = project["project"]["optional-dependencies"]
    apart = extras.pop(APART)
    product = [*project["project"]["dependencies"], *torch]
    clusters = [*product, *(line for name in CLUSTERS for line in extras[name])]
    checks = [*product, *project["dependency-groups"]["dev"], *(line for extra in extras.values() for line in extra)]
    pins = resolved([*checks, *apart])
    of_product, of_clusters, of_checks = (resolved(part, pins).keys() for part in (product, clusters, checks))
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    write(f"py{minor}.txt", {name: pins[name] for name in of_product}, "Every package of the product but torch")
    write(f"clusters-py{minor}.txt", {name: pins[name] for name in of_clusters - of_product}, "What clusters add")
    write(f"checks-py{minor}.txt", {name: pins[name] for name in of_checks - of_clusters}, "What the checks add")
    write(f"{APART}-py{minor}.txt", {name: pins[name] for name in pins.keys() - of_checks}, "What training adds")


def resolved(wanted: list[str], pins: Mapping[str, str] | None = None) -> dict[str, str]:
    """Pins by name of all that pip would install for these requirements, without torch and its own."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    command += ["--only-binary", ":all:"]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as bounds:
        bounds.writelines(f"{name}=={pin.partition(' ')[0]}\n" for name, pin in (pins or {}).items())
        bounds.flush()
        command += ["--constraint", bounds.name]
        report = json.loads(subprocess.run([*command, *wanted], check=True, capture_output=True, text=True).stdout)
    found = {re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(): _pin(item) for item in report["install"]}
    return {name: pin for name, pin in found.items() if name != "torch" and not TORCHS_OWN.match(name)}


def write(name: str, pins: Mapping[str, str], what: str) -> None:
    """Write one lock."""
    head = f"# {what}, pinned, for CPython on Linux x86-64. Made by `make lock`; see lock.py."
    lines = [head, *(f"{package}=={pin}" for package, pin in sorted(pins.items()))]
    (ROOT / "requirements" / name).write_text("\n".join(lines) + "\n")


def _pin(item: dict[str, Any]) -> str:
    """Version and hash of one package of pip's report."""
    return f"{item['metadata']['version']} --hash=sha256:{item['download_info']['archive_info']['hashes']['sha256']}"


if __name__ == "__main__":
    main()
