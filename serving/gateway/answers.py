"""The gateway's own answers: JSON with the request's id."""

from __future__ import annotations

QUEUE_FULL = ("queue_full", "Too many requests are waiting; try again later.")
PRIORITY_REFUSED = ("relief", "Requests of this priority are refused for the moment; try again later.")
"""Error and message of the refusals that the relief process gives too."""


def answer(status: int, error: str, message: str, *headers: str) -> str:
    """Arguments of HAProxy's `http-error` and `http-request return`; `headers` are `Name value`."""
    body = f'{{"error":"{error}","message":"{message}","request_id":"%[unique-id]"}}'
    extra = "".join(f" hdr {header}" for header in headers)
    return f"status {status} content-type application/json lf-string '{body}'{extra}"
