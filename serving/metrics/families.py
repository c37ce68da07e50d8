"""Samples of the metrics in the table, in the form that prometheus-client writes out.

Nothing that the table does not name, and no label that it does not name, can be exported: it is a KeyError here,
in a test, and never on a dashboard.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric as Family

from serving.metrics.table import BY_NAME, Exporter, Metric

Number: TypeAlias = float | int | bool | None


class Exposition:
    """Collects samples of one exporter. A value of None is no sample: unknown is not zero."""

    def __init__(self, by: Exporter) -> None:
        self._by = by
        self._families: dict[str, Family] = {}

    def add(self, name: str, value: Number, **labels: str) -> None:
        """One sample of a gauge, counter or info metric."""
        if value is None:
            return
        family, told = self._family(name, labels)
        if isinstance(family, InfoMetricFamily):
            family.add_metric([], labels)
        elif isinstance(family, CounterMetricFamily | GaugeMetricFamily):
            family.add_metric(told, float(value))
        else:
            raise TypeError(name)

    def add_histogram(
        self, name: str, counts: Sequence[int], edges: Sequence[float], sum_: float, **labels: str
    ) -> None:
        """One histogram: `counts` has one entry for each of the upper `edges`, and one for all above the last."""
        family, told = self._family(name, labels)
        if not isinstance(family, HistogramMetricFamily):
            raise TypeError(name)
        total, buckets = 0, []
        for edge, count in zip((*edges, float("inf")), counts, strict=True):
            total += count
            buckets.append((f"{edge:.6g}" if edge != float("inf") else "+Inf", total))
        family.add_metric(told, buckets, sum_)

    def families(self) -> list[Family]:
        """What was added, in the order of the table."""
        return [self._families[name] for name in BY_NAME if name in self._families]

    def _family(self, name: str, labels: Mapping[str, str]) -> tuple[Family, list[str]]:
        """The family, and the values of its labels in their order."""
        metric = BY_NAME[name]
        if set(labels) != set(metric.labels):
            raise KeyError(f"{name} has the labels {metric.labels}, not {tuple(labels)}")
        if metric.by != self._by:
            raise KeyError(f"{name} is not exported by the {self._by}")
        if name not in self._families:
            self._families[name] = _new(metric)
        return self._families[name], [labels[label] for label in metric.labels]


def _new(metric: Metric) -> Family:
    """An empty family; prometheus-client puts the suffixes of counters and infos back itself."""
    if metric.kind == "counter":
        return CounterMetricFamily(metric.name.removesuffix("_total"), metric.help, labels=metric.labels)
    if metric.kind == "info":
        return InfoMetricFamily(metric.name.removesuffix("_info"), metric.help)
    if metric.kind == "histogram":
        return HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    return GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
