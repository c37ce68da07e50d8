"""`hcctl key`: the API keys that the gateway asks for."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from cli import output
from cli.context import Project, open_project

if TYPE_CHECKING:
    from serving.gateway.keys import KeyFile

_COLUMNS = ("name", output.Column("created_at_s", "created", output.when))


@click.group("key")
def command() -> None:
    """Add, list and revoke API keys of the gateway.

    Requests carry one as `Authorization: Bearer <key>`. Only its hash is kept.
    """


@command.command("add")
@click.argument("name")
@output.output_option
def add(name: str, output_format: output.Output) -> None:
    """Make a key called NAME and print it, once.

    On stdout there is nothing but the key: hcctl key add ci > ci.key
    """
    project = open_project()
    secret = _keys(project).create(name, at_s=time.time())
    if output_format == "table":
        click.echo(secret.get_secret_value())
    else:
        output.emit({"name": name, "key": secret.get_secret_value()}, output_format)
    output.progress(f"this is the only time that key {name} is shown")
    if not project.spec.gateway.require_api_key:
        output.warning(
            "the gateway asks for no key: set gateway.require_api_key in hcctl.yaml, then `hcctl down` and `hcctl up`"
        )


@command.command("list")
@output.output_option
def show(output_format: output.Output) -> None:
    """List the keys; their secrets are kept nowhere."""
    rows = [{"name": key.name, "created_at_s": key.created_at_s} for key in _keys(open_project()).list()]
    output.emit(rows, output_format, columns=_COLUMNS, empty="No key yet; make one with `hcctl key add NAME`.")


@command.command("revoke")
@click.argument("name")
def revoke(name: str) -> None:
    """Refuse the key called NAME from now on."""
    _keys(open_project()).revoke(name)
    output.success(f"key {name} is revoked")


def _keys(project: Project) -> KeyFile:
    from serving.gateway.keys import KeyFile
    from serving.paths import private_dir

    private_dir(project.paths.state_dir)
    return KeyFile(project.paths.keys_file)
