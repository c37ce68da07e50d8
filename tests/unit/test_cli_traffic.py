"""`hcctl traffic`: the past of a service, hour by hour, from either source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli.main import app
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


def shown(*args: str) -> list[dict[str, Any]]:
    """The JSON of a run."""
    result = hcctl("traffic", *args, "-o", "json")
    assert result.exit_code == 0, result.stderr
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return rows


def test_each_hour_has_its_rate_and_its_gaps(served: Served) -> None:
    """What was recorded is shown; hours before are unknown, not empty."""
    rows = shown("--since", "5h")
    assert len(rows) == 5
    assert rows[0] == {**rows[0], "mean_rps": None, "peak_rps": None, "p99_s": None, "unknown": 1}
    known = [row for row in rows if row["mean_rps"] is not None]
    assert [row["peak_rps"] for row in known] == pytest.approx([90] * len(known))
    assert len(known) in (2, 3)
    assert "mean req/s" in hcctl("traffic", "--since", "2h").stdout.lower()


def test_without_a_prometheus_that_source_is_refused(served: Served) -> None:
    """One error that names the field; exit code 2."""
    result = hcctl("traffic", "--source", "prometheus")
    assert result.exit_code == 2
    assert "names no Prometheus" in result.stderr
    assert "metrics.prometheus_url" in result.stderr


def test_a_prometheus_that_is_away_is_told(served: Served) -> None:
    """It is an error, not a table of noughts."""
    file = served.project.paths.project_file
    file.write_text(file.read_text().replace("prometheus_url: null", "prometheus_url: http://127.0.0.1:9"))
    result = hcctl("traffic", "--source", "prometheus")
    assert result.exit_code == 1
    assert "Prometheus does not say" in result.stderr
