"""`hcctl rollback`: return a service to the version that served before."""

from __future__ import annotations

import click

from cli import output
from cli.context import open_project
from cli.options import wait_options


@click.command(name="rollback")
@click.argument("service", required=False)
@wait_options(120.0)
def command(service: str | None, timeout_s: float, no_wait: bool) -> None:
    """Return a service to the version that served before.

    A release in progress is ended instead: the stable version has never stopped serving.
    """
    from autoscaler.snapshot import Wanted
    from cli import intents, wiring
    from serving.errors import InvalidInput

    project = open_project()
    with wiring.store(project.paths) as store:
        wiring.require_daemon(project.paths)
        name = intents.pick_service(store, service)
        intent, state = intents.service_intent(store, name), intents.service_state(store, name)
        target = state.stable if state.release else state.previous
        if intent is None or target is None:
            raise InvalidInput("there is no earlier version", where=name, next_step="see `hcctl history`")
        wanted = Wanted(intents.new_deployment(), target.version, target.version_dir, rollback=True)
        intents.request(store, target.spec_of(intent.spec), wanted, intent.revision)
        output.progress(f"{name}: back to {target.version[:12]}")
        if no_wait:
            return
        intents.watch_release(
            store,
            wanted.deployment,
            timeout_s=timeout_s,
            say=output.progress,
            alive=lambda: wiring.daemon_alive(project.paths),
        )
    output.success(f"{name} serves version {target.version[:12]}")
