"""Write docs/reference/metrics.md from the table: `python docs/reference/generate_metrics.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from serving.metrics.table import METRICS, Exporter, Metric

TARGET = Path(__file__).with_name("metrics.md")

HEAD = """# Metrics

Made from `serving/metrics/table.py`. Names, types and labels are promised: they change only with a note in the
changelog. All begin with `hcctl_`; units are in the names; times are seconds since the epoch; money is US dollars.

Nothing is exported unless asked for: `metrics.daemon_port` and `metrics.supervisor_port` in `hcctl.yaml`, on 127.0.0.1,
or `hcctl autoscaler run --metrics HOST:PORT`. `/healthz` beside `/metrics` answers 200 while the process does its work.

**Missing is not zero.** What is out of sight (a site, the gateway) has no sample; a daemon that no longer ticks exports
its counters and the time of its last tick, no gauges. Write alerts that fire on absence too, as those of the chart do.

The gateway's figures come from its log, one line per request, as the daemon reads it: with several gateways they are of
all of them. Lines that no daemon reads are kept (some thousand) and counted when one is back.
"""

WHO = {"daemon": "Daemon", "supervisor": "Supervisor"}
ENDINGS = {"histogram": "`_bucket`, `_sum`, `_count`"}


def reference() -> str:
    """The whole page."""
    return HEAD + "".join(_section(by) for by in get_args(Exporter))


def _section(by: Exporter) -> str:
    return "".join([f"\n## {WHO[by]}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n", *_rows(by)])


def _rows(by: Exporter) -> Iterator[str]:
    for metric in METRICS:
        if metric.by == by:
            yield f"| `{metric.name}` | {_kind(metric)} | {', '.join(metric.labels) or '-'} | {metric.help} |\n"


def _kind(metric: Metric) -> str:
    return f"{metric.kind}: {ENDINGS[metric.kind]}" if metric.kind in ENDINGS else metric.kind


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
