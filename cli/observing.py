"""Chooses the real parts that tell of the daemon and of the past; `cli.wiring` asks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cli.context import Project, installed_version

if TYPE_CHECKING:
    from autoscaler.observing.prometheus import PrometheusHistory
    from autoscaler.observing.receiver import RequestLog
    from autoscaler.telemetry import Telemetry


@contextlib.contextmanager
def told(project: Project, address: str, telemetry: Telemetry, requests: RequestLog) -> Iterator[None]:
    """Serve the daemon's metrics while the block runs: at `address`, or else where the project says, or nowhere.

    Raises:
        InvalidInput: this is no address.
        HcctlError: it cannot be listened on.
    """
    address = address or on_loopback(project.spec.metrics.daemon_port)
    if not address:
        yield
        return
    from autoscaler.exporter import DaemonMetrics
    from serving.metrics.server import served

    daemon = project.spec.daemon
    silent_after_s = max(daemon.stale_after_s, 3 * daemon.tick_s)
    source = DaemonMetrics(telemetry, requests, time.time, silent_after_s=silent_after_s, version=installed_version())
    with served(address, source):
        yield


def prometheus(project: Project) -> PrometheusHistory | None:
    """The past as the project's Prometheus knows it; None if it names none."""
    from autoscaler.observing.prometheus import PrometheusHistory

    url = project.spec.metrics.prometheus_url
    return PrometheusHistory(url) if url else None


def on_loopback(port: int) -> str:
    """`HOST:PORT` of a port on this computer; empty for 0."""
    return f"127.0.0.1:{port}" if port else ""
