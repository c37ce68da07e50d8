"""`hcctl why`: the latest decisions, each with its reason."""

from __future__ import annotations

from datetime import datetime

import click

from cli import output
from cli.context import open_project


@click.command(name="why")
@click.argument("service", required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@output.output_option
def command(service: str | None, limit: int, output_format: output.Output) -> None:
    """Show the latest decisions, oldest first, each with its number and the reason for it.

    `hcctl logs daemon` and the journal of actions name a decision by that number.
    """
    from cli import wiring

    project = open_project()
    with wiring.store(project.paths) as store:
        found = store.decisions(service, limit=limit)
        current = [document.body for document in store.observations("service") if service in (None, document.name)]
    rows = [
        {
            "number": decision.number,
            "at": datetime.fromtimestamp(decision.at_s).astimezone().isoformat(timespec="seconds"),
            "service": decision.service,
            **{key: decision.body.get(key) for key in ("action", "site", "from", "to", "deployment", "key", "reason")},
        }
        for decision in reversed(found)
    ]
    output.emit(
        rows,
        output_format,
        columns=[
            output.Column("number", "#", right=True),
            output.Column("at", render=lambda value: value[11:19]),
            "service",
            output.Column("action", render=lambda value: output.text(value, "head")),
            "site",
            output.Column("from", right=True),
            output.Column("to", right=True),
            "reason",
        ],
        empty="No decision yet.",
    )
    if output_format == "table":
        for body in current:
            breaches = body.get("breaches") or []
            text = (
                "; ".join(str(part) for part in breaches)
                if isinstance(breaches, list) and breaches
                else "no trigger crossed"
            )
            relief = body.get("relief")
            level = relief["level"] if isinstance(relief, dict) else None
            in_force = f"; relief {level}" if level else ""
            standing = body.get("standing")
            for each in standing if isinstance(standing, list) else ():
                if isinstance(each, dict):
                    in_force += f"; {each['replicas']} replicas stand by for event {each['name']}"
            sites = body.get("sites")
            for name, site in sites.items() if isinstance(sites, dict) else ():
                lead = output.lead(site.get("lead") if isinstance(site, dict) else None)
                in_force += f"; {name}: {lead}" if lead else ""
            output.progress(f"now: {body['service']}: {text}{in_force}")
