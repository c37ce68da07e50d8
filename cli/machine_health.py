"""What `hcctl doctor` looks at on the machine, whatever the project."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from cli.context import installed_version
from cli.health import Finding, Probe, failed, judged, nothing, ok
from cli.output import share
from serving.errors import HcctlError
from serving.paths import SOCKET_LIMIT, longest_socket_bytes

GIB = 1024**3
LEAST_MEMORY_BYTES = 4 * GIB
"""Two idle Ray clusters take 2 GiB; replicas and the rest of the machine come on top."""
LEAST_DISK_BYTES = 2 * GIB
"""Ray stops placing work on a disk that is 95 % full; logs and versions need room too."""
LEAST_FILES = 16_384
"""The gateway holds a file for each side of a request, 10,000 connections at most."""

RAY = "2.60"
"""The minor version that pyproject.toml asks for."""
INSTALL_RAY = f'python -m pip install "ray[serve]=={RAY}.*"'

COMMAND_TIMEOUT_S = 4.0


def probes(folder: Path) -> list[Probe]:
    """Probes of the machine; disk space is looked at for `folder` and for temporary files."""
    temporary = Path(tempfile.gettempdir())
    return [
        Probe("hcctl", hcctl_version),
        Probe("python", python_version),
        Probe("platform", machine),
        Probe("ray", ray_version),
        Probe("haproxy", haproxy),
        Probe("cores", cores),
        Probe("memory", memory),
        Probe("disk, project", lambda: disk(folder)),
        Probe("disk, temporary", lambda: disk(temporary)),
        Probe("open files", open_files),
        Probe("socket paths", lambda: socket_paths(temporary)),
        Probe("gpu", gpu),
    ]


def hcctl_version() -> Finding:
    """Version of hcctl."""
    return ok(installed_version() or "source tree, not installed")


def python_version() -> Finding:
    """Version of Python: Ray has wheels for 3.11 to 3.13."""
    return judged(
        (3, 11) <= sys.version_info[:2] <= (3, 13),
        f"{platform.python_version()} at {sys.executable}",
        "install hcctl with Python 3.11, 3.12 or 3.13",
    )


def machine() -> Finding:
    """Local sites need Linux's /proc, and HAProxy as packaged for x86-64."""
    return judged(
        (platform.system(), platform.machine()) == ("Linux", "x86_64"),
        f"{platform.system()} {platform.release()} {platform.machine()}",
        "run hcctl on Linux x86-64: a machine, a container, or WSL 2",
    )


def ray_version() -> Finding:
    """Version of Ray, without importing it."""
    try:
        found = metadata.version("ray")
    except metadata.PackageNotFoundError:
        return failed("not installed", INSTALL_RAY)
    return judged(found.startswith(f"{RAY}."), found, INSTALL_RAY)


def haproxy() -> Finding:
    """The gateway's program: it is there, and it runs."""
    from serving.gateway.haproxy import haproxy_binary

    try:
        binary = haproxy_binary()
    except HcctlError as error:
        return failed(f"not found: {error.why}", INSTALL_RAY)
    said = _output([str(binary), "-v"]).splitlines()
    version = said[0].removeprefix("HAProxy version ").split()[0] if said else "no version"
    return ok(f"{version} at {binary}")


def cores() -> Finding:
    """Cores this process may use, of those the machine has."""
    usable = len(os.sched_getaffinity(0))
    return judged(usable >= 2, f"{usable} of {os.cpu_count()}", "give it two cores: sites and gateway share them")


def memory() -> Finding:
    """Memory of the machine."""
    import psutil

    seen = psutil.virtual_memory()
    return judged(
        seen.total >= LEAST_MEMORY_BYTES,
        f"{seen.available / GIB:.1f} GiB available of {seen.total / GIB:.1f}",
        f"use a machine with {LEAST_MEMORY_BYTES // GIB} GiB or more",
    )


def disk(folder: Path) -> Finding:
    """Room on the disk of a folder."""
    usage = shutil.disk_usage(folder)
    return judged(
        usage.free >= LEAST_DISK_BYTES and usage.free >= 0.05 * usage.total,
        f"{usage.free / GIB:.1f} GiB ({share(usage.free / usage.total)}) free at {folder}",
        f"free {LEAST_DISK_BYTES // GIB} GiB and 5 % of it; Ray stops on a full disk",
    )


def open_files() -> Finding:
    """Limit of open files; HAProxy and Ray raise the soft one to the hard one by themselves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = float("inf") if hard == resource.RLIM_INFINITY else hard
    return judged(
        most >= LEAST_FILES,
        f"{soft} now, {'unlimited' if hard == resource.RLIM_INFINITY else hard} at most",
        f"raise the hard limit to {LEAST_FILES} or more: /etc/security/limits.conf, or LimitNOFILE= of the service",
    )


def socket_paths(temporary: Path) -> Finding:
    """Whether the longest socket path below the folder for temporary files fits."""
    length = longest_socket_bytes(temporary / "hcctl-0123456789")
    return judged(
        length <= SOCKET_LIMIT,
        f"{length} of {SOCKET_LIMIT} bytes below {temporary}",
        "set TMPDIR to a short path, for example /tmp",
    )


def gpu() -> Finding:
    """GPUs that NVIDIA's driver shows; none is no fault."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return nothing("none seen; models run on the processor")
    names = _output([tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]).splitlines()
    return ok("; ".join(name.strip() for name in names) or "none")


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=True)
    return done.stdout
