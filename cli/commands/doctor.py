"""`hcctl doctor`: what this machine and this project have, and what mends what they lack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli import health, machine_health, output, project_health
from cli.context import nearest_project

_COLUMNS = ("field", output.Column("state", render=output.state), "found")


@click.command("doctor")
@output.output_option
@click.pass_context
def command(context: click.Context, output_format: output.Output) -> int:
    """Check this machine and this project, field by field.

    Every field is printed, whatever fails. Ends with 0 if nothing failed, else with 1.
    """
    paths = nearest_project(context)
    folder = paths.root if paths else Path.cwd()
    found = health.run([*machine_health.probes(folder), *project_health.probes(paths)])
    rows: list[dict[str, Any]] = [
        {"field": field, "state": one.state, "found": one.found, "next_step": one.next_step or None}
        for field, one in found
    ]
    output.emit(_with_next_steps(rows) if output_format == "table" else rows, output_format, columns=_COLUMNS)
    faults = sum(row["state"] == "failed" for row in rows)
    if faults:
        output.warning(f"{faults} of {len(rows)} fields failed")
    else:
        output.success("nothing failed")
    return 1 if faults else 0


def _with_next_steps(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What mends a field stands under what was found."""
    return [
        row | {"found": f"{row['found']}\n\N{RIGHTWARDS ARROW} {row['next_step']}"} if row["next_step"] else row
        for row in rows
    ]
