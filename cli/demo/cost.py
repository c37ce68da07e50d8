"""What the demo cost, next to two other ways of running the same load. Pure.

All three are cumulative usd over the same time axis and count owned nodes alike; `hybrid` is their cost and the
rent by then, from the ledger, and `autoscaler.money.alternatives` has the other two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.money.alternatives import Prices, always_on_usd, cloud_only_usd, private_usd
from cli.demo.verdict import Sample


@dataclass(frozen=True)
class CostComparison:
    """Cumulative usd at each moment of `t_s`."""

    t_s: tuple[float, ...]
    hybrid_usd: tuple[float, ...]
    always_on_usd: tuple[float, ...]
    cloud_only_usd: tuple[float, ...]


def compare(samples: Sequence[Sample], *, clouds: Sequence[str], prices: Prices) -> CostComparison:
    """The three courses over the moments of `samples`, of which there is at least one.

    The peak of the cloud nodes is the most replicas seen ready on the sites `clouds`.
    """
    t_s = [sample.t_s for sample in samples]
    peak = max(cloud_replicas(sample, clouds) for sample in samples)
    rented = zip(private_usd(t_s, prices), samples, strict=True)
    return CostComparison(
        t_s=tuple(t_s),
        hybrid_usd=tuple(own + sample.rented_usd for own, sample in rented),
        always_on_usd=tuple(always_on_usd(t_s, prices, peak_cloud_nodes=peak)),
        cloud_only_usd=tuple(cloud_only_usd(t_s, [sample.rate_rps for sample in samples], prices)),
    )


def cloud_replicas(sample: Sample, clouds: Sequence[str]) -> int:
    """Ready replicas on rented sites."""
    return sum(sample.replicas.get(site, 0) for site in clouds)
