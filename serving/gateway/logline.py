"""The gateway's log line of one request, read strictly. Pure.

The format is `log-format` in config.py. The line holds our own values only: nothing of the
request's path, headers or body.
"""

from __future__ import annotations

import re

from serving.gateway.gateway import RequestRecord

LONGEST_LINE_BYTES = 512

_LINE = re.compile(
    r"(?P<accepted_ms>[0-9]{13}) (?P<handshake_ms>[0-9]{1,9}) (?P<idle_ms>[0-9]{1,9})"
    r" (?P<service>-|[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?) (?P<track>-|stable|candidate)"
    r" (?P<site><NOSRV>|[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?) (?P<status>[1-5][0-9]{2})"
    r" (?P<queue_ms>-1|[0-9]{1,9}) (?P<total_ms>[0-9]{1,9}) (?P<termination>[A-Za-z-]{2})"
    r" (?P<bytes_out>[0-9]{1,15}) (?P<request_id>-|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
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
        site=found["site"].removeprefix("<NOSRV>"),
        status=int(found["status"]),
        queue_s=None if queue_ms < 0 else queue_ms / 1_000,
        total_s=int(found["total_ms"]) / 1_000,
        termination=found["termination"],
        bytes_out=int(found["bytes_out"]),
        request_id=found["request_id"].removeprefix("-"),
        at_s=arrived_ms / 1_000,
    )
