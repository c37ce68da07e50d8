"""`hcctl down`: stop everything the project runs on this computer; its state stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli import output
from cli.context import open_running

if TYPE_CHECKING:
    from cli.context import Project
    from serving.supervisor import Child

SUPERVISOR_GRACE_S = 45.0


@click.command(name="down")
def command() -> None:
    """Stop gateway, daemon, supervisor and all sites. Requests in flight are finished first.

    Nothing is left: no process, no port, no temporary file. Versions, decisions and the
    ledger stay in .hcctl; `hcctl up` continues from there.
    """
    project = open_running()
    stop(project)
    output.success(f"{project.spec.name} is down")


def stop(project: Project) -> None:
    """Stop the supervisor and its children, then every site, then sweep."""
    import shutil
    import time
    from concurrent.futures import ThreadPoolExecutor

    from autoscaler.capacity.hands import give_back
    from cli import wiring
    from serving.sites.processes import is_alive, read_record, terminate
    from serving.supervisor import stop_child

    paths = project.paths
    record = read_record(paths.supervisor_record)
    if record is not None and is_alive(record):
        output.progress("stopping gateway and daemon")
    terminate(record, f"supervisor-{paths.run_dir}", grace_s=SUPERVISOR_GRACE_S)
    if paths.supervisor_plan.exists():  # children of a supervisor that was killed
        for child in reversed(_children(project)):
            stop_child(child, read_record(child.record))
    if paths.database.exists() or project.spec.state is not None:
        with wiring.store(paths) as store:
            store.put_intent("control", "down", {"by": "hcctl down"}, expected_revision=None, at_s=time.time())
    sites = wiring.sites(project)
    output.progress(f"stopping {', '.join(sites)}")
    with ThreadPoolExecutor(len(sites)) as pool:
        for done in [pool.submit(site.close) for site in sites.values()]:
            done.result()
    for name, machines in wiring.rented(project, sites).items():
        output.progress(f"giving back the machines of {name}")
        give_back(name, machines)
    shutil.rmtree(paths.run_dir, ignore_errors=True)


def _children(project: Project) -> list[Child]:
    """What the supervisor kept alive: as its plan says, or as it would be planned now if that is damaged."""
    from cli import wiring
    from serving.errors import HcctlError
    from serving.supervisor import read_plan

    try:
        return read_plan(project.paths.supervisor_plan).children
    except HcctlError as error:
        output.warning(error.one_line())
        return wiring.supervisor_plan(project, shadow=False).children
