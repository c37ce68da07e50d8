"""`hcctl logs`: the logs of daemon, gateway, supervisor and sites, here and in the pods of clusters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import click

from cli import output
from cli.context import Project, open_project
from cli.options import Duration

if TYPE_CHECKING:
    from cli.log_reader import LogReader
    from cli.site_logs import PodReader

MAX_LINES = 100_000
DEFAULT_LINES = 50
POLL_S = 0.2
PODS_POLL_S = 1.0
"""An API server is asked no more often."""
SITE_PREFIX = "site-"


@click.command(name="logs")
@click.argument("part", required=False)
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(1, MAX_LINES),
    help=f"How many at most. [default: {DEFAULT_LINES}; with --since all of them]",
)
@click.option("--since", "since_s", type=Duration(min=1, max=366 * 86_400), help="No older ones: 90s, 30m, 24h or 7d.")
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
def command(
    part: str | None,
    lines: int | None,
    since_s: float | None,
    follow: bool,
    output_format: Literal["table", "json"],
) -> None:
    """Show the log of one PART (daemon, gateway, supervisor, a site), or list the parts.

    Of a site in a cluster: site-NAME is all its pods, site-NAME/head its head, site-NAME/POOL the workers of a pool,
    each a replica, and site-NAME/POOL-xxxxx one of them. Of daemons and gateways that run as pods: daemon, gateway, or
    daemon-xxxxx for one of them; a log of that name on this computer goes first.

    A number behind `#` is that of the decision in `hcctl why`.
    """
    project = open_project()
    if part is None:
        output.emit(_parts(project), output_format, empty="No log yet.")
        return
    reader, pause_s = _reader(project, part, since_s)
    wanted = lines or (DEFAULT_LINES if since_s is None else MAX_LINES)
    _print(reader, wanted, pause_s if follow else None, as_json=output_format == "json")


def _parts(project: Project) -> list[dict[str, Any]]:
    """A row per log. Of pods that cannot be asked for the reason is told, and the others are listed."""
    from cli import wiring
    from serving.errors import HcctlError
    from serving.logs import pieces

    rows: list[dict[str, Any]] = [
        {"part": name, "bytes": sum(one.stat().st_size for one in pieces(path)), "file": str(path), "pod": None}
        for name, path in _files(project).items()
    ]
    pods = {f"{SITE_PREFIX}{site}/": logs for site, logs in wiring.pod_logs(project).items()}
    own = wiring.own_logs(project)
    for prefix, logs in (pods if own is None else {"": own, **pods}).items():
        try:
            rows += [
                {"part": f"{prefix}{one.name}", "bytes": None, "file": None, "pod": one.pod} for one in logs.sources()
            ]
        except HcctlError as error:
            output.error(error)
    return rows


def _reader(project: Project, part: str, since_s: float | None) -> tuple[LogReader | PodReader, float]:
    """Who reads that part, and the pause between two looks while it is followed.

    Raises:
        InvalidInput: there is no such log.
    """
    import time

    from cli import wiring
    from cli.log_reader import LogReader
    from cli.site_logs import PodReader
    from serving.errors import InvalidInput

    name, _, inside = part.partition("/")
    pods = {f"{SITE_PREFIX}{site}": logs for site, logs in wiring.pod_logs(project).items()}
    if name in pods:
        return PodReader(pods[name], inside, since_s=since_s, tell=output.warning), PODS_POLL_S
    files, own = _files(project), wiring.own_logs(project)
    if part not in files and own is not None and part.partition("-")[0] in wiring.OWN_PODS:
        return PodReader(own, part, since_s=since_s, tell=output.warning), PODS_POLL_S
    if part not in files:
        known = ", ".join(dict.fromkeys([*files, *(wiring.OWN_PODS if own else ()), *pods])) or "none yet"
        raise InvalidInput("there is no such log", where=part, next_step=f"use one of: {known}")
    return LogReader(files[part], from_s=None if since_s is None else time.time() - since_s), POLL_S


def _files(project: Project) -> dict[str, Any]:
    folder = project.paths.log_dir
    return {path.stem: path for path in sorted(folder.glob("*.log"))} if folder.is_dir() else {}


def _print(reader: LogReader | PodReader, lines: int, pause_s: float | None, *, as_json: bool) -> None:
    """Show the last lines; with a pause, go on."""
    import time

    _show(reader.last(lines), as_json=as_json)
    while pause_s is not None:
        time.sleep(pause_s)
        _show(reader.poll(), as_json=as_json)


def _show(lines: Iterable[str], *, as_json: bool) -> None:
    from cli.log_reader import as_object, readable

    for line in lines:
        shown = [json.dumps(as_object(line), ensure_ascii=False)] if as_json else readable(line).split("\n")
        for text in shown:
            click.echo(output.clean(text))
