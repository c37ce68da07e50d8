"""What a finished demo run tells: the report's content, and its JSON form. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoscaler.money.alternatives import Prices
from autoscaler.money.cost import node_usd_per_hour
from cli.demo.chart import ChartData
from cli.demo.cost import compare
from cli.demo.report import DemoReport, cost_rows, moments, summary_rows
from cli.output import seconds

if TYPE_CHECKING:
    from cli.demo.run import Demo


def report(demo: Demo, *, seed: int, data: str) -> DemoReport:
    """The report of a run on the shop named `data`."""
    from cli.demo.run import SALE_AT_S

    spec, service = demo.project.spec, demo.service
    home, *clouds = spec.site_order
    own, rented = spec.sites[home].pools[0], spec.sites[clouds[0]].pools[0]
    model = service.model
    busy_s = model.emulated_accelerator_s + model.batch_wait_s
    prices = Prices(
        private_nodes=spec.sites[home].max_nodes,
        private_usd_per_node_hour=node_usd_per_hour(own, demo.result.started_at_s),
        cloud_usd_per_node_hour=rented.price_usd_per_hour,
        node_rps=model.slots_per_replica * service.burst.target_slots_in_use / busy_s,
    )
    settings = {
        "Shop": data,
        "Seed": str(seed),
        "Version": demo.version[:12],
        "Accelerator": f"emulated: {model.max_batch_size} requests hold a replica {model.emulated_accelerator_s:g} s",
        "Slots per replica": str(model.slots_per_replica),
        "Policy": f"threshold; p99 over {service.p99_over_s:g} s or queue p99 over {service.queue_p99_over_s:g} s",
        "Sites": "two Ray clusters on this computer's cores, not pinned",
    }
    chart = ChartData(
        headline=headline(demo),
        subtitle=f"{len(demo.result.outcomes):,} requests of {data} through one gateway; flash sale at {SALE_AT_S:g} s",
        result=demo.result,
        samples=demo.samples,
        sites=[home, *clouds],
        events=moments(demo.samples, cloud=clouds[0], sale_at_s=SALE_AT_S),
        slo_p99_s=service.slo.latency_p99_s,
        cost=compare(demo.samples, clouds=clouds, prices=prices),
    )
    quality = {name: float(value) for name, value in demo.trained.report["metrics"].items()}
    return DemoReport(chart, demo.decisions, demo.checks, prices, settings, quality)


def headline(demo: Demo) -> str:
    """What happened, in one line."""
    failed = [check.name for check in demo.checks if not check.ok]
    if failed:
        return f"A flash sale, and what did not hold: {failed[0] if len(failed) == 1 else f'{len(failed)} checks'}"
    return "A flash sale: burst opened, SLO recovered, home again"


def as_json(demo: Demo, made: DemoReport, files: dict[str, str]) -> dict[str, Any]:
    """The run as plain data."""
    return {
        "ok": demo.ok,
        "checks": [{"name": check.name, "ok": check.ok, "text": check.text} for check in demo.checks],
        "summary": dict(summary_rows(made)),
        "cost": [{"way": way, "usd": usd, "counted_as": how} for way, usd, how in cost_rows(made)],
        "served_by_site": demo.result.served_by_site(),
        "laps_s": demo.times_s,
        "model": demo.trained.report["metrics"],
        "settings": dict(made.settings),
        "files": files,
    }


def lap_text(times_s: dict[str, float]) -> str:
    """How long each part took, cumulative."""
    return ", ".join(f"{name} at {seconds(at_s)}" for name, at_s in times_s.items())
