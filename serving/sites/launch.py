"""The first process of a local site: starts Ray, then Serve, then stays until Ray ends.

    python -m serving.sites.launch <dashboard port> <ingress port> <token file> <opened file> <command>...

It exists so that a site counts as open only once its ingress answers, whoever watches, and so that
Serve's first start (seconds) blocks nobody. When the ingress answers it writes the time to the opened
file. It ends when Ray ends, and stops Ray when it is terminated or Serve does not start.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from serving.errors import HcctlError
from serving.files import write_atomic
from serving.sites.ray_head import LOOPBACK
from serving.sites.serve_api import ServeApi, call
from serving.sites.site import Endpoint
from serving.sites.site_token import read_token

OPEN_TIMEOUT_S = 180.0
"""A site that does not answer by then has failed to open."""

NICENESS = 5
"""Sites share the computer with the gateway and the daemon, which need little of it, but at once."""

_POLL_S = 0.1
_PROBE_TIMEOUT_S = 2.0

logger = logging.getLogger(__name__)


def main(arguments: list[str]) -> int:
    """Run a site until its Ray cluster ends; returns the cluster's exit code."""
    dashboard, ingress, token_file, opened_file, *command = arguments
    _give_way()
    api = ServeApi(Endpoint(LOOPBACK, int(dashboard)), read_token(Path(token_file)))
    ray = subprocess.Popen(command)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        ray.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        if start_serve(api, Endpoint(LOOPBACK, int(ingress)), ray):
            write_atomic(Path(opened_file), json.dumps({"at_s": time.time()}).encode())
    except HcctlError:
        logger.exception("Serve did not start")
        ray.terminate()
    return ray.wait()


def _give_way() -> None:
    """Lower the priority of this process and all it starts.

    Where Linux groups processes by session (autogroup, see sched(7)), niceness counts inside a group
    only, and the group has one of its own.
    """
    os.nice(NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS))


def start_serve(api: ServeApi, ingress: Endpoint, ray: subprocess.Popen[bytes]) -> bool:
    """Start Serve as soon as Ray answers, and wait for its ingress; False if Ray ended instead.

    Raises:
        HcctlError: Serve is refused, or does not answer within `OPEN_TIMEOUT_S`.
    """
    deadline_s = time.monotonic() + OPEN_TIMEOUT_S
    started = False
    while ray.poll() is None:
        try:
            if not started:
                api.applications({}, timeout_s=_PROBE_TIMEOUT_S)
                api.apply((), ingress, timeout_s=max(1.0, deadline_s - time.monotonic()))
                started = True
            call(ingress, "GET", "/-/healthz", None, None, _PROBE_TIMEOUT_S)
            return True
        except HcctlError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(_POLL_S)
    return False


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    sys.exit(main(sys.argv[1:]))
