"""A Poisson stream of requests in a thread, whose rate can be changed while it runs. Loopback only.

It never waits for an answer before the next request, and a request's watch starts when it was due.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from dataclasses import dataclass
from typing import Any

import aiohttp

TIMEOUT_S = 90.0


@dataclass(frozen=True)
class Answer:
    """What became of one request; times in seconds since the epoch."""

    due_s: float
    end_s: float
    status: int | None
    """None: there was no answer."""
    site: str | None


class Stream:
    """POSTs of an empty JSON object to `url`; a context manager that waits for the last answer."""

    def __init__(self, url: str, rate_rps: float, seed: int) -> None:
        self.rate_rps = rate_rps
        self.answers: list[Answer] = []
        self._url = url
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()

    def first_of(self, site: str) -> float | None:
        """When a site first answered with 200; None if it has not."""
        return min((one.end_s for one in list(self.answers) if one.site == site and one.status == 200), default=None)

    async def _run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=5.0)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, trust_env=False) as session,
            asyncio.TaskGroup() as group,
        ):
            due_s = time.time()
            while not self._stop.is_set():
                due_s += self._random.expovariate(self.rate_rps)
                await asyncio.sleep(max(0.0, due_s - time.time()))
                group.create_task(self._send(session, due_s))

    async def _send(self, session: aiohttp.ClientSession, due_s: float) -> None:
        status = site = None
        try:
            async with session.post(self._url, json={}) as answer:
                await answer.read()
                status, site = answer.status, answer.headers.get("X-Hcctl-Site")
        except (aiohttp.ClientError, TimeoutError):
            pass  # counted as lost: no status
        self.answers.append(Answer(due_s, time.time(), status, site))
