"""`hcctl logs`: the logs of daemon, gateway, supervisor and sites."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import click

from cli import output
from cli.context import open_project

MAX_LINES = 100_000
POLL_S = 0.2


@click.command(name="logs")
@click.argument("part", required=False)
@click.option("-n", "--lines", type=click.IntRange(1, MAX_LINES), default=50, show_default=True)
@click.option("--follow", is_flag=True, help="Go on until Ctrl-C, also when the log is rotated.")
@click.option(
    "-o",
    "--output",
    "output_format",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    envvar="HCCTL_OUTPUT",
    help="json: one object per line, as it was logged.",
)
def command(part: str | None, lines: int, follow: bool, output_format: Literal["table", "json"]) -> None:
    """Show the log of one PART (daemon, gateway, supervisor, a site), or list the parts.

    A number behind `#` is that of the decision in `hcctl why`.
    """
    from serving.errors import InvalidInput
    from serving.logs import pieces

    folder = open_project().paths.log_dir
    found = {path.stem: path for path in sorted(folder.glob("*.log"))} if folder.is_dir() else {}
    if part is None:
        rows = [
            {"part": name, "bytes": sum(one.stat().st_size for one in pieces(path)), "file": str(path)}
            for name, path in found.items()
        ]
        output.emit(rows, output_format, empty="No log yet.")
        return
    if part not in found:
        known = ", ".join(found) or "none yet"
        raise InvalidInput("there is no such log", where=part, next_step=f"use one of: {known}")
    _print(found[part], lines, follow=follow, as_json=output_format == "json")


def _print(path: Path, lines: int, *, follow: bool, as_json: bool) -> None:
    import time

    from cli.log_reader import LogReader

    reader = LogReader(path)
    _show(reader.last(lines), as_json=as_json)
    while follow:
        time.sleep(POLL_S)
        _show(reader.poll(), as_json=as_json)


def _show(lines: Iterable[str], *, as_json: bool) -> None:
    from cli.log_reader import as_object, readable

    for line in lines:
        shown = [json.dumps(as_object(line), ensure_ascii=False)] if as_json else readable(line).split("\n")
        for text in shown:
            click.echo(output.clean(text))
