"""Scaling policies over recorded days, beside the clairvoyant: bill and late requests, day by day.

`python -m benchmarks.autoscaler TRACE` runs every policy on every day asked for, in the simulated world of
`hcctl simulate`, writes one row each to a CSV file, and prints medians and worst days.
Days are cut from the trace at multiples of 86,400 s.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from autoscaler.simulation.contest import POLICIES, cloud_size, contest
from autoscaler.simulation.fleet import CloudPool
from autoscaler.simulation.trace import from_trace, per_second
from autoscaler.simulation.world import WorldSpec

DAY_S = 86_400.0
SLOTS, SERVICE_S, SLO_S = 2, 0.4, 1.0


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


@dataclass(frozen=True)
class Row:
    """What one policy made of a case."""

    day: int
    seed: int
    lead_s: float
    private_share: float
    policy: str
    ratio: float | None
    late_share: float
    actions: int
    gap: float
    """How far the clairvoyant may be from the least bill."""


def rows(case: Case, policies: Sequence[str]) -> list[Row]:
    """Run one case."""
    curve = from_trace(Path(case.trace)).part(case.day * DAY_S, DAY_S)
    arrivals = per_second(curve, rate_scale=case.rate_scale, seed=case.seed)
    replica_rps = SLOTS / SERVICE_S
    private = math.ceil(case.private_share * float(arrivals.mean()) / replica_rps)
    size = cloud_size(arrivals, private_replicas=private, replica_rps=replica_rps)
    world = WorldSpec(private, SLOTS, SERVICE_S, SLO_S, (CloudPool("cloud", 1.0, case.lead_s, size),))
    found = contest(arrivals, world, policies, seed=case.seed)
    return [
        Row(
            case.day,
            case.seed,
            case.lead_s,
            case.private_share,
            result.policy,
            result.ratio,
            result.late_share,
            result.run.actions,
            found.best.gap,
        )
        for result in found.results
    ]


def table(found: Sequence[Row]) -> str:
    """Median and worst by policy."""
    lines = [
        "| lead time | private | policy | bill: median | worst | late: median | worst |",
        "|---|---|---|---|---|---|---|",
    ]
    keys = sorted({(row.lead_s, row.private_share, row.policy) for row in found})
    for lead_s, private_share, policy in keys:
        mine = [row for row in found if (row.lead_s, row.private_share, row.policy) == (lead_s, private_share, policy)]
        ratios = [row.ratio for row in mine if row.ratio is not None]
        late = [row.late_share for row in mine]
        lines.append(
            f"| {lead_s:g} s | {private_share:g} x mean | {policy} | {statistics.median(ratios):.2f} x | "
            f"{max(ratios):.2f} x | {statistics.median(late):.3%} | {max(late):.3%} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.autoscaler", description=__doc__)
    parser.add_argument("trace", help="CSV file t_seconds,requests")
    parser.add_argument("--days", default="13-26", help="first-last, counted from 0")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--lead-s", default="120,300")
    parser.add_argument("--private", default="1", help="shares of the mean demand")
    parser.add_argument("--rate-scale", type=float, default=0.1)
    parser.add_argument("--policies", default=",".join(POLICIES))
    parser.add_argument("--out", type=Path, default=Path("benchmarks-autoscaler.csv"))
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    first, last = (int(part) for part in given.days.split("-"))
    cases = [
        Case(given.trace, day, int(seed), float(lead_s), float(share), given.rate_scale)
        for lead_s, share, seed, day in product(
            given.lead_s.split(","), given.private.split(","), given.seeds.split(","), range(first, last + 1)
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
            print(
                " ".join(f"{row.policy} {row.ratio:.2f}/{row.late_share:.3%}" for row in done if row.ratio), flush=True
            )
    print(table(found))


if __name__ == "__main__":
    main()
