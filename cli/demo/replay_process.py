"""A replay in a process of its own, so that load generator and command do not slow each other down.

The plan goes in as one JSON object on stdin; lines of JSON come out: snapshots, then outcomes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

from cli.demo.outcome import Outcome, ReplayResult, Snapshot
from cli.demo.replay import ReplaySettings, Request, loopback_url, replay
from serving.errors import HcctlError, InvalidInput

MODULE = "cli.demo.replay_process"
OUTCOMES_PER_LINE = 100
"""Keeps a line far below asyncio's limit of 64 KiB."""
STOP_WAIT_S = 5.0
STDERR_KEPT = 300


async def replay_in_process(
    url: str,
    arrivals_s: Sequence[float],
    requests: Sequence[Request],
    *,
    on_tick: Callable[[Snapshot], None] | None = None,
    settings: ReplaySettings | None = None,
) -> ReplayResult:
    """As `cli.demo.replay.replay`, but in a child process; request i is `requests[i % len(requests)]`.

    The child ends with this call, however the call ends.

    Raises:
        InvalidInput: `url` is not a plain-HTTP loopback address, or there are no requests.
        HcctlError: the load generator died.
    """
    plan = {
        "url": loopback_url(url),
        "arrivals_s": [float(arrival_s) for arrival_s in arrivals_s],
        "requests": [[request.path, request.body] for request in requests],
        "settings": asdict(settings or ReplaySettings()),
    }
    if not requests:
        raise InvalidInput("there is nothing to send", where="requests")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", MODULE, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=_environment()
    )
    try:
        return await _converse(child, json.dumps(plan).encode(), on_tick)
    finally:
        await _stop(child)


async def _converse(child: Process, plan: bytes, on_tick: Callable[[Snapshot], None] | None) -> ReplayResult:
    if child.stdin is None or child.stdout is None or child.stderr is None:
        raise AssertionError("the pipes were asked for")
    problems = asyncio.create_task(child.stderr.read())
    outcomes: list[Outcome] = []
    summary: dict[str, float] | None = None
    try:
        with contextlib.suppress(ConnectionError):  # it died before it had read the plan
            child.stdin.write(plan)
            await child.stdin.drain()
            child.stdin.close()
        async for line in child.stdout:
            if not line.endswith(b"\n"):
                break  # it died in the middle of a line
            message: dict[str, Any] = json.loads(line)
            if "snapshot" in message and on_tick:
                on_tick(Snapshot(**message["snapshot"]))
            outcomes += [Outcome(*values) for values in message.get("outcomes", ())]
            summary = message.get("summary", summary)
        said = (await problems).decode(errors="replace")
    finally:
        problems.cancel()
    if summary is None:
        raise HcctlError(
            "the load generator died",
            where=f"process {child.pid}",
            why=said.strip().rpartition("\n")[2][:STDERR_KEPT],
            next_step="run the demo again",
        )
    return ReplayResult(**summary, outcomes=tuple(outcomes))


async def _stop(child: Process) -> None:
    if child.returncode is None:
        child.terminate()
        try:
            await asyncio.wait_for(child.wait(), STOP_WAIT_S)
        except TimeoutError:
            child.kill()
            await child.wait()


def _environment() -> dict[str, str]:
    """The own environment, with the folder this package was imported from on the path."""
    root = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{inherited}" if inherited else root}


def main() -> None:
    """The child: read the plan, replay it, report."""
    plan = json.load(sys.stdin)
    requests = [Request(path, body) for path, body in plan["requests"]]
    result = asyncio.run(
        replay(
            plan["url"],
            plan["arrivals_s"],
            lambda number: requests[number % len(requests)],
            on_tick=lambda snapshot: _say({"snapshot": asdict(snapshot)}),
            settings=ReplaySettings(**plan["settings"]),
        )
    )
    for part in _parts(result.outcomes):
        _say({"outcomes": [astuple(outcome) for outcome in part]})
    _say(
        {
            "summary": {
                "started_at_s": result.started_at_s,
                "duration_s": result.duration_s,
                "cpu_s": result.cpu_s,
            }
        }
    )


def _parts(outcomes: Sequence[Outcome]) -> Iterator[Sequence[Outcome]]:
    for first in range(0, len(outcomes), OUTCOMES_PER_LINE):
        yield outcomes[first : first + OUTCOMES_PER_LINE]


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
