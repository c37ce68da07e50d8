"""Sends probes to one application on one site, past the gateway, and counts what fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx

from autoscaler.plan import ProbeApplication
from autoscaler.snapshot import ProbeResult

MAX_CONCURRENCY = 16
MAX_MESSAGE = 200


def send_probes(action: ProbeApplication) -> ProbeResult:
    """Send `action.requests` probes, several at once; anything but a 2xx answer is an error."""
    url = f"http://{action.host}:{action.port}{action.path_prefix}{action.probe.path}".rstrip("/")
    with httpx.Client(timeout=action.timeout_s, trust_env=False) as client:

        def send(_: int) -> str:
            try:
                body = action.probe.body if action.probe.method == "POST" else None
                answer = client.request(action.probe.method, url, json=body)
            except httpx.HTTPError as error:
                return f"{type(error).__name__}: {error}"
            return "" if answer.is_success else f"status {answer.status_code}: {answer.text}"

        with ThreadPoolExecutor(min(MAX_CONCURRENCY, action.concurrency, action.requests)) as pool:
            errors = [text for text in pool.map(send, range(action.requests)) if text]
    message = errors[0][:MAX_MESSAGE] if errors else ""
    return ProbeResult(action.site, action.application, action.requests, len(errors), message)
