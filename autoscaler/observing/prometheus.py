"""A service's past as a Prometheus knows it that scrapes the daemon; see `autoscaler.observing.history.History`.

Prometheus estimates: counters are read at scrapes, and `increase` extends them to the ends of a span. A minute with
fewer than two scrapes is None: what happens while Prometheus or the daemon is away is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from autoscaler.observing.history import check_start
from autoscaler.policy.earlier import HOUR_S, MINUTE_S
from serving.errors import HcctlError
from serving.gateway.values import label

if TYPE_CHECKING:
    from prometheus_api_client import PrometheusConnect

RATE = 'sum(increase(hcctl_gateway_wanted_requests_total{{service="{service}"}}[{step}s])) / {step}'
BUCKETS = 'sum by (le) (increase(hcctl_gateway_request_duration_seconds_bucket{{service="{service}"}}[{span}s]))'
ANSWER_TIMEOUT_S = 20.0
MOST_POINTS = 10_000
"""Of one answer; Prometheus refuses more than 11,000."""


class PrometheusUnreachable(HcctlError):
    """Prometheus does not answer, or not with what was asked for."""


class PrometheusHistory:
    """See `History`.

    Args:
        url: of Prometheus' web interface.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def rates(self, service: str, *, start_s: int, minutes: int) -> list[float | None]:
        """See `History`."""
        check_start(start_s, MINUTE_S)
        query = RATE.format(service=label(service), step=MINUTE_S)
        known: dict[int, float] = {}
        for first in range(0, minutes, MOST_POINTS):
            # A minute's increase stands at its end.
            begin_s, end_s = (start_s + n * MINUTE_S for n in (first + 1, min(minutes, first + MOST_POINTS)))
            for series in self._range(query, begin_s, end_s):
                known.update((round(at_s) - MINUTE_S, rate) for at_s, rate in _points(series["values"]))
        return [known.get(start_s + number * MINUTE_S) for number in range(minutes)]

    def latency_s(self, service: str, q: float, *, start_s: int, hours: int) -> float | None:
        """See `History`."""
        check_start(start_s, HOUR_S)
        span_s = hours * HOUR_S
        query = f"histogram_quantile({q:g}, {BUCKETS.format(service=label(service), span=span_s)})"
        at = {"time": start_s + span_s}
        for series in self._asked(lambda client: client.custom_query(query, params=at)):
            for _, seconds in _points([series["value"]]):
                return seconds
        return None

    def _range(self, query: str, begin_s: int, end_s: int) -> list[dict[str, Any]]:
        """The value of a query at the end of each minute."""
        begin, end = (datetime.fromtimestamp(at_s, UTC) for at_s in (begin_s, end_s))
        return self._asked(lambda client: client.custom_query_range(query, begin, end, str(MINUTE_S)))

    def _asked(self, ask: Callable[[PrometheusConnect], list[dict[str, Any]]]) -> list[dict[str, Any]]:
        """The series of an answer."""
        try:
            import requests
            from prometheus_api_client import PrometheusConnect
            from prometheus_api_client.exceptions import PrometheusApiClientException
            from urllib3 import Retry
        except ModuleNotFoundError as missing:
            raise PrometheusUnreachable(
                "Prometheus needs a library that is not installed",
                where="metrics.prometheus_url",
                why=str(missing),
                next_step="pip install 'hcctl[prometheus]'",
            ) from None
        # One attempt: who asks comes again by itself.
        client = PrometheusConnect(url=self._url, retry=Retry(total=0), timeout=ANSWER_TIMEOUT_S)
        try:
            series = ask(client)
        except (PrometheusApiClientException, requests.RequestException, ValueError, TypeError, KeyError) as error:
            raise PrometheusUnreachable(
                "Prometheus does not say what was asked for",
                where=self._url,
                why=f"{type(error).__name__}: {str(error)[:200]}",
                next_step="check metrics.prometheus_url in hcctl.yaml, and that it runs",
            ) from error
        return series


def _points(values: list[list[Any]]) -> Iterator[tuple[float, float]]:
    """(time, value) of each point that has a value; Prometheus says NaN where there is nothing to say."""
    for at_s, text in values:
        value = float(text)
        if math.isfinite(value):
            yield float(at_s), value
