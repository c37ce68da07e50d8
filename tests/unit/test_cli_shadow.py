"""`hcctl shadow`: every policy on the recorded traffic of a deployed service, beside what really is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from autoscaler.simulation.contest import POLICIES
from autoscaler.state import ServiceState, state_name, stored_service
from cli.main import app
from cli.wiring import store
from serving.state import LedgerEntry
from tests.support.served import Served


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    """A deployed service that has answered 90 requests a second for two hours."""
    monkeypatch.chdir(tmp_path)
    found = Served(tmp_path)
    found.record(2, per_step=900)
    return found


def hcctl(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def shown(*args: str) -> Any:
    """The JSON of a run."""
    result = hcctl("shadow", *args, "-o", "json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def rent(served: Served, from_s: float, until_s: float, usd: float, service: str | None = None) -> None:
    with store(served.project.paths) as opened:
        span = (from_s, until_s, until_s - from_s)
        opened.append_ledger(LedgerEntry("cloud", "rented", service or served.name, *span, usd))


def test_every_policy_lives_through_the_recorded_traffic(served: Served) -> None:
    """Each with capacity of its own: what it has now, its bill of the last hour and of all, who was late."""
    found = shown("--since", "70m")
    assert set(found["policies"]) == set(POLICIES)
    assert found["in_force"] == served.spec.burst.policy
    assert found["seconds"] == pytest.approx(4_200, abs=20)
    price = served.project.spec.sites["cloud"].pools[0].price_usd_per_hour
    for had in found["policies"].values():
        assert had["cloud_replicas_now"] > 0
        assert had["last_hour_usd"] <= had["rent_usd"]
        assert had["rent_usd"] == pytest.approx(had["cloud_replica_hours"] * price, rel=0.01)
        assert had["usd_per_day"] == pytest.approx(had["rent_usd"] / found["seconds"] * 86_400)
        assert had["usd_per_month"] == pytest.approx(30 * had["usd_per_day"])
    assert found["policies"][found["in_force"]]["over_in_force"] == 0


def test_rent_is_compared_with_rent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger knows no egress, so what policies would have paid for it is told apart and in no cost."""
    monkeypatch.chdir(tmp_path)
    served = Served(tmp_path)
    served.record(1, per_step=900, answer_bytes=10_000_000)
    file = tmp_path / "hcctl.yaml"
    file.write_text(re.sub(r"egress_usd_per_gb: \S+", "egress_usd_per_gb: 5", file.read_text()))
    found = shown("--since", "30m", "--policy", "hpa")
    price = served.project.spec.sites["cloud"].pools[0].price_usd_per_hour
    for had in found["policies"].values():
        assert had["egress_usd"] > had["rent_usd"] > 0
        assert had["rent_usd"] == had["last_hour_usd"] == pytest.approx(had["cloud_replica_hours"] * price, rel=0.01)
    hpa, ours = found["policies"]["hpa"], found["policies"][found["in_force"]]
    assert hpa["over_in_force"] == pytest.approx(hpa["rent_usd"] / ours["rent_usd"] - 1)


def test_the_same_record_shows_the_same(served: Served) -> None:
    """Nothing is kept between calls, and the live service is not asked."""
    once = hcctl("shadow", "--policy", "hpa", "--since", "10m", "-o", "json").stdout
    again = json.loads(hcctl("shadow", "--policy", "hpa", "--since", "10m", "-o", "json").stdout)
    assert again["policies"] == json.loads(once)["policies"]


def test_live_is_what_really_was_rented(served: Served) -> None:
    """From the ledger of this service, by the part inside the time shown; the count is what is wanted now."""
    rent(served, served.now_s - 10_800, served.now_s - 5_400, 6.0)
    rent(served, served.now_s - 1_800, served.now_s, 2.0)
    rent(served, served.now_s - 1_800, served.now_s, 50.0, service="another")
    mine = stored_service(ServiceState(targets={"private": 2, "cloud": 3}))
    with store(served.project.paths) as opened:
        opened.put_observation("daemon", state_name(served.name), mine, at_s=served.now_s)
    live = shown("--policy", "keda")["live"]
    assert live["cloud_replicas_now"] == 3
    assert live["rent_usd"] == pytest.approx(6.0 * 1_800 / 5_400 + 2.0, rel=0.02)
    assert live["last_hour_usd"] == pytest.approx(2.0, rel=0.02)
    assert live["late_share"] is None, "nobody wrote down how many were late"


def test_a_site_that_is_declared_no_more_is_left_out(served: Served, tmp_path: Path) -> None:
    """Its pools can be rented no more, and what the state still says of it is not what the service has."""
    gone = stored_service(ServiceState(targets={"private": 2, "cloud": 3, "gone": 4}))
    with store(served.project.paths) as opened:
        sites = {**served.spec.model_dump(mode="json", by_alias=True)["sites"], "gone": {"max_replicas": 9}}
        spec = served.spec.model_dump(mode="json", by_alias=True) | {"sites": sites}
        opened.put_intent(
            "service", served.name, {"spec": spec, "wanted": None}, expected_revision=1, at_s=served.now_s
        )
        opened.put_observation("daemon", state_name(served.name), gone, at_s=served.now_s)
    found = shown("--policy", "hpa", "--since", "10m")
    assert found["live"]["cloud_replicas_now"] == 3
    file = tmp_path / "hcctl.yaml"
    file.write_text(file.read_text().replace("private:", "elsewhere:", 1))
    result = hcctl("shadow", "--policy", "hpa")
    assert result.exit_code == 2, result.output
    assert "does not declare private" in result.stderr


def test_less_than_an_hour_is_no_pace(served: Served) -> None:
    """A forecast of a month from minutes would be a guess."""
    found = shown("--policy", "hpa", "--since", "30m")
    assert found["seconds"] == pytest.approx(1_800, abs=20)
    assert found["policies"]["hpa"]["usd_per_month"] is found["live"]["usd_per_day"] is None


def test_the_table_marks_what_is_in_force(served: Served) -> None:
    """What is live first, then the policies by cost, the policy in force among them whatever was asked for."""
    result = hcctl("shadow", served.name, "--policy", "hpa", "--since", "10m")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[1].startswith(f"live: {served.spec.burst.policy}")
    assert any(line.startswith(f"{served.spec.burst.policy} (in force)") for line in lines)
    assert any(line.startswith("hpa ") and " %" in line for line in lines)
    assert lines[-1].startswith("clairvoyant")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--policy", "guess"], "--policy guess"),
        (["--since", "24"], "24h"),
        (["--since", "0h"], "range"),
        (["--since", "36d"], "range"),
        (["--since", "nan"], "nan"),
        (["gone"], "gone"),
    ],
)
def test_bad_requests(served: Served, args: list[str], says: str) -> None:
    """One error that names what is wrong, exit code 2, nothing run."""
    result = hcctl("shadow", *args)
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert "..." not in result.stderr


def test_nothing_recorded_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No traffic is not zero cost."""
    monkeypatch.chdir(tmp_path)
    Served(tmp_path)
    result = hcctl("shadow")
    assert result.exit_code == 2
    assert "no traffic of the service is recorded" in result.stderr
