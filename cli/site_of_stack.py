"""The cloud site that a Pulumi stack has made, as fields of hcctl.yaml. Pure.

References only: no secret of the stack gets into the project file, and its kubeconfig is taken only if it holds none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.costs import HourPrice, MachineSize, Prices, UnknownPrice, hour_price
from infra.outputs import PoolOutput, StackOutputs
from serving.errors import InvalidInput

LEAD_TIME_S = 300.0
"""Until it is learned: a GPU machine of EKS, its image and weights take minutes; a budget must not hope for less."""
LEFT_CPUS, LEFT_GIB, LEFT_SHARE = 1, 4.0, 0.1
"""Of a machine, for Kubernetes and what runs beside the worker; of memory the larger of the two."""
POOL_LABEL, GPU_TAINT = "hcctl.dev/pool", "nvidia.com/gpu"
"""As `infra/gpu_pools.py` writes them."""


@dataclass(frozen=True)
class Choices:
    """What the stack does not say."""

    image: str | None
    claim: str | None
    """Volume claim with the versions; None: they are in the stack's bucket."""
    kubeconfig: str
    """Path, from the project's folder."""
    context: str | None


@dataclass(frozen=True)
class Found:
    """A site, and what somebody should know of it."""

    site: Mapping[str, Any]
    notes: Sequence[str]
    """For comments above it."""
    warnings: Sequence[str]


def cloud_site(outputs: StackOutputs, prices: Prices, chosen: Choices) -> Found:
    """The site of a stack.

    Raises:
        InvalidInput: no image was named, the stack has no pool, or a price or machine size is not in the price book.
    """
    if chosen.image is None:
        raise InvalidInput(
            "the site needs an image",
            where="--image",
            why="a stack has repositories, and does not know what you pushed to them",
            next_step=f"push one and name it with its tag: {', '.join(outputs.repository_urls.values())}",
        )
    if not outputs.pools:
        raise InvalidInput(
            "the stack has no GPU pool",
            where="output pools",
            why="a site without nodes serves nothing",
            next_step="declare gpu_pools in the stack's file and run `hcctl infra up`",
        )
    priced = {pool.name: _price(pool, outputs.region, prices) for pool in outputs.pools}
    bounds = [name for name, price in priced.items() if price.upper_bound]
    kubernetes = {
        "kubeconfig": chosen.kubeconfig,
        **({"context": chosen.context} if chosen.context else {}),
        "namespace": outputs.namespace,
        "image": chosen.image,
        **({"artefacts": {"claim": chosen.claim}} if chosen.claim is not None else _of_bucket(outputs)),
    }
    capacity = {
        "kind": "eks",
        "region": outputs.region,
        "cluster": outputs.name,
        "stack": outputs.name,
        "groups": {pool.name: pool.name for pool in outputs.pools},
        "reclaim_queue_url": outputs.reclaim_queue_url,
    }
    site = {
        "role": "cloud",
        "kind": "kubernetes",
        "kubernetes": kubernetes,
        "capacity": capacity,
        "pools": [_pool(pool, priced[pool.name], _size(pool, prices)) for pool in outputs.pools],
    }
    warnings = [
        f"{name}: no spot price is known, so it has the on-demand price, which spot does not exceed" for name in bounds
    ]
    return Found(site, [f"from stack {outputs.name}", *warnings], warnings)


def without_secrets(kubeconfig: str) -> str:
    """The stack's kubeconfig, if the AWS CLI is the only way in that it has.

    Raises:
        InvalidInput: it cannot be read, holds credentials, or would run another program.
    """
    try:
        users = [each["user"] for each in json.loads(kubeconfig)["users"]]
        fit = bool(users) and all(set(user) == {"exec"} and user["exec"]["command"] == "aws" for user in users)
    except (ValueError, TypeError, KeyError, RecursionError):
        fit = False
    if not fit:
        raise InvalidInput(
            "the stack's kubeconfig is not used",
            where="output kubeconfig",
            why="it is not one that asks the AWS CLI for a token, and nothing else",
            next_step="name one of your own with --kubeconfig",
        )
    return kubeconfig


def _of_bucket(outputs: StackOutputs) -> dict[str, Any]:
    """Versions in the stack's bucket, and the account whose role may read it."""
    bucket = {"name": outputs.model_bucket, "region": outputs.region}
    return {"artefacts": {"bucket": bucket}, "service_account": outputs.replica_service_account}


def _price(pool: PoolOutput, region: str, prices: Prices) -> HourPrice:
    try:
        return hour_price(prices, region, pool.instance_types, spot=pool.capacity == "spot")
    except UnknownPrice as error:
        raise InvalidInput(
            "a pool has no price",
            where=f"output pools: {pool.name}",
            why=str(error),
            next_step="add it to a file in the form of infra/prices.yaml and name that with --prices",
        ) from None


def _size(pool: PoolOutput, prices: Prices) -> MachineSize:
    """What every machine of the pool has."""
    unknown = [kind for kind in pool.instance_types if kind not in prices.machine_sizes]
    found = [prices.machine_sizes[kind] for kind in pool.instance_types if kind not in unknown]
    why = f"the size of {unknown[0]} is not known" if unknown else ""
    if not why and len({size.gpus for size in found}) != 1:
        why = "its machine types do not have the same number of GPUs"
    if why:
        raise InvalidInput(
            "the workers of a pool cannot be sized",
            where=f"output pools: {pool.name}",
            why=why,
            next_step="correct the pool, or machine_sizes of a price file, and name that with --prices",
        )
    return MachineSize(
        cpus=min(size.cpus for size in found), memory_gib=min(size.memory_gib for size in found), gpus=found[0].gpus
    )


def _pool(pool: PoolOutput, price: HourPrice, size: MachineSize) -> dict[str, Any]:
    worker = {
        "cpus": max(1, size.cpus - LEFT_CPUS),
        "memory_gib": int(size.memory_gib - max(LEFT_GIB, LEFT_SHARE * size.memory_gib)),
        "labels": {POOL_LABEL: pool.name},
        "taints": [{"key": GPU_TAINT}],
    }
    return {
        "name": pool.name,
        "kind": pool.capacity,
        "max_nodes": pool.max_nodes,
        "gpus_per_node": size.gpus,
        "price_usd_per_hour": price.usd,
        "price_as_of": price.as_of,
        "lead_time_s": LEAD_TIME_S,
        "worker": worker,
    }
