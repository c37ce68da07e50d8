"""How a VPC is cut into subnets. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network


@dataclass(frozen=True)
class ZoneSubnets:
    """The two subnets of a zone."""

    zone: str
    private: IPv4Network
    """Nodes and pods; a quarter of the VPC, as each pod takes an address of it."""
    public: IPv4Network
    """NAT gateways only; a sixteenth of the VPC."""


def subnets(vpc: IPv4Network, zones: Sequence[str]) -> list[ZoneSubnets]:
    """Subnets of up to three zones, the same for the same order, so that a zone can be added at the end."""
    *privates, rest = vpc.subnets(prefixlen_diff=2)
    publics = rest.subnets(prefixlen_diff=2)
    return [ZoneSubnets(zone, private, public) for zone, private, public in zip(zones, privates, publics, strict=False)]
