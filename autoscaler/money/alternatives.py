"""The same load run in other ways: owned nodes and the peak's rented ones always on, or everything in the cloud. Pure.

Cumulative usd over a common time axis:

    private(t)    = owned nodes x usd per node-hour x t
    always on(t)  = private(t) + usd per hour of the most rented nodes held at once x t
    cloud only(t) = usd per node-hour x integral of ceil(rate / requests per second of a node)

Cloud only is an ideal that no autoscaler reaches: nodes appear at once, leave at once, and are billed by the second.
The comparison is meant to flatter the alternatives, not hcctl.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.money.cost import HOUR_S


@dataclass(frozen=True)
class Prices:
    """What nodes cost and carry."""

    private_nodes: int
    private_usd_per_node_hour: float
    """Energy and lost opportunity; see `autoscaler.money.cost.node_usd_per_hour`."""
    cloud_usd_per_node_hour: float
    node_rps: float
    """Requests per second one node serves within the SLO; above 0."""


def private_usd(t_s: Sequence[float], prices: Prices) -> list[float]:
    """Cumulative usd of the owned nodes; they cost whether they are busy or not."""
    per_s = prices.private_nodes * prices.private_usd_per_node_hour / HOUR_S
    return [per_s * (moment_s - t_s[0]) for moment_s in t_s]


def always_on_usd(t_s: Sequence[float], prices: Prices, *, peak_cloud_nodes: int) -> list[float]:
    """Cumulative usd of holding the peak's cloud nodes all the time, next to the owned ones."""
    per_s = peak_cloud_nodes * prices.cloud_usd_per_node_hour / HOUR_S
    private = private_usd(t_s, prices)
    return [own + per_s * (moment_s - t_s[0]) for own, moment_s in zip(private, t_s, strict=True)]


def cloud_only_usd(t_s: Sequence[float], rate_rps: Sequence[float], prices: Prices) -> list[float]:
    """Cumulative usd of serving all load on cloud nodes, of which there is at least one.

    `rate_rps` is the load from each moment to the next.
    """
    total_usd = [0.0] * len(t_s)
    for index in range(1, len(t_s)):
        nodes = max(1, math.ceil(rate_rps[index - 1] / prices.node_rps))
        usd = nodes * prices.cloud_usd_per_node_hour * (t_s[index] - t_s[index - 1]) / HOUR_S
        total_usd[index] = total_usd[index - 1] + usd
    return total_usd
