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
    for other in (
        replace(real, service_s=real.service_s / 2),
        replace(real, rented=replace(real.rented, lead_s=20.0)),
    ):
        found = simulated(other)
        assert found.queued < 0.9 * real.seen.queued
        assert found.p99_s < (1 - P99_WITHIN) * real.seen.p99_s


def test_nobody_waits_for_the_time_out_where_the_queue_is_worked_off_before(real: Recording) -> None:
    """With half a minute until the cloud opens and slots that are held shorter when full, p99 is what is piled up."""
    sooner = replace(real, owned_lead_s=4.0, rented=replace(real.rented, lead_s=33.0), full_service_s=0.115)
    found = simulated(sooner)
    rooms_rps = real.owned[1] * real.slots / 0.115
    assert found.p99_s == pytest.approx(found.queued / rooms_rps, rel=0.2)
    assert found.p99_s < 0.5 * real.queue_timeout_s
    alike = simulated(replace(sooner, full_service_s=None))
    assert alike.queued > 1.5 * found.queued, "one mean for all slots grows another queue"
