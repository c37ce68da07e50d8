"""`hcctl schema`: the JSON schema of a file, for editors."""

from __future__ import annotations

import json
from typing import Literal

import click

from serving.loading import json_schema


@click.command("schema")
@click.argument("which", metavar="[service|project]", type=click.Choice(["service", "project"]), default="service")
def command(which: Literal["service", "project"]) -> None:
    """Print the JSON schema of service.yaml (default) or hcctl.yaml.

    An editor with the YAML language server checks the file while you type, with this first line:

    \b
    # yaml-language-server: $schema=service.schema.json
    """
    schema = json_schema("HybridService" if which == "service" else "HybridProject")
    click.echo(json.dumps(schema, indent=2, ensure_ascii=False))
