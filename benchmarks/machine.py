"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from serving.gateway.haproxy import haproxy_binary


def machine() -> str:
    """Processor, memory, kernel and versions, in one sentence each; no name of the machine."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("ray", "torch", "pydantic"))
    haproxy = subprocess.run([haproxy_binary(), "-v"], capture_output=True, text=True, check=True).stdout.split()[2]
    return (
        f"Machine: {os.cpu_count()} cores of {_processor()}, {memory_gib:.0f} GiB, Linux {platform.release()}. "
        f"Python {platform.python_version()}, {packages}, HAProxy {haproxy}."
    )


def load_average() -> float:
    """Processes that ran or waited to run, averaged over the last minute."""
    return os.getloadavg()[0]


def _processor() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return names[0] if names else platform.machine()
