"""How one Ray cluster is started beside others on a computer: its command line and environment. Pure.

Traps of Ray 2.60 that are avoided here (measured; docs/decisions/0002-local-sites.md):

- Several ports have fixed defaults, and a second cluster that finds one taken goes on without it. Worst
  is Serve's fallback proxy (8500): HAProxy of the second site would send to the first site's.
- Ray makes its temp-dir writable for everybody, so it must lie inside a private folder. HAProxy's
  admin socket is open to everybody in the same way.
- Serve's HAProxy logs every request to a syslog port; it is given a socket that does not exist.
- Ray's control ports listen on all addresses whatever is asked for; the token keeps strangers out.
- In HAProxy mode the ingress must bind 127.0.0.1: other loopback addresses make every request fail.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.paths import check_socket_paths
from serving.sites.ports import SitePorts

LOOPBACK = "127.0.0.1"

NODE_ADDRESS = "127.0.0.2"
"""Address of the Ray node; Ray replaces 127.0.0.1 by the computer's own address on the network."""

DRAIN_MIN_S = 2
"""Time a leaving replica stays reachable, so that the ingress can forget it; Ray's default is 30 s."""

HARD_STOP_S = 30
"""Longest life of a replaced HAProxy process, which finishes its connections."""

LOGICAL_CPUS = 10_000
"""CPUs Ray may give out. Pools bound the replicas of a local site, not its cores."""

_OBJECT_STORE_BYTES = 100_000_000


@dataclass(frozen=True)
class RayHead:
    """A head node to be started."""

    ports: SitePorts
    ray_dir: Path
    """Private folder for everything Ray and HAProxy write."""
    token_file: Path
    ingress: Literal["haproxy", "default"]


def ray_command(head: RayHead) -> list[str]:
    """The command line that runs the head node until it is terminated.

    Raises:
        InvalidInput: `ray_dir` is too long for the sockets below it.
    """
    ports = head.ports
    check_socket_paths(head.ray_dir)
    options = {
        "node-ip-address": NODE_ADDRESS,
        "port": ports.internal(0),
        "dashboard-host": LOOPBACK,
        "dashboard-port": ports.dashboard,
        "metrics-export-port": ports.metrics,
        "dashboard-agent-listen-port": ports.internal(1),
        "dashboard-agent-grpc-port": ports.internal(2),
        "runtime-env-agent-port": ports.internal(3),
        "node-manager-port": ports.internal(4),
        "object-manager-port": ports.internal(5),
        "ray-client-server-port": ports.internal(6),
        # 0: workers take ephemeral ports, of which there are enough for any number of them.
        "min-worker-port": 0,
        "max-worker-port": 0,
        "temp-dir": head.ray_dir / "ray",
        "num-cpus": LOGICAL_CPUS,
        "object-store-memory": _OBJECT_STORE_BYTES,
        "include-log-monitor": "false",
    }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start"]
    flags = ["--head", "--block", "--no-monitor", "--disable-usage-stats"]
    return command + flags + [f"--{name}={value}" for name, value in options.items()]


def ray_environment(head: RayHead, base: Mapping[str, str], python_path: Sequence[Path]) -> dict[str, str]:
    """The environment of the head node: `base` without its settings for other Ray clusters, and ours."""
    kept = {name: value for name, value in base.items() if not name.startswith("RAY_")}
    paths = [str(path) for path in python_path]
    if base.get("PYTHONPATH"):
        paths.append(base["PYTHONPATH"])
    return kept | _settings(head) | {"PYTHONPATH": ":".join(paths)}


def _settings(head: RayHead) -> dict[str, str]:
    ports, folder = head.ports, head.ray_dir
    settings: dict[str, object] = {
        # What Ray's helpers put into the temporary folder and leave there goes with the site.
        "TMPDIR": folder,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": head.token_file,
        "DASHBOARD_METRIC_PORT": ports.internal(7),
        # Applications are drained through Serve before the cluster is stopped.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": 1,
        # The launcher sees a dead node; a computer that is overloaded or asleep has none.
        "RAY_health_check_failure_threshold": 100,
        # Ray keeps one idle process for each logical CPU otherwise.
        "RAY_num_workers_soft_limit": 2,
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": ports.internal(8),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": ports.internal(9),
        "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": DRAIN_MIN_S,
        # Models compute in a thread of their own; a second event loop only costs (a third of the rate).
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": 0,
    }
    if head.ingress == "haproxy":
        settings |= {
            "RAY_SERVE_ENABLE_HA_PROXY": 1,
            "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": folder / "haproxy.cfg",
            "RAY_SERVE_HAPROXY_SOCKET_PATH": folder / "admin.sock",
            "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": folder,
            "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": folder / "server-state",
            "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": folder / "metrics.sock",
            # Serve's HAProxy sends path and query of each request to the machine's syslog (UDP 514) otherwise,
            # and cannot be told not to log: nobody reads this socket.
            "RAY_SERVE_HAPROXY_LOG_TARGET": folder / "unread.sock",
            "RAY_SERVE_HAPROXY_METRICS_PORT": ports.internal(10),
            "RAY_SERVE_HAPROXY_STATS_PORT": ports.statistics,
            "RAY_SERVE_HAPROXY_NBTHREAD": 1,
            "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": HARD_STOP_S,
            "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": DRAIN_MIN_S,
            "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": ports.first_replica,
            "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": ports.end,
            "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": ports.internal(11),
            "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": ports.internal(12),
        }
    return {name: str(value) for name, value in settings.items()}
