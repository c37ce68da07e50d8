"""The gateway's own answers: JSON with the request's id."""

from __future__ import annotations


def answer(status: int, error: str, message: str, *headers: str) -> str:
    """Arguments of HAProxy's `http-error` and `http-request return`; `headers` are `Name value`."""
    body = f'{{"error":"{error}","message":"{message}","request_id":"%[unique-id]"}}'
    extra = "".join(f" hdr {header}" for header in headers)
    return f"status {status} content-type application/json lf-string '{body}'{extra}"
