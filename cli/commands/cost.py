"""`hcctl cost`: what is spent now, what was spent, and what the budget leaves."""

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


@click.command(name="cost")
@click.option("--days", type=Number(min=0.01, max=366), default=30.0, show_default=True)
@output.output_option
def command(days: float, output_format: output.Output) -> None:
    """Show what was spent, by service, site and pool, and what the budgets leave."""
    import time

    from autoscaler.cost import spend
    from cli import intents, wiring

    project, now_s = open_project(), time.time()
    with wiring.store(project.paths) as store:
        ledger = store.ledger(since_s=now_s - days * 86_400)
        state = intents.daemon_state(store)
        specs = [intents.service_intent(store, document.name) for document in store.intents("service")]
    rows = cost_rows(project.spec, [found.spec for found in specs if found], state, ledger, now_s)
    for intent in specs:
        if intent is None:
            continue
        name = intent.spec.name
        used = spend([entry for entry in ledger if entry.service == name], now_s)
        budget = intent.spec.budget
        for window, used_usd, cap in (
            ("this hour", used.hour_usd, budget.usd_per_hour),
            ("today", used.day_usd, budget.usd_per_day),
            ("this month", used.month_usd, budget.usd_per_month),
        ):
            told = f"{name}: {window} {output.usd(used_usd)} of rented capacity"
            if output_format == "table":
                output.progress(told + (f", cap {output.usd(cap)}" if cap is not None else ", no cap"))
    output.emit(
        rows,
        output_format,
        columns=[
            "service",
            "site",
            "pool",
            output.Column("nodes_now", "nodes", right=True),
            output.Column("usd_per_node_hour", "node/hour", _usd, right=True),
            output.Column("usd_per_hour_now", "now/hour", output.usd, right=True),
            output.Column("node_hours", "node hours", output.number, right=True),
            output.Column("spent_usd", "rent spent", output.usd, right=True),
        ],
        empty="No service is deployed.",
    )


def _usd(amount: float | None) -> str:
    return "-" if amount is None else output.usd(amount)


def cost_rows(
    project: HybridProject,
    services: Sequence[HybridService],
    state: DaemonState,
    ledger: Sequence[LedgerEntry],
    now_s: float,
) -> list[dict[str, Any]]:
    """A row per service, site and pool: what there is now, and what was rented, also of what is gone since."""
    from autoscaler.cost import HOUR_S, node_usd_per_hour, nodes_by_pool
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
