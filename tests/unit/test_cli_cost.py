"""The rows of `hcctl cost`."""

from __future__ import annotations

from autoscaler.state import DaemonState, RentedNode, ServiceState
from cli.commands.cost import cost_rows
from serving.state import LedgerEntry
from tests.support.declared import pools, project, service

NOW_S = 1_800_000_000.0
ENTRIES = [
    {"name": name, "kind": kind, "max_nodes": 2, "price_usd_per_hour": price}
    for name, kind, price in (("spot", "spot", 0.5), ("od", "on_demand", 1.0))
]


def fleet():
    """The usual project, with two cloud pools."""
    return pools(project(), "cloud", *ENTRIES)


def entry(service_name: str, pool: str, usd: float) -> LedgerEntry:
    """An hour of one node."""
    return LedgerEntry("cloud", pool, service_name, NOW_S - 3_600, NOW_S, 3_600.0, usd)


def test_each_pool_has_its_own_nodes_price_and_spend():
    """Rented nodes are those on the bill; owned ones follow the target."""
    mine = ServiceState(targets={"private": 2, "cloud": 3})
    nodes = {"cloud/shop": (RentedNode("spot", 1.0), RentedNode("spot", 2.0), RentedNode("od", 3.0))}
    rows = cost_rows(fleet(), [service()], DaemonState({"shop": mine}, nodes), [entry("shop", "od", 1.0)], NOW_S)
    found = {(row["site"], row["pool"]): (row["nodes_now"], row["usd_per_hour_now"], row["spent_usd"]) for row in rows}
    assert found["cloud", "spot"] == (2, 1.0, 0.0)
    assert found["cloud", "od"] == (1, 1.0, 1.0)
    assert next(iter(value for (site, _), value in found.items() if site == "private"))[0] == 2


def test_what_is_gone_keeps_its_bill():
    """A removed service and a pool that is no longer declared: the money was spent."""
    rows = cost_rows(fleet(), [], DaemonState(), [entry("old", "od", 2.0), entry("old", "retired", 3.0)], NOW_S)
    assert [(row["service"], row["pool"], row["spent_usd"], row["nodes_now"]) for row in rows] == [
        ("old", "od", 2.0, 0),
        ("old", "retired", 3.0, 0),
    ]
    assert rows[1]["usd_per_node_hour"] is None
