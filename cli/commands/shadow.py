"""`hcctl shadow`: other policies beside the one in force, on the traffic of a live service."""

from __future__ import annotations

import click

from cli import output
from cli.options import since_option


@click.command(name="shadow")
@click.argument("service", required=False)
@since_option()
@click.option("--policy", "policies", multiple=True, default=("all",), show_default=True, help="Several may be given.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of all that is random.")
@output.output_option
def command(
    service: str | None, since_s: float, policies: tuple[str, ...], seed: int, output_format: output.Output
) -> None:
    """Show what other policies would have now and would have cost, beside the one in force.

    Each lives through the recorded traffic of SERVICE up to now, with capacity of its own, in the world
    of `hcctl simulate --from-log`; nothing live is touched. `live` is what really is, from the ledger.
    Costs are rent of the cloud, without egress; a day and a month are forecast at the pace of the time shown.
    """
    import time

    from autoscaler.simulation.contest import chosen, contest
    from cli import intents, wiring
    from cli.context import open_project
    from cli.simulation import shadow
    from cli.simulation.inputs import Choices, of_log, warn

    chosen(policies)
    project, now_s = open_project(), time.time()
    with wiring.store(project.paths) as store:
        service = intents.pick_service(store, service)
        scene = of_log(project.spec, store, service, days=since_s / 86_400.0, now_s=now_s, choices=Choices(seed=seed))
        targets = intents.service_state(store, service).targets
        ledger = store.ledger(since_s=scene.world.start_s)
    policy = str(scene.declared["burst"]["policy"])
    clouds = {name for name, site in project.spec.sites.items() if site.role == "cloud"}
    rented = sum(count for site, count in targets.items() if site in clouds)
    live = shadow.Live(policy, rented, tuple(entry for entry in ledger if entry.service == service))
    warn(scene)
    names = list(dict.fromkeys((policy, *chosen(policies))))
    found = contest(
        scene.arrivals,
        scene.world,
        names,
        seed=seed,
        declared=scene.declared,
        past=scene.past,
        watch=lambda name: output.progress(f"{name} ..."),
    )
    figures = shadow.as_json(scene, found, live)
    if output_format == "table":
        span = f"{output.when(figures['from_s'])} to {output.when(figures['until_s'])}"
        output.progress(f"{service}: {span}, {figures['requests']:,.0f} requests")
    output.emit(
        figures if output_format != "table" else list(shadow.rows(figures)), output_format, columns=shadow.columns()
    )
