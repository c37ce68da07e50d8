"""`hcctl abort`: end the release in progress; the stable version serves."""

from __future__ import annotations

import click

from cli import output
from cli.context import open_project
from cli.options import wait_options


@click.command(name="abort")
@click.argument("service", required=False)
@wait_options(120.0)
def command(service: str | None, timeout_s: float, no_wait: bool) -> None:
    """End the release in progress; the stable version has never stopped serving."""
    import time

    from cli import intents, wiring
    from serving.errors import InvalidInput, RolledBack

    project = open_project()
    with wiring.store(project.paths) as store:
        wiring.require_daemon(project.paths)
        name = intents.pick_service(store, service)
        release = intents.service_state(store, name).release
        if release is None:
            raise InvalidInput("no release is in progress", where=name, next_step="see `hcctl history`")
        body = {"deployment": release.deployment}
        store.put_intent("abort", name, body, expected_revision=None, at_s=time.time())
        if no_wait:
            return
        try:
            intents.watch_release(
                store,
                release.deployment,
                timeout_s=timeout_s,
                say=output.progress,
                alive=lambda: wiring.daemon_alive(project.paths),
            )
        except RolledBack:
            output.success(f"{name}: the release was ended; the stable version serves")
            return
    output.warning(f"{name}: the release was promoted before it could be ended; see `hcctl rollback`")
