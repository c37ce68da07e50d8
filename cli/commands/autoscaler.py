"""`hcctl autoscaler`: run, pause or resume the daemon that scales."""

from __future__ import annotations

import click
from pydantic import JsonValue

from cli import output
from cli.context import open_project, open_running


@click.group(name="autoscaler")
def command() -> None:
    """Run, pause or resume the daemon that scales."""


@command.command(name="run")
@click.option("--shadow", is_flag=True, help="Decide and record how to scale, but change nothing.")
@click.option(
    "--metrics",
    metavar="HOST:PORT",
    default="",
    help="Serve /metrics and /healthz there, without a key; otherwise where hcctl.yaml says.",
)
def run(shadow: bool, metrics: str) -> None:
    """Run the daemon in the foreground, its log on stderr as JSON lines. `hcctl up` does this for you."""
    from cli import wiring
    from serving.logs import log_as_json

    log_as_json()
    wiring.run_daemon(open_running(), shadow=shadow, metrics=metrics)


@command.command(name="pause")
@click.option("--reason", default="by an operator", show_default=True)
def pause(reason: str) -> None:
    """Keep all replica counts as they are. Releases, healing and spend caps go on."""
    _set(paused=True, reason=reason)
    output.success("autoscaling is paused; `hcctl autoscaler resume` ends it")


@command.command(name="resume")
def resume() -> None:
    """Scale again."""
    _set(paused=False, reason="")
    output.success("autoscaling goes on")


def _set(*, paused: bool, reason: str) -> None:
    import time

    from cli import wiring

    with wiring.store(open_project().paths) as store:
        body: dict[str, JsonValue] = {"paused": paused, "reason": reason[:200]}
        store.put_intent("control", "autoscaler", body, expected_revision=None, at_s=time.time())
