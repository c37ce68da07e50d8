"""The simulator against a real run that was recorded; `python -m benchmarks validation` makes a new one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.validation import P99_WITHIN, RECORDING, REPLICA_S_WITHIN, Recording, section, simulated


@pytest.fixture
def real() -> Recording:
    """A demo on a machine that did much else: the cloud took two minutes to come, and a quarter was refused."""
    return RECORDING.validate_json((Path(__file__).parent / "data" / "demo_recording.json").read_bytes())


def test_the_simulated_world_is_the_recorded_one(real: Recording) -> None:
    """The same queue, the same wait and the same rent, within the bounds of the goals."""
    found = simulated(real)
    assert found.p99_s == pytest.approx(real.seen.p99_s, rel=P99_WITHIN)
    assert found.queued == pytest.approx(real.seen.queued, rel=0.1)
    assert found.replica_s == pytest.approx(real.seen.replica_s, rel=REPLICA_S_WITHIN)
    assert all(goal.holds for goal in section(real).goals)


def test_another_world_is_not(real: Recording) -> None:
    """The agreement says something: with half the service time or a sixth of the lead time there is none."""
    faster = simulated(replace(real, service_s=real.service_s / 2))
    assert faster.queued < 0.5 * real.seen.queued
    sooner = simulated(replace(real, rented=replace(real.rented, lead_s=20.0)))
    assert sooner.queued < 0.9 * real.seen.queued
