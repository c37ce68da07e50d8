"""`hcctl up`: start the project on this computer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cli import output
from cli.context import open_project
from cli.options import wait_options

if TYPE_CHECKING:
    from cli.context import Project


@click.command(name="up")
@click.option("--shadow", is_flag=True, help="The autoscaler decides and records, but changes nothing.")
@wait_options(180.0)
def command(shadow: bool, timeout_s: float, no_wait: bool) -> None:
    """Start supervisor, daemon, gateway and the private site.

    Cloud sites start when a burst opens them. A project that is up stays up; what died is
    started again; services that were deployed before serve again.
    """
    project = open_project()
    start(project, shadow=shadow)
    if not no_wait:
        wait_until_up(project, timeout_s)
        from cli import wiring

        output.success(f"{project.spec.name} is up at {wiring.endpoint(project)}")
        output.progress("next: `hcctl deploy`, then `hcctl status`; `hcctl down` stops everything")


def start(project: Project, *, shadow: bool = False) -> None:
    """Start the supervisor unless it runs; it starts the rest."""
    import sys
    import time

    from cli import wiring
    from serving.paths import private_dir
    from serving.sites.processes import is_alive, read_record, spawn, write_record

    paths = project.paths
    private_dir(paths.run_dir)
    private_dir(paths.log_dir)
    record = read_record(paths.supervisor_record)
    if record is not None and is_alive(record):
        output.progress("the supervisor runs already")
        return
    plan = wiring.write_supervisor_plan(project, shadow=shadow)
    record = spawn(
        [sys.executable, "-m", "serving.supervisor", str(plan)],
        environment=wiring.child_environment(),
        marker=f"supervisor-{paths.run_dir}",
        log=paths.log_dir / "supervisor.log",
        cwd=paths.root,
        at_s=time.time(),
    )
    write_record(paths.supervisor_record, record)


def wait_until_up(project: Project, timeout_s: float) -> None:
    """Wait for daemon, gateway and private site, telling what is waited for.

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
        if not waiting:
            return
        if waiting != told:
            output.progress(f"waiting for {waiting}")
            told = waiting
        if time.monotonic() > deadline_s:
            raise WaitTimeout(
                f"waited {timeout_s:g} s for {waiting}",
                where=str(project.paths.root),
                next_step="see `hcctl logs` and `hcctl doctor`",
            )
        time.sleep(0.2)
