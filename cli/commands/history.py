"""`hcctl history`: the releases of a service, newest first."""

from __future__ import annotations

from datetime import datetime

import click

from cli import output
from cli.context import open_project


@click.command(name="history")
@click.argument("service", required=False)
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True)
@output.output_option
def command(service: str | None, limit: int, output_format: output.Output) -> None:
    """List the releases of a service, newest first, with their verdicts and reasons."""
    from autoscaler.state import words
    from cli import intents, wiring

    project = open_project()
    with wiring.store(project.paths) as store:
        found = intents.releases(store, service)
    rows = [
        {
            "started": datetime.fromtimestamp(release.started_at_s).astimezone().isoformat(timespec="seconds"),
            "service": name,
            "version": release.candidate.version[:12],
            "verdict": words(release.verdict or release.phase),
            "took_s": round(
                (release.phase_since_s if release.verdict else release.started_at_s) - release.started_at_s, 1
            )
            if release.verdict
            else None,
            "reason": release.reason or (release.events[-1].text if release.events else ""),
            "deployment": release.deployment,
        }
        for name, release in reversed(found)
    ][:limit]
    columns: list[output.Column | str] = [
        output.Column("started", render=lambda value: value[:19].replace("T", " ")),
        "service",
        "version",
        output.Column("verdict", render=output.state),
        output.Column("took_s", "took", output.seconds, right=True),
        "reason",
    ]
    output.emit(rows, output_format, columns=columns, empty="No release yet.")
