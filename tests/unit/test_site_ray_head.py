"""How a Ray cluster is started: apart from its neighbours, closed to strangers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serving.errors import HcctlError
from serving.sites.ports import SitePorts
from serving.sites.ray_head import RayHead, ray_command, ray_environment


def head(base: int = 20_000, **changes: Any) -> RayHead:
    """A head node with ports from `base` on."""
    values: dict[str, Any] = {
        "ports": SitePorts(base=base, replicas=48),
        "ray_dir": Path(f"/tmp/hcctl-{base}"),
        "token_file": Path(f"/run/{base}/token"),
        "ingress": "haproxy",
    }
    return RayHead(**(values | changes))


def settings(node: RayHead) -> dict[str, str]:
    """Everything the node is told: options of the command line and variables of the environment."""
    options = dict(
        option.removeprefix("--").split("=", 1)
        for option in ray_command(node)
        if option.startswith("--") and "=" in option
    )
    return options | ray_environment(node, {}, [])


def test_every_port_is_its_own() -> None:
    """No two settings share a port, all ports are the site's, and replicas have theirs apart."""
    node = head()
    told = settings(node)
    numbers = [int(value) for name, value in told.items() if name.lower().endswith("port") and "worker" not in name]
    block = range(node.ports.base, node.ports.end + 1)
    assert len(numbers) > 15
    assert all(number in block for number in numbers)
    assert len(set(numbers)) == len(numbers)
    first, last = (int(told[f"RAY_SERVE_DIRECT_INGRESS_{bound}_HTTP_PORT"]) for bound in ("MIN", "MAX"))
    assert last - first == node.ports.replicas
    assert not set(range(first, last)) & (set(numbers) - {first, last})


def test_neighbours_share_nothing() -> None:
    """Two sites have no port, file or folder in common."""
    one, other = settings(head(20_000)), settings(head(20_068))
    own = {name for name in one if one[name] != other[name]}
    for name in one.keys() - own:
        assert not one[name].startswith("/"), name
        assert not name.lower().endswith("port") or one[name] == "0", name


def test_closed_to_strangers() -> None:
    """Token authentication is on, the dashboard and the node stay on loopback."""
    told = settings(head())
    assert told["RAY_AUTH_MODE"] == "token"
    assert told["RAY_AUTH_TOKEN_PATH"] == "/run/20000/token"
    assert told["dashboard-host"] == "127.0.0.1"
    assert told["node-ip-address"].startswith("127.")


def test_requests_go_to_no_syslog() -> None:
    """Serve's HAProxy would send path and query of each request to UDP 514; it logs to nobody's socket."""
    assert settings(head())["RAY_SERVE_HAPROXY_LOG_TARGET"] == "/tmp/hcctl-20000/unread.sock"


def test_ingress_is_one_setting() -> None:
    """The default ingress differs by HAProxy's settings alone."""
    with_haproxy, without = settings(head()), settings(head(ingress="default"))
    assert with_haproxy["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert without.items() <= with_haproxy.items()
    assert not [name for name in without if "HA_PROXY" in name or "HAPROXY" in name]


def test_other_clusters_settings_are_not_inherited() -> None:
    """Variables that point to another Ray cluster, or hold its token, do not reach this one."""
    base = {"RAY_ADDRESS": "auto", "RAY_AUTH_TOKEN": "other", "HOME": "/home/me", "PYTHONPATH": "/mine"}
    told = ray_environment(head(), base, [Path("/project")])
    assert "RAY_ADDRESS" not in told
    assert "RAY_AUTH_TOKEN" not in told
    assert told["HOME"] == "/home/me"
    assert told["PYTHONPATH"] == "/project:/mine"


def test_too_long_folder_is_refused_early() -> None:
    """A folder whose sockets the system would refuse is refused with the setting to change."""
    ray_command(head(ray_dir=Path("/tmp") / ("x" * 24)))
    with pytest.raises(HcctlError, match="TMPDIR"):
        ray_command(head(ray_dir=Path("/tmp") / ("x" * 25)))
