from __future__ import annotations

import pytest

from autoscaler.snapshot import Snapshot
from serving.gateway.gateway import GatewayObservation, ServerObservation
from tests.support.moments import NOW_S, gateway, moment

BUSY = gateway({("stable", "private"): 3, ("candidate", "private"): 1, ("stable", "cloud"): 2})


@pytest.mark.parametrize(("age_s", "stale"), [(0.0, False), (5.0, False), (5.1, True), (-60.0, False)])
def test_signals_are_stale_beyond_their_age(age_s: float, stale: bool):
    """Exactly stale_after_s old is still fresh; from the future is fresh."""
    reason = moment(gateway=gateway(at_s=NOW_S - age_s)).stale_reason
    assert bool(reason) is stale


def test_a_gateway_that_never_answered_is_stale():
    """No observation is not an empty one."""
    snapshot = moment(gateway=None)
    assert snapshot.stale_reason == "the gateway has not answered yet"
    assert snapshot.in_use("shop", "private") is None
    assert snapshot.queued("shop") is None
    assert snapshot.server_up("shop", "private", "stable") is None


def test_requests_in_use_by_site_and_track():
    """Both tracks, one of them, another service's, and unknown when stale."""
    snapshot: Snapshot = moment(gateway=BUSY)
    assert snapshot.in_use("shop", "private") == 4
    assert snapshot.in_use("shop", "private", "stable") == 3
    assert snapshot.in_use("ads", "private") == 0
    assert moment(gateway=BUSY, now_s=NOW_S + 60).in_use("shop", "private") is None


def test_a_server_is_up_down_or_unknown():
    """Unknown is neither."""
    down = GatewayObservation((ServerObservation("shop", "stable", "private", False, 4, 0),), {"shop": 2}, NOW_S)
    snapshot = moment(gateway=down)
    assert snapshot.server_up("shop", "private", "stable") is False
    assert snapshot.server_up("shop", "cloud", "stable") is None
    assert snapshot.queued("shop") == 2


def test_the_private_site_is_the_home():
    """Whatever it is called."""
    assert moment().private_site == "private"
