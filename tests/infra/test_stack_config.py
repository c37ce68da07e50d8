"""A configuration is accepted as a whole, or refused by the name of the field and the fix."""

from __future__ import annotations

import copy
from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.addresses import subnets
from infra.stack_config import ConfigError, load
from tests.support.pulumi_program import EXAMPLE, example


def changed(path: str, value: object) -> dict[str, Any]:
    """The example with one field set."""
    stack = copy.deepcopy(example())
    here: Any = stack
    *parents, last = path.split(".")
    for part in parents:
        here = here[int(part)] if isinstance(here, list) else here[part]
    here[int(last) if isinstance(here, list) else last] = value
    return stack


def test_the_example_is_valid_and_shows_every_field() -> None:
    """Pulumi.example.yaml loads, and each field of the configuration is in it."""
    config = load(example())
    text = EXAMPLE.read_text()
    assert config.name == "hcctl-prod"

    def names(schema: dict[str, Any]) -> set[str]:
        own = set(schema.get("properties", {}))
        return own.union(*(names(part) for part in schema.get("$defs", {}).values()))

    assert {name for name in names(type(config).model_json_schema()) if name not in text} == set()


@pytest.mark.parametrize(
    ("path", "value", "field", "says"),
    [
        pytest.param("gpu_pool", [], "gpu_pool", "did you mean gpu_pools?", id="unknown field"),
        pytest.param("network.natt", "one", "network.natt", "did you mean nat?", id="unknown field within"),
        pytest.param("gpu_pools.0.max_node", 3, "gpu_pools.0.max_node", "max_nodes", id="unknown field of a pool"),
        pytest.param("on_prem.cidrs", ["10.64.128.0/20"], "network.vpc_cidr", "on_prem.cidrs.0", id="VPC and on-prem"),
        pytest.param("cluster.service_cidr", "10.64.0.0/20", "network.vpc_cidr", "overlaps", id="VPC and services"),
        pytest.param("on_prem.cidrs", ["172.20.1.0/24"], "cluster.service_cidr", "on_prem", id="services and on-prem"),
        pytest.param("network.vpc_cidr", "10.64.0.0/24", "network.vpc_cidr", "from /16 to /20", id="VPC too small"),
        pytest.param("network.vpc_cidr", "8.8.0.0/16", "network.vpc_cidr", "private range", id="VPC not private"),
        pytest.param("network.zones", ["eu-west-1a", "eu-west-1b"], "network.zones", "us-east-1", id="other region"),
        pytest.param("network.zones", ["us-east-1a"], "network.zones", "at least 2", id="one zone"),
        pytest.param("gpu_pools.1.name", "a10g-spot", "gpu_pools", "twice", id="pool twice"),
        pytest.param("gpu_pools.1.name", "system", "gpu_pools", "system", id="pool named system"),
        pytest.param("gpu_pools.0.min_nodes", 9, "gpu_pools.0.min_nodes", "8, or less", id="min over max"),
        pytest.param("gpu_pools.0.start_nodes", 9, "gpu_pools.0.start_nodes", "from 0 to 8", id="start over max"),
        pytest.param("daemon.runs_on", "on_prem", "daemon.oidc_issuer", "issuer", id="issuer missing"),
        pytest.param("on_prem.cluster.server.host_key", "x", "on_prem.cluster.k3s.server.host_key", "", id="host key"),
        pytest.param("account_id", "12", "account_id", "", id="account"),
        pytest.param("tags", {"aws:x": "y"}, "tags", "choose another key", id="reserved tag"),
        pytest.param("budget.emails", [], "budget.emails", "at least 1", id="budget that tells nobody"),
    ],
)
def test_what_is_wrong_is_named(path: str, value: object, field: str, says: str) -> None:
    """One error with the field and what to do."""
    with pytest.raises(ConfigError) as error:
        load(changed(path, value))
    assert error.value.field == field
    assert says in str(error.value)


@pytest.mark.parametrize("data", [None, [], "text"])
def test_no_configuration_is_an_error_too(data: object) -> None:
    """A stack without its object says where to begin."""
    with pytest.raises(ConfigError, match=r"Pulumi\.example\.yaml"):
        load(data)


@given(prefix=st.integers(16, 20), second=st.integers(0, 255), zones=st.integers(2, 3))
def test_subnets_fill_the_vpc_and_never_overlap(prefix: int, second: int, zones: int) -> None:
    """Every subnet lies in the VPC, none overlaps another, and a zone added at the end moves none."""
    vpc = IPv4Network(f"10.{second}.0.0/{prefix}")
    cut = subnets(vpc, ["a", "b", "c"][:zones])
    every = [part for zone in cut for part in (zone.private, zone.public)]
    assert len(every) == 2 * zones
    assert all(part.subnet_of(vpc) for part in every)
    assert not any(left.overlaps(right) for n, left in enumerate(every) for right in every[n + 1 :])
    assert subnets(vpc, ["a", "b", "c"])[:zones] == cut
