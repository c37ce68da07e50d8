"""The gateway's log line of one request, read strictly. Pure.

The format is `log-format` in config.py; the last word is there only while some service
declares relief. The line holds our own values only: nothing of the request's path, headers or body.
"""

from __future__ import annotations

import re

from serving.gateway.gateway import ReliefOutcome, RequestRecord
from serving.gateway.values import RELIEF_SERVER

LONGEST_LINE_BYTES = 512

_LINE = re.compile(
    r"(?P<accepted_ms>[0-9]{13}) (?P<handshake_ms>[0-9]{1,9}) (?P<idle_ms>[0-9]{1,9})"
    r" (?P<service>-|[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?) (?P<track>-|stable|candidate)"
    r" (?P<site><NOSRV>|_relief|[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?) (?P<status>[1-5][0-9]{2})"
    r" (?P<queue_ms>-1|[0-9]{1,9}) (?P<total_ms>[0-9]{1,9}) (?P<termination>[A-Za-z-]{2})"
    r" (?P<bytes_out>[0-9]{1,15}) (?P<request_id>-|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"(?: (?P<relief>-|light|pass|stale;age=[0-9]{1,9}|shed;priority=(?:low|normal)))?"
)


def parse(line: bytes) -> RequestRecord:
    """Read one line, with or without its line end.

    A request that was refused before a track was chosen counts as `stable`; bytes that were no
    request at all come with status 400 and neither service nor id.

    Raises:
        ValueError: it is longer than `LONGEST_LINE_BYTES` or not in the format.
    """
    if len(line) > LONGEST_LINE_BYTES:
        raise ValueError(f"log line of {len(line)} bytes")
    found = _LINE.fullmatch(line.rstrip(b"\r\n\0").decode("ascii"))
    if found is None:
        raise ValueError(f"not a log line of the gateway: {line[:120]!r}")
    queue_ms = int(found["queue_ms"])
    arrived_ms = int(found["accepted_ms"]) + int(found["handshake_ms"]) + int(found["idle_ms"])
    return RequestRecord(
        service=found["service"].strip("-"),
        track="candidate" if found["track"] == "candidate" else "stable",
        site="" if found["site"] in ("<NOSRV>", RELIEF_SERVER) else found["site"],
        status=int(found["status"]),
        queue_s=None if queue_ms < 0 else queue_ms / 1_000,
        total_s=int(found["total_ms"]) / 1_000,
        termination=found["termination"],
        bytes_out=int(found["bytes_out"]),
        request_id=found["request_id"].removeprefix("-"),
        at_s=arrived_ms / 1_000,
        relief=_outcome(found["relief"] or "-", int(found["status"])),
    )


def _outcome(told: str, status: int) -> ReliefOutcome:
    """What relief did; an answer that is neither light nor a refusal by priority is none of its own."""
    outcomes: dict[tuple[str, int], ReliefOutcome] = {
        ("light", 200): "light",
        ("stale", 200): "light",
        ("shed;priority=low", 429): "shed_low",
        ("shed;priority=normal", 429): "shed_normal",
    }
    if told == "pass":
        return "passed"
    return outcomes.get((told.partition(";age=")[0], status), "")
