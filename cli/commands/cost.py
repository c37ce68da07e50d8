"""`hcctl cost`: what is spent now, what was spent, what the month will cost, and what it would have cost otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.context import open_project
from cli.options import Number

if TYPE_CHECKING:
    from autoscaler.state import DaemonState
    from serving.project import HybridProject
    from serving.spec import HybridService
    from serving.state import LedgerEntry


POOL_COLUMNS = (
    "service",
    "site",
    "pool",
    output.Column("nodes_now", "nodes", right=True),
    output.Column("usd_per_node_hour", "node/hour", output.usd, right=True),
    output.Column("usd_per_hour_now", "now/hour", output.usd, right=True),
    output.Column("node_hours", "node hours", output.number, right=True),
    output.Column("spent_usd", "rent spent", output.usd, right=True),
)
WINDOW_COLUMNS = (
    "service",
    "window",
    output.Column("spent", "rent spent", output.usd, right=True),
    output.Column("cap", "", output.usd, right=True),
    output.Column("expected", "expected in all"),
)
WAY_COLUMNS = (
    "service",
    "way",
    "over",
    output.Column("usd", "cost", output.usd, right=True),
    output.Column("saved", "saved", output.usd, right=True),
)


@click.command(name="cost")
@click.option(
    "--days",
    type=Number(min=0.01, max=366),
    default=30.0,
    show_default=True,
    help="How far back rent is summed up, and ways to run the same traffic are compared.",
)
@output.output_option
def command(days: float, output_format: output.Output) -> None:
    """Show what was spent, what the month will cost, and what the same traffic would have cost in other ways.

    The forecast goes by the past days' spend at the same time of day, and of week once two weeks are known. `always on`
    holds the most rented nodes there were all the time, `cloud only` serves everything on rented nodes that come and go
    at once. Rent of owned nodes is energy and opportunity; egress is in none of these.
    """
    import time

    from autoscaler.observing.traffic import recorded
    from cli import intents, wiring
    from cli.costs import service_costs, way_rows, window_rows

    project, now_s = open_project(), time.time()
    since_s = now_s - days * 86_400
    with wiring.store(project.paths) as store:
        ledger = store.ledger()
        state = intents.daemon_state(store)
        found = [intents.service_intent(store, document.name) for document in store.intents("service")]
        specs = [intent.spec for intent in found if intent]
        records = {spec.name: recorded(store, spec.name, since_s=0.0, now_s=now_s) for spec in specs}
    recent = [entry for entry in ledger if entry.end_s > since_s]
    pools = cost_rows(project.spec, specs, state, recent, now_s)
    services = []
    for spec in specs:
        mine = [entry for entry in ledger if entry.service == spec.name]
        services.append(service_costs(project.spec, spec, mine, records[spec.name], since_s=since_s, now_s=now_s))
    if output_format != "table":
        output.emit({"pools": pools, "services": services}, output_format)
        return
    output.emit(pools, output_format, columns=POOL_COLUMNS, empty="No service is deployed.")
    for row in services:
        click.echo()
        output.emit(window_rows(row), output_format, columns=WINDOW_COLUMNS)
        click.echo()
        output.emit(
            way_rows(row), output_format, columns=WAY_COLUMNS, empty=f"No comparison: {row['comparison_note']}."
        )


def cost_rows(
    project: HybridProject,
    services: Sequence[HybridService],
    state: DaemonState,
    ledger: Sequence[LedgerEntry],
    now_s: float,
) -> list[dict[str, Any]]:
    """A row per service, site and pool: what there is now, and what was rented, also of what is gone since."""
    from autoscaler.money.cost import HOUR_S, node_usd_per_hour, nodes_by_pool
    from autoscaler.state import ServiceState

    pools = {(site, pool.name): pool for site, spec in project.sites.items() for pool in spec.pools}
    keys = [(s.name, site, pool) for s in services for site, pool in pools if site in s.sites]
    keys += sorted({(e.service, e.site, e.pool) for e in ledger} - set(keys))
    rows = []
    for service, site, name in keys:
        pool = pools.get((site, name))
        entries = [e for e in ledger if (e.service, e.site, e.pool) == (service, site, name)]
        nodes = sum(node.pool == name for node in state.nodes.get(f"{site}/{service}", ()))
        if pool is not None and pool.kind == "fixed":
            target = state.services.get(service, ServiceState()).targets.get(site, 0)
            nodes = sum(count for used, count in nodes_by_pool(project.sites[site].pools, target) if used == pool)
        price = None if pool is None else node_usd_per_hour(pool, now_s)
        rows.append(
            {
                "service": service,
                "site": site,
                "pool": name,
                "nodes_now": nodes,
                "usd_per_node_hour": price,
                "usd_per_hour_now": nodes * (price or 0.0),
                "node_hours": sum(e.node_seconds for e in entries) / HOUR_S,
                "spent_usd": sum(e.usd for e in entries),
            }
        )
    return rows
