"""What a stack costs in a month, at rest and at full size. Pure but for `load_prices`.

At rest every GPU pool stands at `min_nodes`; at full size at `max_nodes`, all month. Spot counts at the on-demand price
of its dearest type, which it does not exceed: an upper bound. Left out, because they follow the use: egress, bytes
through NAT, endpoints and VPN, logs, requests, stored models and images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from infra.stack_config import SYSTEM_VOLUME_GB, StackConfig

HOURS = 730.0
"""Of a month, as AWS's own calculator has it."""
KEYS = 2
"""KMS keys: Kubernetes secrets, models."""


def _as_date(day: str) -> str:
    return date.fromisoformat(day).isoformat()


Day = Annotated[str, AfterValidator(_as_date)]
"""A date such as 2026-11-22."""
HourUsd = Annotated[float, Field(gt=0)]


class MachineSize(BaseModel):
    """What a machine type has."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    cpus: int = Field(ge=1)
    memory_gib: float = Field(gt=0)
    gpus: int = Field(ge=0)


class RegionPrices(BaseModel):
    """List prices of a region in usd; units are in the names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    eks_cluster_hour: float = Field(ge=0)
    nat_gateway_hour: float = Field(ge=0)
    public_address_hour: float = Field(ge=0)
    interface_endpoint_zone_hour: float = Field(ge=0)
    vpn_connection_hour: float = Field(ge=0)
    kms_key_month: float = Field(ge=0)
    volume_gb_month: float = Field(ge=0)
    object_gb_month: float = Field(ge=0)
    instance_hours: dict[str, HourUsd] = Field(description="Of machines on demand.")
    hours_as_of: Day | None = Field(default=None, description="Of instance_hours; unset: as the book.")
    spot_hours: dict[str, HourUsd] = Field(
        default_factory=dict, description="Of spot machines: of the latest price of each zone the dearest."
    )
    spot_as_of: Day | None = Field(default=None, description="Of spot_hours; unset: as the book.")


class Prices(BaseModel):
    """A price file: where its numbers are from, and as of when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_of: Day
    source: str
    regions: dict[str, RegionPrices]
    machine_sizes: dict[str, MachineSize] = Field(default_factory=dict)

    def region(self, name: str) -> RegionPrices:
        """The prices of a region.

        Raises:
            UnknownPrice: the book has none.
        """
        if name not in self.regions:
            raise UnknownPrice(f"there are no prices of {name}, only of {', '.join(sorted(self.regions))}")
        return self.regions[name]


class UnknownPrice(ValueError):
    """A price that the estimate needs is not in the file; unknown is not nought."""


@dataclass(frozen=True)
class HourPrice:
    """An hour of a machine."""

    usd: float
    as_of: str
    """Date of the price."""
    upper_bound: bool = False
    """A spot machine at its on-demand price, for no spot price is known."""


@dataclass(frozen=True)
class CostLine:
    """One item of a month."""

    item: str
    usd_at_rest: float
    usd_at_full_size: float


@dataclass(frozen=True)
class Estimate:
    """A month, item by item."""

    lines: Sequence[CostLine]
    as_of: str
    source: str

    @property
    def usd_at_rest(self) -> float:
        """With every GPU pool at its minimum."""
        return sum(line.usd_at_rest for line in self.lines)

    @property
    def usd_at_full_size(self) -> float:
        """With every GPU pool at its maximum, all month."""
        return sum(line.usd_at_full_size for line in self.lines)


def load_prices(path: Path | None = None) -> Prices:
    """The prices of a file; those that come with hcctl if none is named.

    Raises:
        UnknownPrice: the file is not of the form.
        OSError: it cannot be read.
    """
    chosen = path or Path(__file__).with_name("prices.yaml")
    try:
        return Prices.model_validate(yaml.safe_load(chosen.read_text("utf-8")))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise UnknownPrice(f"{chosen.name} is no price file: {' '.join(str(error).split())[:200]}") from None


def estimate(config: StackConfig, prices: Prices) -> Estimate:
    """What the stack costs in a month.

    Raises:
        UnknownPrice: the file lacks the region or an instance type of the stack.
    """
    here = prices.region(config.region)
    zones = len(config.network.zones)
    nats = zones if config.network.nat == "per_zone" else 1
    endpoints = len(config.network.interface_endpoints)
    tunnels = 1 if config.on_prem and config.on_prem.vpn else 0
    system = config.cluster.system_nodes
    fixed = [
        ("EKS control plane", HOURS * here.eks_cluster_hour),
        (
            f"system pool: {system} x {config.cluster.system_instance_type}",
            system * _node_month(here, [config.cluster.system_instance_type], SYSTEM_VOLUME_GB),
        ),
        (f"NAT gateways: {nats}", nats * HOURS * (here.nat_gateway_hour + here.public_address_hour)),
        (
            f"interface endpoints: {endpoints} in {zones} zones",
            endpoints * zones * HOURS * here.interface_endpoint_zone_hour,
        ),
        (f"VPN connections: {tunnels}", tunnels * HOURS * here.vpn_connection_hour),
        (f"KMS keys: {KEYS}", KEYS * here.kms_key_month),
    ]
    pools = []
    for pool in config.gpu_pools:
        node = _node_month(here, pool.instance_types, pool.volume_gb)
        kind = "spot, at most" if pool.capacity == "spot" else "on-demand"
        item = f"pool {pool.name} ({kind}): {pool.min_nodes} to {pool.max_nodes} nodes"
        pools.append(CostLine(item, pool.min_nodes * node, pool.max_nodes * node))
    return Estimate([*(CostLine(item, usd, usd) for item, usd in fixed), *pools], prices.as_of, prices.source)


def hour_price(prices: Prices, region: str, instance_types: Sequence[str], *, spot: bool) -> HourPrice:
    """An hour of a pool's machines: of the dearest type that it may take.

    Raises:
        UnknownPrice: the book lacks the region or a type.
    """
    here = prices.region(region)
    if spot and here.spot_hours.keys() >= set(instance_types):
        return HourPrice(max(here.spot_hours[kind] for kind in instance_types), here.spot_as_of or prices.as_of)
    return HourPrice(_dearest_hour(here, instance_types), here.hours_as_of or prices.as_of, upper_bound=spot)


def _dearest_hour(prices: RegionPrices, instance_types: Sequence[str]) -> float:
    unknown = next((kind for kind in instance_types if kind not in prices.instance_hours), None)
    if unknown:
        raise UnknownPrice(f"there is no price of {unknown}")
    return max(prices.instance_hours[kind] for kind in instance_types)


def _node_month(prices: RegionPrices, instance_types: Sequence[str], volume_gb: int) -> float:
    """One node all month, of the dearest type that the pool may take, with its volume."""
    return HOURS * _dearest_hour(prices, instance_types) + volume_gb * prices.volume_gb_month
