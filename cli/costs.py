"""What `hcctl cost` says of a service beside its bill: caps, the month to come, and other ways to run the same load.

Pure, but for numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from autoscaler.money.alternatives import Prices, always_on_usd, cloud_only_usd, private_usd
from autoscaler.money.cost import HOUR_S, site_usd_per_hour, spend, usd_between
from autoscaler.money.outlook import LEAST_DAYS, month_outlook
from cli import output
from serving.project import on_declared_sites

if TYPE_CHECKING:
    from autoscaler.observing.traffic import Record
    from serving.project import HybridProject
    from serving.spec import HybridService
    from serving.state import LedgerEntry

DAY_S = 86_400.0


@dataclass(frozen=True)
class Comparison:
    """The same traffic run in three ways, in usd over the compared time; owned nodes are in the first two."""

    days: float
    hybrid_usd: float
    always_on_usd: float
    cloud_only_usd: float


def service_costs(
    project: HybridProject,
    spec: HybridService,
    ledger: Sequence[LedgerEntry],
    record: Record | None,
    *,
    since_s: float,
    now_s: float,
) -> dict[str, Any]:
    """One service, with units in the names; what is not known is None, and a note says why.

    Args:
        project: prices.
        spec: the service as it is deployed.
        ledger: all of its spend that is recorded.
        record: its recorded traffic, all of it.
        since_s: from when on ways are compared.
        now_s: wall clock.
    """
    starts_s = [entry.start_s for entry in ledger] + ([record.start_s] if record else [])
    spent, budget = spend(ledger, now_s), spec.budget
    known_since_s = min(starts_s, default=None)
    outlook = month_outlook(ledger, known_since_s=known_since_s, cap_usd=budget.usd_per_month, now_s=now_s)
    month = outlook.forecast
    compared, why_not = compare_ways(project, spec, ledger, record, since_s=since_s, now_s=now_s)
    return {
        "service": spec.name,
        "spent_hour_usd": spent.hour_usd,
        "spent_day_usd": spent.day_usd,
        "spent_month_usd": spent.month_usd,
        "cap_hour_usd": budget.usd_per_hour,
        "cap_day_usd": budget.usd_per_day,
        "cap_month_usd": budget.usd_per_month,
        "history_days": outlook.known_days,
        "month_expected_usd": month.expected_usd if month else None,
        "month_low_usd": month.low_usd if month else None,
        "month_high_usd": month.high_usd if month else None,
        "forecast_note": None if month else f"{outlook.known_days} whole days are known; a forecast needs {LEAST_DAYS}",
        "compared_days": compared.days if compared else None,
        "hybrid_usd": compared.hybrid_usd if compared else None,
        "always_on_usd": compared.always_on_usd if compared else None,
        "cloud_only_usd": compared.cloud_only_usd if compared else None,
        "saved_against_always_on_usd": compared.always_on_usd - compared.hybrid_usd if compared else None,
        "saved_against_cloud_only_usd": compared.cloud_only_usd - compared.hybrid_usd if compared else None,
        "comparison_note": why_not or None,
    }


def compare_ways(
    project: HybridProject,
    spec: HybridService,
    ledger: Sequence[LedgerEntry],
    record: Record | None,
    *,
    since_s: float,
    now_s: float,
) -> tuple[Comparison | None, str]:
    """Three ways to run what was recorded since `since_s`; None, and why, where too little is known."""
    declared, lost = on_declared_sites(spec, project)
    if declared is None:
        return None, f"hcctl.yaml does not declare {', '.join(lost)}"
    spec = declared
    rented = [pool for site in spec.sites if project.sites[site].role == "cloud" for pool in project.sites[site].pools]
    if not rented:
        return None, "the service is on no cloud site"
    if record is None:
        return None, "no traffic is recorded"
    if record.service_s is None:
        return None, "no site answered a request in the recorded time"
    home = project.private_site
    owned_nodes = spec.sites[home].max_replicas
    owned_usd = [site_usd_per_hour(project.sites[home].pools, owned_nodes, now_s + h * HOUR_S) for h in range(24)]
    prices = Prices(
        private_nodes=owned_nodes,
        private_usd_per_node_hour=sum(owned_usd) / 24 / max(1, owned_nodes),
        cloud_usd_per_node_hour=min(pool.price_usd_per_hour for pool in rented),
        node_rps=spec.model.slots_per_replica * spec.burst.target_slots_in_use / max(record.service_s, 1e-3),
    )
    step_s = record.curve.step_s
    first = max(0, int((since_s - record.start_s) // step_s))
    rates_rps = record.curve.rate_rps[first:].tolist()
    if not rates_rps:
        return None, "no traffic is recorded in that time"
    moments_s = [record.start_s + (first + index) * step_s for index in range(len(rates_rps) + 1)]
    begin_s, end_s = moments_s[0], moments_s[-1]
    inside = [entry for entry in ledger if entry.end_s > begin_s and entry.start_s < end_s]
    rent_usd = sum(usd_between(entry, begin_s, end_s) for entry in inside)
    peak_nodes, peak_usd_per_hour = peak(inside, begin_s)
    at_peak = replace(prices, cloud_usd_per_node_hour=peak_usd_per_hour / peak_nodes) if peak_nodes else prices
    ends = [begin_s, end_s]
    return Comparison(
        days=(end_s - begin_s) / DAY_S,
        hybrid_usd=private_usd(ends, prices)[-1] + rent_usd,
        always_on_usd=always_on_usd(ends, at_peak, peak_cloud_nodes=peak_nodes)[-1],
        cloud_only_usd=cloud_only_usd(moments_s, [*rates_rps, 0.0], prices)[-1],
    ), ""


def peak(ledger: Sequence[LedgerEntry], since_s: float) -> tuple[int, float]:
    """Most nodes that were paid for at one moment from `since_s` on, and their rent in usd per hour."""
    changes = []
    for entry in ledger:
        usd_per_hour = entry.usd * HOUR_S / entry.node_seconds if entry.node_seconds > 0 else 0.0
        changes += [(max(since_s, entry.start_s), 1, usd_per_hour), (entry.end_s, -1, -usd_per_hour)]
    nodes, usd, most = 0, 0.0, (0, 0.0)
    for _, count, usd_per_hour in sorted(changes):  # at one moment what ends goes before what begins
        nodes, usd = nodes + count, usd + usd_per_hour
        most = max(most, (nodes, usd))
    return most


def window_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A service's windows as rows for people."""
    names = {"hour": "this hour", "day": "today", "month": "this month"}
    rows = [
        {
            "service": found["service"],
            "window": name,
            "spent": found[f"spent_{key}_usd"],
            "cap": found[f"cap_{key}_usd"],
        }
        for key, name in names.items()
    ]
    return [*rows[:2], {**rows[2], "expected": _expected(found)}]


def _expected(found: dict[str, Any]) -> str:
    if found["month_expected_usd"] is None:
        return f"not known yet: {found['forecast_note']}"
    low, high = output.usd(found["month_low_usd"]), output.usd(found["month_high_usd"])
    past = found["history_days"]
    return f"{output.usd(found['month_expected_usd'])} ({low} to {high}), by the past {past} days"


def way_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The same traffic in three ways as rows for people; none where they are not known."""
    if found["compared_days"] is None:
        return []
    days = f"{found['compared_days']:.3g} days"
    return [
        {"service": found["service"], "way": "as it ran", "over": days, "usd": found["hybrid_usd"]},
        *(
            {
                "service": found["service"],
                "way": way.replace("_", " "),
                "over": days,
                "usd": found[f"{way}_usd"],
                "saved": found[f"saved_against_{way}_usd"],
            }
            for way in ("always_on", "cloud_only")
        ),
    ]
