"""What is promised of cold start and fusion on the generated shop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks import cold
from tests.support.small_networks import one_thread


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """The benchmark takes one thread; other tests get back theirs."""
    with one_thread():
        yield


@pytest.mark.campaign
@pytest.mark.timeout(1_800)
def test_fusion_and_cold_start_are_as_promised() -> None:
    """Text and picture above each alone on new items; new items and new users above popularity: lower ends above 0."""
    goals = [goal for goal in cold.run(cold.FULL, print).goals if goal.side == "at least"]
    assert len(goals) == 4
    assert all(min(goal.values) > 0 for goal in goals)
