"""Runs the daemon's tick in time until it is told to stop."""

from __future__ import annotations

import logging
import signal
import threading
import time

from autoscaler.daemon import Daemon
from autoscaler.handles import ThreadExecutor
from autoscaler.receiver import Receiver
from serving.errors import HcctlError

log = logging.getLogger(__name__)

LONGEST_BACKOFF_S = 10.0


def run(daemon: Daemon, receiver: Receiver, executor: ThreadExecutor, *, tick_s: float) -> None:
    """Tick until SIGTERM or SIGINT.

    A tick that fails (a full disk, a locked database) is logged and tried again with growing
    pauses; what was decided and not stored was not acted on.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    receiver.start()
    daemon.resume()
    log.info("daemon started")
    failures, next_s = 0, time.monotonic()
    try:
        while not stopping.wait(max(0.0, next_s - time.monotonic())):
            begun_s = time.monotonic()
            try:
                daemon.tick()
                failures, next_s = 0, max(begun_s + tick_s, time.monotonic())
            except HcctlError as error:
                failures += 1
                next_s = begun_s + min(LONGEST_BACKOFF_S, tick_s * 2.0**failures)
                log.error("tick failed (%d in a row): %s", failures, error)  # noqa: TRY400 - its text says it all
    finally:
        receiver.stop()
        executor.stop()
    log.info("daemon stopped")
