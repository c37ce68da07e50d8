"""Sends probes to one application on one site, past the gateway, and counts what fails.

What a site answers is bounded in time and size: a model that never ends its answer fails its probe.
"""

from __future__ import annotations

import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from autoscaler.plan import ProbeApplication
from autoscaler.snapshot import ProbeResult

MAX_CONCURRENCY = 16
MAX_MESSAGE = 200
LONGEST_ANSWER_BYTES = 16 << 20
_TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Sites are probed by plain HTTP. By default each client would read the certificates of all authorities: 0.7 MB of
heap, which do not come back in one piece."""


def send_probes(action: ProbeApplication, tls: ssl.SSLContext | None = None) -> ProbeResult:
    """Send `action.requests` probes, several at once; anything but a whole 2xx answer in time is an error.

    Args:
        action: what to send where.
        tls: with it sites are asked by TLS, and must show a certificate for their name.
    """
    scheme = "https" if tls else "http"
    url = f"{scheme}://{action.host}:{action.port}{action.path_prefix}{action.probe.path}".rstrip("/")
    with httpx.Client(timeout=action.timeout_s, trust_env=False, verify=tls or _TRUSTS_NOBODY) as client:

        def send(_: int) -> str:
            try:
                return _send(client, url, action)
            except httpx.HTTPError as error:
                return f"{type(error).__name__}: {error}"

        with ThreadPoolExecutor(min(MAX_CONCURRENCY, action.concurrency, action.requests)) as pool:
            errors = [text for text in pool.map(send, range(action.requests)) if text]
    message = errors[0][:MAX_MESSAGE] if errors else ""
    return ProbeResult(action.site, action.application, action.requests, len(errors), message)


def _send(client: httpx.Client, url: str, action: ProbeApplication) -> str:
    """One probe; returns what is wrong with its answer, or nothing."""
    deadline_s = time.monotonic() + action.timeout_s
    body = action.probe.body if action.probe.method == "POST" else None
    begin, size = b"", 0
    name = {"sni_hostname": action.site}
    with client.stream(action.probe.method, url, json=body, extensions=name) as answer:
        for chunk in answer.iter_bytes():
            size += len(chunk)
            begin = (begin + chunk)[: 4 * MAX_MESSAGE]
            if size > LONGEST_ANSWER_BYTES:
                return f"its answer is longer than {LONGEST_ANSWER_BYTES} bytes"
            if time.monotonic() > deadline_s:
                return f"its answer did not end within {action.timeout_s:g} s"
        return "" if answer.is_success else f"status {answer.status_code}: {begin.decode(errors='replace')}"
