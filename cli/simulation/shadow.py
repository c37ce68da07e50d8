"""What `hcctl shadow` shows: what each policy would have now and would have cost, beside what really is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoscaler.money.cost import part_between, usd_between
from autoscaler.policy.earlier import DAY_S, HOUR_S
from cli import output
from cli.simulation.report import CLAIRVOYANT, percent

if TYPE_CHECKING:
    from autoscaler.simulation.contest import Contest, Result
    from cli.simulation.inputs import Scene
    from serving.state import LedgerEntry

MONTH_S = 30 * DAY_S
LEAST_PACE_S = HOUR_S
"""What was recorded for less is no pace to forecast from."""
LIVE = "live"


@dataclass(frozen=True)
class Live:
    """What really is."""

    policy: str
    """In force for the service now."""
    cloud_replicas: int
    """Wanted now on all rented sites."""
    ledger: tuple[LedgerEntry, ...]
    """Rent of the service."""


def as_json(scene: Scene, found: Contest, live: Live) -> dict[str, Any]:
    """Everything as one object; costs are rent: what egress was really paid nobody wrote down."""
    seconds, start_s = len(scene.arrivals), scene.world.start_s
    mine = next(result for result in found.results if result.policy == live.policy)
    policies = {result.policy: _simulated(result, mine) for result in found.results}
    return {
        "source": scene.name,
        "from_s": start_s,
        "until_s": start_s + seconds,
        "seconds": seconds,
        "unwatched_s": scene.unwatched_s,
        "requests": float(scene.arrivals.sum()),
        "in_force": live.policy,
        LIVE: _live(live, start_s, start_s + seconds),
        "policies": policies,
        CLAIRVOYANT: {"late_share": found.best.late_share} | _costs(found.best_usd, None, seconds),
    }


def _simulated(result: Result, mine: Result) -> dict[str, Any]:
    run, seconds = result.run, len(result.run.arrivals)
    rent_usd, ours_usd = float(run.rent.sum()), float(mine.run.rent.sum())
    return {
        "cloud_replicas_now": int(run.ready[-1] + run.launching[-1]),
        "cloud_replica_hours": run.replica_s / HOUR_S,
        **_costs(rent_usd, float(run.rent[-HOUR_S:].sum()), seconds),
        "egress_usd": run.egress_usd,
        "over_in_force": rent_usd / ours_usd - 1.0 if ours_usd > 0 else None,
        "late_share": result.late_share,
        "light_share": run.light_share,
        "shed_share": run.shed_share,
        "short_s": int((result.lateness.backlog > 0).sum()),
        "actions": run.actions,
    }


def _live(live: Live, from_s: float, until_s: float) -> dict[str, Any]:
    """What was rented while the traffic was recorded, from the ledger; how many were late nobody wrote down."""
    hour_s = max(from_s, until_s - HOUR_S)
    return {
        "cloud_replicas_now": live.cloud_replicas,
        "cloud_replica_hours": sum(e.node_seconds * part_between(e, from_s, until_s) for e in live.ledger) / HOUR_S,
        **_costs(
            sum(usd_between(e, from_s, until_s) for e in live.ledger),
            sum(usd_between(e, hour_s, until_s) for e in live.ledger),
            round(until_s - from_s),
        ),
        "late_share": None,
    }


def _costs(rent_usd: float, hour_usd: float | None, seconds: int) -> dict[str, Any]:
    """What was paid, and where that leads; no forecast from less than an hour."""
    pace = rent_usd / seconds if seconds >= LEAST_PACE_S else None
    return {
        "rent_usd": rent_usd,
        "last_hour_usd": hour_usd,
        "usd_per_day": None if pace is None else pace * DAY_S,
        "usd_per_month": None if pace is None else pace * MONTH_S,
    }


def rows(figures: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """What really is, then every policy, the cheapest first, and the least there can be."""
    in_force = figures["in_force"]
    yield {"policy": f"{LIVE}: {in_force}"} | figures[LIVE]
    policies = sorted(figures["policies"].items(), key=lambda item: (item[1]["rent_usd"], item[1]["late_share"]))
    for name, had in policies:
        yield {"policy": f"{name} (in force)" if name == in_force else name} | had
    yield {"policy": CLAIRVOYANT} | figures[CLAIRVOYANT]


def columns() -> list[output.Column | str]:
    """How the rows are shown."""
    return [
        "policy",
        output.Column("cloud_replicas_now", "wants now", right=True),
        output.Column("last_hour_usd", "last hour", output.usd, right=True),
        output.Column("rent_usd", "rent", output.usd, right=True),
        output.Column("usd_per_day", "a day", output.usd, right=True),
        output.Column("usd_per_month", "a month", output.usd, right=True),
        output.Column("over_in_force", "to in force", lambda part: f"{part * 100:+.0f} %", right=True),
        output.Column("cloud_replica_hours", "replica hours", output.number, right=True),
        output.Column("late_share", "late", percent, right=True),
        output.Column("short_s", "short for", lambda value: output.seconds(value) if value else "0 s", right=True),
    ]
