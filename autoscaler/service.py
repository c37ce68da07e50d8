"""Runs the daemon's tick in time until it is told to stop."""

from __future__ import annotations

import gc
import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Protocol

from autoscaler.daemon import Daemon
from autoscaler.handles import ThreadExecutor
from serving.errors import HcctlError, NotLeading

log = logging.getLogger(__name__)

LONGEST_BACKOFF_S = 10.0
SHORTEST_PAUSE_S = 0.1
"""Between two ticks, however much there is to know."""


class Lines(Protocol):
    """What brings in the request lines, one gateway's or several's."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


class Wakeup:
    """Ends the pause between two ticks: a site changed, a probe or an action ended, or the daemon is to stop."""

    def __init__(self) -> None:
        self.stopping = False
        self._event = threading.Event()

    def stop(self) -> None:
        """The loop ends after the tick that runs."""
        self.stopping = True
        self._event.set()

    def news(self) -> None:
        """The next tick comes as soon as it may."""
        self._event.set()

    def pause(self, least_s: float, most_s: float) -> None:
        """Wait `most_s`; with news only `least_s`."""
        begun_s = time.monotonic()
        if self._event.wait(max(0.0, most_s)) and not self.stopping:
            time.sleep(max(0.0, least_s - (time.monotonic() - begun_s)))
        self._event.clear()


def stop_on_signals(wakeup: Wakeup) -> None:
    """SIGTERM and SIGINT end the loop, or the wait for the lead before it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: wakeup.stop())


def settle() -> None:
    """Leave what is in memory now out of later collections of garbage: modules and declarations stay.

    A full collection looks at every object, in the middle of a tick: for 1,000 services a tenth to a sixth of its time.
    """
    gc.collect()  # else what is garbage now would stay, too
    gc.freeze()


def run(
    daemon: Daemon,
    receiver: Lines,
    executor: ThreadExecutor,
    wakeup: Wakeup,
    *,
    tick_s: float,
    deposed: Callable[[], bool] = lambda: False,
) -> None:
    """Tick until SIGTERM or SIGINT; earlier than every `tick_s` when there is news.

    A tick that fails (a full disk, a locked database, a cluster out of reach) is logged and tried again with
    growing pauses; what was decided and not stored was not acted on.

    Raises:
        NotLeading: another daemon has taken over, says `deposed`; what this one remembers is old, so it ends.
    """
    stop_on_signals(wakeup)
    receiver.start()
    daemon.resume()
    log.info("daemon started")
    failures, settled = 0, False
    try:
        while not wakeup.stopping:
            if deposed():
                raise NotLeading("another daemon has taken over", next_step="start this one again: it stands by")
            begun_s = time.monotonic()
            try:
                daemon.tick()
                failures = 0
            except HcctlError as error:
                failures += 1
                daemon.telemetry.tick_failed()
                log.error("tick failed (%d in a row): %s", failures, error)  # noqa: TRY400 - its text says it all
            if not (failures or settled):
                settle()
                settled = True
            pause_s = min(LONGEST_BACKOFF_S, tick_s * 2.0**failures) - (time.monotonic() - begun_s)
            wakeup.pause(min(SHORTEST_PAUSE_S, tick_s) if failures == 0 else pause_s, pause_s)
    finally:
        gc.unfreeze()
        receiver.stop()
        executor.stop()
    log.info("daemon stopped")
