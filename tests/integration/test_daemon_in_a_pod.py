"""The daemon's process as the chart starts it, before a gateway's: it tells of itself, and ends when asked to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import yaml

from tests.support.agents import ROOT, Pod, free_port
from tests.support.certificates import Authority

CLUSTER = {"clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}], "users": [{"name": "u"}]}
CLUSTER |= {"contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}], "current-context": "c"}


def project(folder: Path, pod: Pod) -> dict[str, object]:
    """One site in a cluster that nobody reaches, and one gateway."""
    (folder / "kubeconfig.yaml").write_text(yaml.safe_dump(CLUSTER))
    site = {
        "namespace": "serving",
        "image": "hcctl:0.1.0",
        "artefacts": {"claim": "v"},
        "kubeconfig": "kubeconfig.yaml",
    }
    pool = {"name": "owned", "kind": "fixed", "max_nodes": 2, "worker": {"cpus": 1, "memory_gib": 1}}
    home = {"role": "private", "kind": "kubernetes", "kubernetes": site, "pools": [pool]}
    fleet = {"service": "127.0.0.1", "port": pod.control, "certificates": str(pod.certificates.folder)}
    return {"kind": "HybridProject", "name": "shop", "sites": {"private": home}, "gateway": {"fleet": fleet}}


def test_it_tells_of_itself_and_ends_when_asked_to(tmp_path: Path) -> None:
    """Health is 200 once it ticks, the gateway is up by its agent, the site that nobody reaches is out of sight."""
    pod = Pod(tmp_path / "pod", Authority(tmp_path / "ca"))
    (tmp_path / "hcctl.yaml").write_text(yaml.safe_dump(project(tmp_path, pod)))
    port = free_port()
    command = ["--project", str(tmp_path), "--metrics", f"127.0.0.1:{port}"]
    with (tmp_path / "daemon.log").open("wb") as log:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        daemon = subprocess.Popen([sys.executable, "-m", "autoscaler", *command], stderr=log, env=environment)
    try:
        pod.connect()
        told = ""
        deadline_s = time.monotonic() + 40
        while "hcctl_gateway_up 1.0" not in told:
            assert daemon.poll() is None, (tmp_path / "daemon.log").read_text()[-2_000:]
            assert time.monotonic() < deadline_s, (tmp_path / "daemon.log").read_text()[-2_000:]
            time.sleep(0.2)
            told = _get(port, "/metrics").text
        assert 'hcctl_site_in_sight{site="private"} 0.0' in told
        assert "hcctl_daemon_leading 1.0" in told
        assert _get(port, "/healthz").status_code == 200
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(timeout=20) == 0
    finally:
        if daemon.poll() is None:
            daemon.kill()
            daemon.wait()
        pod.stop(signal.SIGKILL)


def _get(port: int, path: str) -> httpx.Response:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)
    except httpx.TransportError:
        return httpx.Response(0)
