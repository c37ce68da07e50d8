"""`hcctl remove`: stop serving a service, and forget its declaration."""

from __future__ import annotations

import click

from cli import output
from cli.context import open_project
from cli.options import wait_options

POLL_S = 0.2


@click.command(name="remove")
@click.argument("service")
@wait_options(180.0)
def command(service: str, timeout_s: float, no_wait: bool) -> None:
    """Stop serving a service: finish its requests, free its replicas, forget its declaration.

    Its versions, its history and what it has cost stay; `hcctl deploy` brings it back.
    """
    import time

    from cli import intents, wiring
    from serving.errors import WaitTimeout

    project = open_project()
    with wiring.store(project.paths) as store:
        wiring.require_daemon(project.paths)
        name = intents.pick_service(store, service)
        intents.request_removal(store, name)
        if no_wait:
            output.progress(f"{name}: is being removed; see `hcctl status`")
            return
        output.progress(f"{name}: finishing its requests")
        deadline_s = time.monotonic() + timeout_s
        while intents.leaving(store, name):
            if time.monotonic() > deadline_s:
                raise WaitTimeout(
                    "something of the service is left",
                    where=name,
                    why=f"waited {timeout_s:g} s",
                    next_step="the daemon goes on; see `hcctl status` and `hcctl why`",
                )
            time.sleep(POLL_S)
    output.success(f"{name} is removed; `hcctl deploy` brings it back")
