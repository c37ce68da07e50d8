"""`hcctl up` of another hcctl on a project that is up: everything real but Ray."""

from __future__ import annotations

import os
import signal
from unittest import mock

import pytest

from cli import wiring
from tests.support.ray_free_project import ray_free_project
from tests.support.running_gateway import failures, load


def test_another_hcctl_takes_over_without_the_former_supervisors_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """The former supervisor may not understand the new plan: it is replaced first, and what changed starts anew."""
    with ray_free_project({}, umask=0o077, gateway={}) as shop:
        parts = ("supervisor", "daemon", "gateway")
        before = {part: shop.pid(part) for part in parts}
        os.kill(before["supervisor"], signal.SIGSTOP)
        with load(shop.url, clients=2) as answers, mock.patch.object(wiring, "_code_digest", return_value="another"):
            monkeypatch.setenv("PYTHONPATH", str(wiring.SOURCE_ROOT))
            shop.up()
        after = {part: shop.pid(part) for part in parts}
        assert {part for part in parts if before[part] != after[part]} == {"supervisor", "daemon"}
        assert failures(answers) == []
        shop.wait("a daemon that looks", lambda seen: seen["stale"] is None, 20)
