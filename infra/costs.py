"""What a stack costs in a month, at rest and at full size. Pure but for `load_prices`.

At rest every GPU pool stands at `min_nodes`; at full size at `max_nodes`, all month. Spot counts at the on-demand price
of its dearest type, which it does not exceed: an upper bound. Left out, because they follow the use: egress, bytes
through NAT, endpoints and VPN, logs, requests, stored models and images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from infra.stack_config import SYSTEM_VOLUME_GB, StackConfig

HOURS = 730.0
"""Of a month, as AWS's own calculator has it."""
KEYS = 2
"""KMS keys: Kubernetes secrets, models."""


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
    instance_hours: dict[str, float]


class Prices(BaseModel):
    """A price file: where its numbers are from, and as of when."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    as_of: str
    source: str
    regions: dict[str, RegionPrices]


class UnknownPrice(ValueError):
    """A price that the estimate needs is not in the file; unknown is not nought."""


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
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UnknownPrice(f"{chosen.name} is no price file: {' '.join(str(error).split())[:200]}") from None


def estimate(config: StackConfig, prices: Prices) -> Estimate:
    """What the stack costs in a month.

    Raises:
        UnknownPrice: the file lacks the region or an instance type of the stack.
    """
    here = prices.regions.get(config.region)
    if here is None:
        raise UnknownPrice(f"there are no prices of {config.region}, only of {', '.join(sorted(prices.regions))}")
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


def _node_month(prices: RegionPrices, instance_types: Sequence[str], volume_gb: int) -> float:
    """One node all month, of the dearest type that the pool may take, with its volume."""
    unknown = next((kind for kind in instance_types if kind not in prices.instance_hours), None)
    if unknown:
        raise UnknownPrice(f"there is no price of {unknown}")
    return HOURS * max(prices.instance_hours[kind] for kind in instance_types) + volume_gb * prices.volume_gb_month
