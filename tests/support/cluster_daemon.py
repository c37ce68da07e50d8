"""The daemon as it is, with state and sites in a cluster, but for gateway and probes, which are in memory.

`python -m tests.support.cluster_daemon --project FOLDER`. With HCCTL_TEST_STOP_AFTER_JOURNAL=n it stops (SIGSTOP)
when an action is journalled the n-th time, before its call: as late as a pause can come.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import autoscaler.observing.probe
from autoscaler.__main__ import main as daemon
from autoscaler.plan import ProbeApplication
from autoscaler.snapshot import ProbeResult
from cli import wiring
from serving.failpoints import arm
from tests.support.fake_gateway import FakeGateway

VARIABLE = "HCCTL_TEST_STOP_AFTER_JOURNAL"


def cluster_project(folder: Path, kubeconfig: Path, *, cloud: bool = True) -> Path:
    """A project folder with both sites and the state in one namespace."""
    folder.mkdir()
    (folder / "hcctl.yaml").write_text(json.dumps(declaration(kubeconfig, cloud=cloud)))
    return folder


def declaration(kubeconfig: Path, *, cloud: bool = True) -> dict[str, Any]:
    """What its project file says."""
    kubernetes = {
        "kubeconfig": str(kubeconfig),
        "namespace": "default",
        "image": "registry.example.org/shop:1.4.0",
        "artefacts": {"claim": "versions"},
    }
    worker = {"cpus": 2.0, "memory_gib": 4.0}
    owned = {"name": "owned", "kind": "fixed", "max_nodes": 4, "worker": worker}
    rented = {"name": "g5", "kind": "on_demand", "max_nodes": 4, "price_usd_per_hour": 1.0, "worker": worker}
    sites: dict[str, Any] = {
        "private": {"role": "private", "kind": "kubernetes", "kubernetes": kubernetes, "pools": [owned]}
    }
    if cloud:
        sites["cloud"] = {"role": "cloud", "kind": "kubernetes", "kubernetes": kubernetes, "pools": [rented]}
    return {
        "kind": "HybridProject",
        "name": "shop",
        "state": {"kubeconfig": str(kubeconfig), "namespace": "default"},
        "daemon": {"tick_s": 0.2},
        "sites": sites,
    }


def main() -> None:
    """Run it until SIGTERM, or until another one has taken over."""

    def probe(action: ProbeApplication) -> ProbeResult:
        return ProbeResult(action.site, action.application, action.requests, 0, "")

    autoscaler.observing.probe.send_probes = probe
    wiring.gateway = lambda _: FakeGateway(time.time)  # type: ignore[assignment,return-value]
    stop_at = int(os.environ.get(VARIABLE, "0"))
    if stop_at:
        passes = itertools.count(1)
        arm(
            "daemon.after-journal",
            lambda: os.kill(os.getpid(), signal.SIGSTOP) if next(passes) == stop_at else None,
        )
    daemon()


if __name__ == "__main__":
    main()
