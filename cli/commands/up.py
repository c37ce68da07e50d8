"""`hcctl up`: start the project on this computer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import output
from cli.context import open_project
from cli.options import wait_options

if TYPE_CHECKING:
    from cli.context import Project
    from serving.sites.processes import ProcessRecord


FRESH_S = 5.0
"""What the daemon wrote before that tells of a former run."""
RESTART_TIMEOUT_S = 30.0


@click.command(name="up")
@click.option("--shadow", is_flag=True, help="The autoscaler decides and records, but changes nothing.")
@wait_options(180.0)
def command(shadow: bool, timeout_s: float, no_wait: bool) -> None:
    """Start supervisor, daemon, gateway and the private site.

    Cloud sites start when a burst opens them. A project that is up stays up; what died is
    started again; services that were deployed before serve again. A changed hcctl.yaml is put in
    force: pools, prices, new sites and the daemon's settings at once, the rest by `hcctl down` first.
    """
    from cli import wiring

    project = open_project()
    start(project, shadow=shadow)
    if no_wait:
        return
    wait_until_up(project, timeout_s)
    output.success(f"{project.spec.name} is up at {wiring.endpoint(project)}")
    with wiring.store(project.paths) as store:
        deployed = bool(store.intents("service"))
    following = "`hcctl status`" if deployed else "`hcctl deploy`, then `hcctl status`"
    output.progress(f"next: {following}; `hcctl down` stops everything")


def start(project: Project, *, shadow: bool = False) -> None:
    """Start the supervisor unless it runs; it starts the rest. A changed project file is put in force.

    Raises:
        InvalidInput: the change is of something that running processes were started with, or sockets have no room
            below the folder for temporary files.
    """
    from cli import wiring
    from serving.files import write_atomic
    from serving.paths import check_socket_paths, private_dir
    from serving.sites.processes import is_alive, read_record
    from serving.supervisor import write_plan

    paths = project.paths
    check_socket_paths(paths.ray_dir(project.spec.private_site))
    private_dir(paths.run_dir)
    private_dir(paths.log_dir)
    record = read_record(paths.supervisor_record)
    if record is not None and is_alive(record):
        _put_in_force(project, record, shadow=shadow)
        return
    write_atomic(paths.accepted_project_file, paths.project_file.read_bytes())
    wiring.gateway(project).prepare()
    write_plan(paths.supervisor_plan, wiring.supervisor_plan(project, shadow=shadow))
    _start_supervisor(project)


def _start_supervisor(project: Project) -> None:
    """Start a supervisor on the plan; what a former one has started is adopted."""
    import sys
    import time

    from cli import wiring
    from serving.sites.processes import spawn, write_record

    paths = project.paths
    record = spawn(
        [sys.executable, "-m", "serving.supervisor", str(paths.supervisor_plan)],
        environment=wiring.child_environment(),
        marker=f"supervisor-{paths.run_dir}",
        log=paths.log_dir / "supervisor.log",
        cwd=paths.root,
        at_s=time.time(),
    )
    write_record(paths.supervisor_record, record)


def _put_in_force(project: Project, supervisor: ProcessRecord, *, shadow: bool) -> None:
    """Let the daemon start anew if it should run otherwise; gateway and sites go on as they are."""
    import os
    import signal
    import time

    from cli import wiring
    from serving.errors import InvalidInput, WaitTimeout
    from serving.files import write_atomic
    from serving.loading import load_project
    from serving.project import fixed_while_up
    from serving.sites.processes import read_record
    from serving.supervisor import read_plan, stop_child, write_plan

    paths = project.paths
    running = load_project(paths.accepted_project_file)
    if fixed := fixed_while_up(running, project.spec):
        raise InvalidInput(
            "this cannot change while the project is up",
            where=", ".join(fixed),
            why="its processes were started with the former value",
            next_step="run `hcctl down`, then `hcctl up`",
        )
    former, plan = read_plan(paths.supervisor_plan), wiring.supervisor_plan(project, shadow=shadow)
    if plan.same_run(former):
        output.progress("the supervisor runs already")
        return
    output.progress("the daemon starts anew with what has changed; gateway and sites go on")
    daemon = read_record(paths.daemon_record)
    write_atomic(paths.accepted_project_file, paths.project_file.read_bytes())
    if plan.code == former.code:
        write_plan(paths.supervisor_plan, plan)
        os.kill(supervisor.pid, signal.SIGHUP)
    else:  # another hcctl: its supervisor takes over, since the running one may not understand this plan
        os.kill(supervisor.pid, signal.SIGKILL)
        for child in former.children:
            if not any(new.same_run(child) for new in plan.children):
                stop_child(child, read_record(child.record))
        write_plan(paths.supervisor_plan, plan)
        _start_supervisor(project)
    deadline_s = time.monotonic() + RESTART_TIMEOUT_S
    while read_record(paths.daemon_record) in (daemon, None):
        if time.monotonic() > deadline_s:
            raise WaitTimeout("the daemon did not start anew", next_step="see `hcctl logs` and `hcctl doctor`")
        time.sleep(0.05)


def wait_until_up(project: Project, timeout_s: float) -> None:
    """Wait for daemon, gateway, private site and what was deployed before, telling what is waited for.

    Raises:
        WaitTimeout: something is missing after `timeout_s`.
    """
    import socket
    import time

    from cli import wiring
    from serving.errors import WaitTimeout

    deadline_s, told = time.monotonic() + timeout_s, ""
    home = wiring.sites(project)[project.spec.private_site]
    address = (project.spec.gateway.host, wiring.gateway_port(project))
    while True:
        waiting = ""
        if not wiring.daemon_alive(project.paths):
            waiting = "the daemon"
        elif socket.socket().connect_ex(address) != 0:
            waiting = "the gateway"
        elif (seen := home.observe()).phase != "open" or seen.ingress is None:
            waiting = f"site {home.name}, which is {seen.phase}"
        else:
            waiting = _service_on_its_way(project)
        if not waiting:
            return
        if waiting != told:
            output.progress(f"waiting for {waiting}")
            told = waiting
        if time.monotonic() > deadline_s:
            raise WaitTimeout(
                f"waited {timeout_s:g} s for {waiting}",
                where=str(project.paths.root),
                why=_last_line(project.paths.log_dir / "daemon.log") if waiting == "the daemon" else "",
                next_step="see `hcctl logs` and `hcctl doctor`",
            )
        time.sleep(0.2)


def _service_on_its_way(project: Project) -> str:
    """A service that served before and does not yet serve again; empty if there is none."""
    import time

    from cli import intents, wiring

    with wiring.store(project.paths) as store:
        stable = {name for name, mine in intents.daemon_state(store).services.items() if mine.stable}
        fresh_s = time.time() - FRESH_S
        seen = {document.name: document for document in store.observations("service") if document.at_s > fresh_s}
    for name in sorted(stable):
        sites = seen[name].body["sites"] if name in seen else {}
        if not isinstance(sites, dict) or not any(isinstance(s, dict) and s["limit"] for s in sites.values()):
            return f"service {name} to serve again"
    return ""


def _last_line(log: Path) -> str:
    """What a part that does not start said last."""
    from cli.log_reader import LogReader, as_object

    try:
        return str(as_object(LogReader(log).last(1)[0])["message"])[:300]
    except (OSError, IndexError):
        return ""
