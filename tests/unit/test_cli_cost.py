"""The rows of `hcctl cost`, its comparison and its output."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from autoscaler.observing.traffic import Record
from autoscaler.simulation.trace import RateCurve
from autoscaler.state import DaemonState, RentedNode, ServiceState
from cli.commands.cost import OLD_DAYS, cost_rows, old_prices
from cli.context import open_project
from cli.costs import compare_ways, peak, service_costs
from cli.main import app
from cli.wiring import store
from serving.loading import load_service
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


def test_a_price_has_an_age_and_an_old_one_is_told():
    """Whole days since its date; none where the date is not known; told once it is older than a quarter."""
    today = datetime.fromtimestamp(NOW_S, UTC).date()
    dates = {"spot": today - timedelta(days=OLD_DAYS), "old": today - timedelta(days=OLD_DAYS + 1), "od": None}
    entries = [{**ENTRIES[1], "name": name} | ({"price_as_of": str(day)} if day else {}) for name, day in dates.items()]
    mine = pools(project(), "cloud", *entries)
    rows = cost_rows(mine, [service()], DaemonState(), [], NOW_S)
    ages = {row["pool"]: row["price_age_days"] for row in rows}
    assert ages == {"owned": None, "spot": OLD_DAYS, "old": OLD_DAYS + 1, "od": None}
    (told,) = old_prices(mine, NOW_S)
    assert told.startswith(f"the price of cloud/old is {OLD_DAYS + 1} days old; read today's with `hcctl infra prices`")


def traffic(*rates_rps: float, service_s: float | None = 0.1) -> Record:
    """Ten seconds of each rate, until now."""
    curve = RateCurve(10.0, np.array(rates_rps))
    return Record(
        curve, NOW_S - curve.duration_s, np.zeros(len(rates_rps), dtype=bool), service_s, service_s, None, None
    )


def node(start_s: float, end_s: float, usd_per_hour: float = 1.0) -> LedgerEntry:
    """A node of the cloud, in seconds before now."""
    length_s = start_s - end_s
    return LedgerEntry("cloud", "g5", "shop", NOW_S - start_s, NOW_S - end_s, length_s, usd_per_hour * length_s / 3_600)


def test_the_same_traffic_is_priced_in_three_ways():
    """An hour: 4 owned nodes at 0.16; two rented for half of it; all in the cloud takes 1 node, then 4 of 28 req/s."""
    record = traffic(*[20.0] * 180, *[100.0] * 180)
    ledger = [node(1_800, 0), node(1_800, 0), node(7_200, 3_600)]
    found, why_not = compare_ways(project(), service(), ledger, record, since_s=0.0, now_s=NOW_S)
    assert why_not == ""
    assert found is not None
    assert found.days == pytest.approx(1 / 24)
    assert found.hybrid_usd == pytest.approx(4 * 0.16 + 1.0)
    assert found.always_on_usd == pytest.approx(4 * 0.16 + 2.0)
    assert found.cloud_only_usd == pytest.approx(0.5 * 1 + 0.5 * 4)


def test_only_the_asked_time_is_compared():
    """The last quarter of an hour: what was rented before is not in it."""
    record = traffic(*[20.0] * 360)
    found, _ = compare_ways(project(), service(), [node(3_600, 1_800)], record, since_s=NOW_S - 900, now_s=NOW_S)
    assert found is not None
    assert found.hybrid_usd == pytest.approx(0.16)
    assert found.always_on_usd == pytest.approx(0.16)


def test_the_peak_is_of_one_moment():
    """One that begins as another ends is no second one; the rent is that of the nodes that were there."""
    assert peak([node(300, 200), node(200, 100, 3.0)], 0.0) == (1, pytest.approx(3.0))
    assert peak([node(300, 150), node(200, 100, 3.0)], 0.0) == (2, pytest.approx(4.0))
    assert peak([], 0.0) == (0, 0.0)


@pytest.mark.parametrize(
    ("record", "why"), [(None, "no traffic is recorded"), (traffic(1.0, service_s=None), "no site answered")]
)
def test_what_is_not_known_is_null_and_said(record: Record | None, why: str):
    """No forecast from a minute, no comparison without traffic: a note each."""
    found = service_costs(project(), service(), [node(60, 0)], record, since_s=0.0, now_s=NOW_S)
    assert found["spent_day_usd"] == pytest.approx(1 / 60)
    assert found["month_expected_usd"] is None
    assert found["month_high_usd"] is None
    assert "0 whole days are known" in found["forecast_note"]
    assert found["always_on_usd"] is None
    assert why in found["comparison_note"]


def test_the_command_shows_pools_windows_and_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A deployed service that never ran: all keys in JSON, and a table that says what is not known."""
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["init", "--name", "shop"]).exit_code == 0
    opened_project = open_project()
    spec = load_service(tmp_path / "service.yaml", project=opened_project.spec)
    with store(opened_project.paths) as opened:
        body = {"spec": spec.model_dump(mode="json", by_alias=True), "wanted": None}
        opened.put_intent("service", spec.name, body, expected_revision=0, at_s=0.0)
    found = json.loads(CliRunner().invoke(app, ["cost", "-o", "json"]).stdout)
    assert {row["pool"] for row in found["pools"]} == {"owned", "on-demand"}
    assert [row["service"] for row in found["services"]] == [spec.name]
    assert found["services"][0]["month_expected_usd"] is None
    shown = CliRunner().invoke(app, ["cost"])
    assert "this month" in shown.stdout
    assert "not known yet: 0 whole days are known; a forecast needs 2" in shown.stdout
    assert "No comparison: no traffic is recorded." in shown.stderr


def test_owned_nodes_cost_what_each_of_them_does():
    """One node at 0.1 and two at 0.4 an hour: 0.3 on average, not 0.25."""
    owned = [
        {"name": name, "kind": "fixed", "max_nodes": nodes, "opportunity_usd_per_gpu_hour": usd}
        for name, nodes, usd in (("old", 1, 0.1), ("new", 2, 0.4))
    ]
    spec = service(sites={"private": {"max_replicas": 3}, "cloud": {"max_replicas": 2}})
    record = traffic(*[20.0] * 360)
    found, _ = compare_ways(pools(project(), "private", *owned), spec, [], record, since_s=0.0, now_s=NOW_S)
    assert found is not None
    assert found.hybrid_usd == pytest.approx(0.9)


def test_a_site_that_is_declared_no_more_is_left_out_of_the_comparison():
    """hcctl.yaml has lost the cloud site of a service that is still deployed: a note, no traceback."""
    fewer = project()
    del fewer.sites["cloud"]
    found, why_not = compare_ways(fewer, service(), [], traffic(*[20.0] * 360), since_s=0.0, now_s=NOW_S)
    assert found is None
    assert why_not == "the service is on no cloud site"
