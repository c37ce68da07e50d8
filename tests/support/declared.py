"""A declared project and service for tests, and small changes to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serving.project import HybridProject
from serving.spec import HybridService

PROJECT: dict[str, Any] = {
    "kind": "HybridProject",
    "name": "shop",
    "sites": {
        "private": {
            "role": "private",
            "pools": [
                {
                    "name": "owned",
                    "kind": "fixed",
                    "max_nodes": 4,
                    "power_kw_per_gpu": 0.3,
                    "tariff_usd_per_kwh": 0.2,
                    "opportunity_usd_per_gpu_hour": 0.1,
                }
            ],
        },
        "cloud": {
            "role": "cloud",
            "pools": [
                {
                    "name": "g5",
                    "kind": "on_demand",
                    "max_nodes": 6,
                    "price_usd_per_hour": 1.0,
                    "min_billing_s": 60.0,
                    "lead_time_s": 40.0,
                }
            ],
        },
    },
}

SERVICE: dict[str, Any] = {
    "kind": "HybridService",
    "name": "shop",
    "model": {"import_path": "shop:Model", "slots_per_replica": 4, "drain_s": 5.0},
    "slo": {"latency_p99_s": 0.5},
    "sites": {"private": {"min_replicas": 1, "max_replicas": 4}, "cloud": {"max_replicas": 6}},
    "burst": {"calm_s": 30.0, "cooldown_s": 2.0},
    "release": {"judge_s": 2.0, "probe_requests": 5, "min_sample": 10},
}


def project(**changes: object) -> HybridProject:
    """The test project: 4 owned nodes at 0.16 usd per hour, 6 rented ones at 1 usd; changes are merged in."""
    return HybridProject.model_validate(merged(PROJECT, changes))


def service(**changes: object) -> HybridService:
    """The test service: SLO 0.5 s, 4 slots per replica; changes are merged in."""
    return HybridService.model_validate(merged(SERVICE, changes))


def changed(spec: HybridService, **changes: object) -> HybridService:
    """A service with changed fields, as a new declaration would bring them."""
    return HybridService.model_validate(merged(spec.model_dump(mode="json"), changes))


def pools(fleet: HybridProject, site: str, *entries: Mapping[str, object]) -> HybridProject:
    """The project with other pools on one site."""
    data = fleet.model_dump(mode="json", by_alias=True)
    data["sites"][site]["pools"] = [dict(entry) for entry in entries]
    return HybridProject.model_validate(data)


def repriced(fleet: HybridProject, site: str, **fields: object) -> HybridProject:
    """The project with changed fields in the first pool of one site."""
    data = fleet.model_dump(mode="json", by_alias=True)
    data["sites"][site]["pools"][0] |= fields
    return HybridProject.model_validate(data)


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` laid over `base`, mapping by mapping."""
    out = dict(base)
    for key, value in changes.items():
        inner = out.get(key)
        out[key] = merged(inner, value) if isinstance(value, Mapping) and isinstance(inner, Mapping) else value
    return out
