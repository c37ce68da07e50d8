"""Scaling policies over recorded days, beside the clairvoyant: bill and late requests, day by day.

`python -m benchmarks.autoscaler TRACE` runs every policy on every day asked for, in the simulated world of
`hcctl simulate`, writes one row each to a CSV file, and prints medians and worst days, and day by day whether the
product's own policies are cheaper than each peer that is at most 0.1 % late.
Days are cut from the trace at multiples of 86,400 s. Each begins cold, unless `--warm-days` puts days before it on
record: traffic and forecast, not the promise.

`--flash-sale` lays three flash sales over each day (`autoscaler.simulation.sales`), runs every policy without relief,
and `predictive` with it, too, and prints day by day who pays what, is how late, and relieves how much.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from autoscaler.policy.queueing import Floats
from autoscaler.simulation.contest import (
    LATE_SHARE,
    OWN,
    POLICIES,
    cloud_size,
    compete,
    contest,
)
from autoscaler.simulation.fleet import CloudPool
from autoscaler.simulation.gateway import RELIEF, Mix
from autoscaler.simulation.peers import PEERS
from autoscaler.simulation.sales import with_sales
from autoscaler.simulation.trace import RateCurve, from_trace, per_second
from autoscaler.simulation.world import WorldSpec

DAY_S = 86_400.0
SLOTS, SERVICE_S, SLO_S = 2, 0.4, 1.0
RELIEVED = "predictive, relief"
"""`predictive` behind a gateway with relief."""
LIGHT_SHARE = 0.05
"""Most light answers that are wanted of a day with sales."""


@dataclass(frozen=True)
class Case:
    """One day under one lead time and one size of the private pool."""

    trace: str
    day: int
    seed: int
    lead_s: float
    private_share: float
    """Of the mean demand."""
    rate_scale: float
    warm_days: int = 0
    """Days before it that are on record, as far as the trace has them."""
    flash_sale: bool = False


@dataclass(frozen=True)
class Row:
    """What one policy made of a case."""

    day: int
    seed: int
    lead_s: float
    private_share: float
    policy: str
    cloud_usd: float
    """At 1 usd an hour."""
    ratio: float | None
    """Over the clairvoyant; None where that rents nothing."""
    late_share: float
    actions: int
    gap: float
    """How far the clairvoyant may be from the least bill."""
    light_share: float | None = None
    """Answered by relief; None: without relief."""
    shed_share: float | None = None
    """Refused by priority; None: without relief."""


def rows(case: Case, policies: Sequence[str]) -> list[Row]:
    """Run one case."""
    trace = from_trace(Path(case.trace))
    before = [_arrivals(trace, case, day) for day in range(max(0, case.day - case.warm_days), case.day)]
    past = np.concatenate(before) if before else None
    arrivals = _arrivals(trace, case, case.day)
    if case.flash_sale:
        curve = trace.part(case.day * DAY_S, DAY_S)
        arrivals = with_sales(arrivals, curve, rate_scale=case.rate_scale, seed=case.seed)
    replica_rps = SLOTS / SERVICE_S
    private = math.ceil(case.private_share * float(arrivals.mean()) / replica_rps)
    size = cloud_size(arrivals, private_replicas=private, replica_rps=replica_rps)
    world = WorldSpec(private, SLOTS, SERVICE_S, SLO_S, (CloudPool("cloud", 1.0, case.lead_s, size),))
    found = contest(arrivals, world, policies, seed=case.seed, past=past)
    results = [*found.results]
    if case.flash_sale:
        relieving = replace(found.world, mix=Mix())
        relieved = compete(
            "predictive", arrivals, relieving, best_usd=found.best_usd, seed=case.seed, declared=RELIEF, past=past
        )
        results.append(replace(relieved, policy=RELIEVED))
    return [
        Row(
            case.day,
            case.seed,
            case.lead_s,
            case.private_share,
            result.policy,
            result.run.cloud_usd,
            result.ratio,
            result.late_share,
            result.run.actions,
            found.best.gap,
            result.run.light_share,
            result.run.shed_share,
        )
        for result in results
    ]


def _arrivals(trace: RateCurve, case: Case, day: int) -> Floats:
    """Requests in each second of a day: the same ones, whichever day is judged."""
    return per_second(trace.part(day * DAY_S, DAY_S), rate_scale=case.rate_scale, seed=case.seed)


def table(found: Sequence[Row]) -> str:
    """Median and worst by policy; bills of the days on which the clairvoyant rents."""
    lines = [
        "| lead time | private | policy | days with rent | bill: median | worst | late: median | worst |",
        "|---|---|---|---|---|---|---|---|",
    ]
    keys = sorted({(row.lead_s, row.private_share, row.policy) for row in found})
    for lead_s, private_share, policy in keys:
        mine = [row for row in found if (row.lead_s, row.private_share, row.policy) == (lead_s, private_share, policy)]
        ratios = [row.ratio for row in mine if row.ratio is not None]
        late = [row.late_share for row in mine]
        lines.append(
            f"| {lead_s:g} s | {private_share:g} x mean | {policy} | {len(ratios)} of {len(mine)} | "
            f"{_times(statistics.median(ratios) if ratios else None)} | {_times(max(ratios, default=None))} | "
            f"{statistics.median(late):.3%} | {max(late):.3%} |"
        )
    return "\n".join(lines)


def duels(found: Sequence[Row]) -> str:
    """Day by day, each of the product's own policies beside the cheapest peer that keeps the promise that day.

    A day on which no peer keeps it, or on which both pay the same, is nobody's: `-`.
    """
    lines = [
        "| lead time | private | seed | day | policy | bill | cheapest peer at most 0.1 % late | bill | cheaper |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    verdicts: dict[str, list[str]] = {}
    for own in sorted((row for row in found if row.policy in OWN), key=lambda row: (row.policy, _case(row))):
        peers = [row for row in found if _case(row) == _case(own) and row.policy in PEERS]
        best = min((row for row in peers if row.late_share <= LATE_SHARE), key=lambda row: row.cloud_usd, default=None)
        if best is None or best.cloud_usd == own.cloud_usd:
            verdict = "-"
        else:
            verdict = "yes" if own.cloud_usd < best.cloud_usd else "no"
        verdicts.setdefault(own.policy, []).append(verdict)
        lead_s, private_share, seed, day = _case(own)
        peer = "- | -" if best is None else f"{best.policy} | {best.cloud_usd:.2f} usd"
        lines.append(
            f"| {lead_s:g} s | {private_share:g} x mean | {seed} | {day} | {own.policy} | {own.cloud_usd:.2f} usd | "
            f"{peer} | {verdict} |"
        )
    for policy, mine in verdicts.items():
        decided = len(mine) - mine.count("-")
        lines.append(
            f"\n{policy}: cheaper than each peer that is at most 0.1 % late on {mine.count('yes')} of {decided} days"
        )
    return "\n".join(lines)


def sales(found: Sequence[Row]) -> str:
    """Days with flash sales, one by one, and what is wanted of them.

    Without relief `predictive` should be late less than every peer for no more money, or at least be undominated: no
    peer is as punctual for as little. With relief at most 0.1 % of the requests should be neither in time nor refused
    by priority, and at most 5 % get a light answer.
    """
    lines = [
        "| lead time | private | seed | day | policy | bill | late | light | shed | wanted |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(found, key=lambda row: (_case(row), row.late_share)):
        lead_s, private_share, seed, day = _case(row)
        peers = [peer for peer in found if _case(peer) == _case(row) and peer.policy in PEERS]
        lines.append(
            f"| {lead_s:g} s | {private_share:g} x mean | {seed} | {day} | {row.policy} | {row.cloud_usd:.2f} usd | "
            f"{row.late_share:.3%} | {_share(row.light_share)} | {_share(row.shed_share)} | {_wanted(row, peers)} |"
        )
    return "\n".join(lines)


def _wanted(row: Row, peers: Sequence[Row]) -> str:
    """Whether a row of the product is what is wanted; `-` for others."""
    if row.policy == RELIEVED:
        enough = row.late_share <= LATE_SHARE and (row.light_share or 0.0) <= LIGHT_SHARE
        return "yes" if enough else "no"
    if row.policy != "predictive" or not peers:
        return "-"
    if all(row.late_share < peer.late_share and row.cloud_usd <= peer.cloud_usd for peer in peers):
        return "yes: less late than every peer for no more"
    better = [peer for peer in peers if peer.late_share <= row.late_share and peer.cloud_usd <= row.cloud_usd]
    return f"no: {better[0].policy} is as good for as little" if better else "yes: undominated"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.3%}"


def _case(row: Row) -> tuple[float, float, int, int]:
    return row.lead_s, row.private_share, row.seed, row.day


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f} x"


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscaler", description=__doc__)
    parser.add_argument("trace", help="CSV file t_seconds,requests")
    parser.add_argument("--days", default="13-26", help="first-last, counted from 0")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument(
        "--flash-sale", action="store_true", help="three sales a day, the rate four-fold for 10 minutes"
    )
    parser.add_argument("--lead-s", help="[default: 120,300; with --flash-sale 120]")
    parser.add_argument("--private", default="1", help="shares of the mean demand")
    parser.add_argument("--warm-days", type=int, default=0, help="days before each day that are on record, not counted")
    parser.add_argument("--rate-scale", type=float, default=0.1)
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--out", type=Path, default=Path("benchmarks-autoscaler.csv"))
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    leads = given.lead_s or ("120" if given.flash_sale else "120,300")
    first, last = (int(part) for part in given.days.split("-"))
    cases = [
        Case(
            given.trace,
            day,
            int(seed),
            float(lead_s),
            float(share),
            given.rate_scale,
            given.warm_days,
            given.flash_sale,
        )
        for lead_s, share, seed, day in product(
            leads.split(","), given.private.split(","), given.seeds.split(","), range(first, last + 1)
        )
    ]
    found: list[Row] = []
    with ProcessPoolExecutor(given.processes) as pool, given.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(Row.__dataclass_fields__))
        writer.writeheader()
        for done in pool.map(rows, cases, [given.policies.split(",")] * len(cases)):
            writer.writerows(asdict(row) for row in done)
            file.flush()
            found += done
            print(", ".join(f"{row.policy} {_times(row.ratio)} {row.late_share:.3%}" for row in done), flush=True)
    print(table(found))
    print()
    print(sales(found) if given.flash_sale else duels(found))


if __name__ == "__main__":
    main()
