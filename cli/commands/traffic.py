"""`hcctl traffic`: what a service's past was like, from the daemon's record or from Prometheus."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.options import since_option

if TYPE_CHECKING:
    from autoscaler.observing.history import History

HOUR_S, MINUTE_S = 3_600, 60


@click.command(name="traffic")
@click.argument("service", required=False)
@since_option("whole hours are shown")
@click.option(
    "--source",
    type=click.Choice(["record", "prometheus"]),
    default="record",
    show_default=True,
    help="The daemon's own record, or `metrics.prometheus_url` of hcctl.yaml.",
)
@output.output_option
def command(service: str | None, since_s: float, source: str, output_format: output.Output) -> None:
    """Show rate and latency of SERVICE, hour by hour.

    `unknown` is the share of minutes that nobody watched; an hour that nobody watched has no figures. Prometheus
    estimates from its scrapes, the record counts.
    """
    import time

    from autoscaler.observing.history import RecordedHistory
    from cli import intents, observing, wiring
    from cli.context import open_project
    from serving.errors import InvalidInput

    project = open_project()
    with wiring.store(project.paths) as store:
        service = intents.pick_service(store, service)
        history: History | None = RecordedHistory(store)
        if source == "prometheus":
            history = observing.prometheus(project)
        if history is None:
            raise InvalidInput(
                "this project names no Prometheus",
                where="metrics.prometheus_url",
                why="it is unset in hcctl.yaml",
                next_step="set it to the address of a Prometheus that scrapes the daemon, or leave --source out",
            )
        until_s = int(time.time()) // HOUR_S * HOUR_S + HOUR_S
        hours = max(1, -(-int(since_s) // HOUR_S))
        rows = hourly(history, service, until_s - hours * HOUR_S, hours)
    columns: list[output.Column | str] = [
        output.Column("from_s", "from", output.when),
        output.Column("mean_rps", "mean req/s", output.number, right=True),
        output.Column("peak_rps", "peak minute", output.number, right=True),
        output.Column("p99_s", "p99", output.seconds, right=True),
        output.Column("unknown", "", output.share, right=True),
    ]
    output.emit(rows, output_format, columns=columns, title=f"{service}, from the {source}")


def hourly(history: History, service: str, start_s: int, hours: int) -> list[dict[str, Any]]:
    """One row for each hour; figures are None where nothing is known."""
    rates = history.rates(service, start_s=start_s, minutes=hours * HOUR_S // MINUTE_S)
    rows = []
    for hour in range(hours):
        from_s, minutes = start_s + hour * HOUR_S, rates[hour * 60 : hour * 60 + 60]
        known = [rate for rate in minutes if rate is not None]
        rows.append(
            {
                "from_s": from_s,
                "mean_rps": statistics.fmean(known) if known else None,
                "peak_rps": max(known, default=None),
                "p99_s": history.latency_s(service, 0.99, start_s=from_s, hours=1),
                "unknown": 1 - len(known) / len(minutes),
            }
        )
    return rows
