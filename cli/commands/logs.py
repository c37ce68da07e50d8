"""`hcctl logs`: the logs of daemon, gateway, supervisor and sites."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import click

from cli import output
from cli.context import open_project

MAX_LINES = 100_000


@click.command(name="logs")
@click.argument("part", required=False)
@click.option("-n", "--lines", type=click.IntRange(1, MAX_LINES), default=50, show_default=True)
@click.option("--follow", is_flag=True, help="Go on until Ctrl-C.")
def command(part: str | None, lines: int, follow: bool) -> None:
    """Show the log of one PART (daemon, gateway, supervisor, a site), or list the parts."""
    from serving.errors import InvalidInput

    folder = open_project().paths.log_dir
    found = {path.stem: path for path in sorted(folder.glob("*.log"))} if folder.is_dir() else {}
    if part is None:
        rows = [{"part": name, "bytes": path.stat().st_size, "file": str(path)} for name, path in found.items()]
        output.emit(rows, "table", empty="No log yet.")
        return
    if part not in found:
        known = ", ".join(found) or "none yet"
        raise InvalidInput("there is no such log", where=part, next_step=f"use one of: {known}")
    _print(found[part], lines, follow=follow)


def _print(path: Path, lines: int, *, follow: bool) -> None:
    import time

    with path.open(errors="replace") as file:
        for line in deque(file, maxlen=lines):
            click.echo(output.clean(line.rstrip("\n")))
        while follow:
            line = file.readline()
            if line:
                click.echo(output.clean(line.rstrip("\n")))
            else:
                time.sleep(0.2)
