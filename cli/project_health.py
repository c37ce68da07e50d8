"""What `hcctl doctor` looks at in one project: its files, ports, processes and what was left over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cli.context import Project
from cli.health import Finding, Probe, failed, judged, nothing, ok
from cli.output import when
from serving.loading import load_project, load_service, short_path
from serving.paths import SERVICE_FILE, ProjectPaths

if TYPE_CHECKING:
    from serving.sites.processes import ProcessRecord

START = "hcctl up"
SWEEP = "hcctl down"
CHILDREN = ("gateway", "daemon", "relief")
"""What the supervisor keeps alive; each has its record `<name>.json` in the run-time folder."""


def probes(paths: ProjectPaths | None) -> list[Probe]:
    """Probes of the project; without one every field says so."""
    looks: dict[str, Callable[[ProjectPaths], Finding]] = {
        "project file": project_file,
        "service file": service_file,
        "ports": ports,
        "supervisor": supervisor,
        **{name: _child(name) for name in CHILDREN},
        "sites": sites,
        "leftovers": leftovers,
        "state database": database,
    }
    if paths is None:
        absent = nothing("no project here; `hcctl init` makes one")
        return [Probe(field, lambda: absent) for field in looks]
    return [Probe(field, lambda look=look: look(paths)) for field, look in looks.items()]  # type: ignore[misc]


def project_file(paths: ProjectPaths) -> Finding:
    """The project file is valid."""
    project = load_project(paths.project_file)
    return ok(f"{short_path(paths.project_file)}, {len(project.sites)} sites")


def service_file(paths: ProjectPaths) -> Finding:
    """The service file, if there is one, is valid and fits the project."""
    path = paths.root / SERVICE_FILE
    if not path.exists():
        return nothing(f"no {SERVICE_FILE} here")
    service = load_service(path, project=load_project(paths.project_file))
    return ok(f"{short_path(path)}, service {service.name}")


def ports(paths: ProjectPaths) -> Finding:
    """The recorded ports are free, or held by what they were recorded for."""
    from cli import wiring
    from serving.sites.ports import INTERNAL_PORTS, listening_ports, recorded_ports

    project = Project(paths=paths, spec=load_project(paths.project_file))
    shown, idle = list[str](), list[int]()
    for site in project.spec.sites:
        block = recorded_ports(paths.ports_file, site)
        if block is not None:
            shown.append(f"{site} {block.base}-{block.end - 1}")
            if not _alive(_site_record(paths, site)):
                idle += range(block.base, block.base + INTERNAL_PORTS)
    gateway = urlsplit(wiring.endpoint(project) or "").port
    if gateway is not None:
        shown.append(f"gateway {gateway}")
        if not _alive(_record(paths, "gateway")):
            idle.append(gateway)
    if not shown:
        return nothing("none chosen yet; the first start chooses free ones")
    taken = sorted(listening_ports().intersection(idle))
    listed = ", ".join(shown)
    return judged(
        not taken,
        f"taken by another program: {', '.join(map(str, taken))} (of {listed})" if taken else listed,
        "stop that program (`ss -ltnp` shows it), or set gateway.port; sites move by themselves",
    )


def supervisor(paths: ProjectPaths) -> Finding:
    """The supervisor runs, or the project is down."""
    return _process(_record(paths, "supervisor"), wanted=False)


def _child(name: str) -> Callable[[ProjectPaths], Finding]:
    def look(paths: ProjectPaths) -> Finding:
        needed = name != "relief" or paths.relief_services.exists()
        return _process(_record(paths, name), wanted=needed and _alive(_record(paths, "supervisor")))

    return look


def sites(paths: ProjectPaths) -> Finding:
    """Each site is open or closed as it should be, and answers when it is open."""
    from cli import wiring

    project = Project(paths=paths, spec=load_project(paths.project_file))
    seen = [site.observe() for site in wiring.sites(project).values()]
    shown = ", ".join(f"{one.site} {one.phase}" for one in seen)
    troubled = [one for one in seen if one.phase == "lost" or (one.phase == "open" and one.applications is None)]
    if troubled:
        return failed(f"{shown}; {troubled[0].site}: {troubled[0].message}", f"{START}, or {SWEEP} to end it")
    return ok(shown)


def leftovers(paths: ProjectPaths) -> Finding:
    """Processes and files of a run that ended without `hcctl down`."""
    from serving.sites.processes import members

    spec = load_project(paths.project_file)
    run = [(f"supervisor-{paths.run_dir}", _record(paths, "supervisor"))]
    run += [(f"child-{_record_file(paths, name)}", _record(paths, name)) for name in CHILDREN]
    run += [(str(paths.site_dir(site)), _site_record(paths, site)) for site in spec.sites]
    orphans = [pid for marker, record in run if not _alive(record) for pid in members(record, marker)]
    if orphans:
        return failed(f"processes without their first one: {', '.join(map(str, sorted(orphans)))}", SWEEP)
    if paths.run_dir.exists() and not any(_alive(record) for _, record in run):
        return failed(f"files of a run that has ended: {paths.run_dir}", SWEEP)
    return ok("none")


def database(paths: ProjectPaths) -> Finding:
    """The state database opens, and all its rows are sound."""
    from cli import stores
    from serving.sqlite_store import SqliteStore

    declared = stores.cluster_state(paths)
    if declared is not None:
        with stores.store(paths) as opened:
            services = len(opened.intents("service"))
            opened.observations("service")  # the head and its pages can be read
        return ok(f"namespace {declared[1].namespace}, {services} services")
    if not paths.database.exists():
        return nothing("none yet; the first start makes it")
    store = SqliteStore(paths.database)
    try:
        store.check()
        services = len(store.intents("service"))
    finally:
        store.close()
    return ok(f"{short_path(paths.database)}, {services} services, {paths.database.stat().st_size:,} bytes")


def _process(record: ProcessRecord | None, *, wanted: bool) -> Finding:
    if record is None:
        return failed("not running, while the supervisor is", START) if wanted else nothing("not running")
    if _alive(record):
        return ok(f"pid {record.pid}, since {when(record.started_at_s)}")
    return failed(f"pid {record.pid} has ended without `hcctl down`", f"{START}, or {SWEEP} to end it")


def _alive(record: ProcessRecord | None) -> bool:
    from serving.sites.processes import is_alive

    return record is not None and is_alive(record)


def _record_file(paths: ProjectPaths, name: str) -> Path:
    return paths.supervisor_record if name == "supervisor" else paths.run_dir / f"{name}.json"


def _record(paths: ProjectPaths, name: str) -> ProcessRecord | None:
    from serving.sites.processes import read_record

    return read_record(_record_file(paths, name))


def _site_record(paths: ProjectPaths, site: str) -> ProcessRecord | None:
    from serving.sites.processes import read_record

    return read_record(paths.site_dir(site) / "process.json")
