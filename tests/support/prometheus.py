"""A real Prometheus for tests: Debian's package, unpacked beside the environment by `make`, or one on PATH."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import yaml

UNPACKED = Path(sys.prefix) / "prometheus" / "usr" / "bin"


def program(name: str) -> Path | None:
    """`prometheus` or `promtool`; None where there is none."""
    folders = (os.environ.get("HCCTL_TEST_PROMETHEUS_BIN", ""), str(UNPACKED), os.environ.get("PATH", ""))
    found = shutil.which(name, path=os.pathsep.join(filter(None, folders)))
    return Path(found) if found else None


def promtool(*arguments: str | Path, told: str = "") -> subprocess.CompletedProcess[str]:
    """Run promtool; its exit code and output are the caller's to judge."""
    tool = program("promtool")
    assert tool is not None
    return subprocess.run([tool, *arguments], input=told, capture_output=True, text=True, check=False, timeout=60)


def blocks(folder: Path, open_metrics: str) -> Path:
    """A database of these samples, each with its time, as if they had been scraped."""
    told, data = folder / "samples.txt", folder / "data"
    told.write_text(open_metrics)
    made = promtool("tsdb", "create-blocks-from", "openmetrics", told, data)
    assert made.returncode == 0, made.stderr[-2_000:]
    return data


@contextlib.contextmanager
def running(folder: Path, data: Path, *, scrape: Sequence[str] = ()) -> Iterator[str]:
    """A Prometheus on loopback over a database, scraping these `host:port` each second; its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    config = folder / "prometheus.yml"
    job = {"job_name": "hcctl", "static_configs": [{"targets": list(scrape)}]}
    config.write_text(yaml.safe_dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [job] if scrape else []}))
    started = program("prometheus")
    assert started is not None
    options = [f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address=127.0.0.1:{port}"]
    options += ["--storage.tsdb.retention.time=100y", "--log.level=error"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([started, *options], stdout=log, stderr=log)
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}", process, folder / "prometheus.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + 20
    with httpx.Client(trust_env=False) as http:
        while True:
            assert process.poll() is None, log.read_text()[-2_000:]
            assert time.monotonic() < deadline_s, "Prometheus did not become ready"
            with contextlib.suppress(httpx.TransportError):
                if http.get(f"{url}/-/ready").status_code == 200:
                    return
            time.sleep(0.05)
