"""`hcctl cost`: what is spent now, what was spent, and what the budget leaves."""

from __future__ import annotations

import click

from cli import output
from cli.context import open_project

HOUR_S = 3_600.0


@click.command(name="cost")
@click.option("--days", type=click.FloatRange(min=0.01, max=366), default=30.0, show_default=True)
@output.output_option
def command(days: float, output_format: output.Output) -> None:
    """Show what was spent, by service, site and pool, and what the budgets leave."""
    import time

    from autoscaler.cost import node_usd_per_hour, spend
    from cli import intents, wiring

    project, now_s = open_project(), time.time()
    with wiring.store(project.paths) as store:
        ledger = store.ledger(since_s=now_s - days * 86_400)
        state = intents.daemon_state(store)
        found = [intents.service_intent(store, document.name) for document in store.intents("service")]
    rows = []
    for intent in found:
        if intent is None:
            continue
        name = intent.spec.name
        mine = [entry for entry in ledger if entry.service == name]
        used = spend(mine, now_s)
        for site in intent.spec.sites:
            for pool in project.spec.sites[site].pools:
                entries = [e for e in mine if e.site == site and e.pool == pool.name]
                targets = state.services[name].targets if name in state.services else {}
                nodes = targets.get(site, 0) if pool is project.spec.sites[site].pools[0] else 0
                rows.append(
                    {
                        "service": name,
                        "site": site,
                        "pool": pool.name,
                        "nodes_now": nodes,
                        "usd_per_node_hour": node_usd_per_hour(pool, now_s),
                        "usd_per_hour_now": nodes * node_usd_per_hour(pool, now_s),
                        "node_hours": sum(e.node_seconds for e in entries) / HOUR_S,
                        "spent_usd": sum(e.usd for e in entries),
                    }
                )
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
            output.Column("usd_per_node_hour", "node/hour", output.usd, right=True),
            output.Column("usd_per_hour_now", "now/hour", output.usd, right=True),
            output.Column("node_hours", "node hours", output.number, right=True),
            output.Column("spent_usd", "rent spent", output.usd, right=True),
        ],
        empty="No service is deployed.",
    )
