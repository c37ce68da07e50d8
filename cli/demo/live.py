"""The demo's live view: rate, latency, queue, replicas and limits per site, cost, reasons."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from cli import output
from cli.demo.outcome import Snapshot
from cli.demo.verdict import Sample
from serving.state import Decision

if TYPE_CHECKING:
    from rich.console import Group

LINE_EVERY_S = 5.0
"""Without a terminal a line is printed this often."""


class LiveView:
    """Draws each sample: a panel on a terminal, a line now and then elsewhere."""

    def __init__(self, *, slo_s: float) -> None:
        from rich.live import Live

        self._slo_s = slo_s
        self._terminal = output.stderr().is_terminal
        self._live = Live(console=output.stderr(), auto_refresh=False, transient=True) if self._terminal else None
        self._next_line_s = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.__exit__(kind, error, trace)

    def show(self, sample: Sample, snapshot: Snapshot | None, decisions: list[Decision]) -> None:
        """Show one sample."""
        if self._live:
            self._live.update(self._panel(sample, snapshot, decisions), refresh=True)
        elif sample.t_s >= self._next_line_s:
            self._next_line_s = sample.t_s + LINE_EVERY_S
            output.progress(self._line(sample, snapshot))

    def _line(self, sample: Sample, snapshot: Snapshot | None) -> str:
        sites = "  ".join(
            f"{name} {count} ready, limit {sample.limits[name]}" for name, count in sample.replicas.items()
        )
        p99 = "-" if sample.p99_s is None else output.seconds(sample.p99_s)
        lost = f"  lost {snapshot.lost}" if snapshot else ""
        refused = f"  refused {snapshot.refused}" if snapshot else ""
        load = f"{sample.rate_rps:5.0f} req/s  p99 {p99:>7}  queue {sample.queued:3d}"
        return f"{sample.t_s:5.0f} s  {load}  {sites}  rent {output.usd(sample.rented_usd)}{refused}{lost}"

    def _panel(self, sample: Sample, snapshot: Snapshot | None, decisions: list[Decision]) -> Group:
        from rich.console import Group

        late = sample.p99_s is not None and sample.p99_s > self._slo_s
        head = output.text(f"{sample.t_s:5.0f} s   ", "faint")
        head.append(f"{sample.rate_rps:5.0f} req/s", style="bold")
        head.append(f"   p50 {_time(sample.p50_s)}   p99 ")
        head.append(_time(sample.p99_s), style="bad" if late else "ok")
        head.append(f" of {output.seconds(self._slo_s)}   queue {sample.queued}   rent {output.usd(sample.rented_usd)}")
        if snapshot:
            head.append(f"   served {snapshot.served:,}  refused {snapshot.refused}  lost {snapshot.lost}")
        lines = [head]
        for name, count in sample.replicas.items():
            line = output.text(f"{'':8}{name:<9}")
            line.append_text(output.state(sample.phases[name]))
            line.append(f"  {'#' * count}{'.' * max(0, 6 - count)} {count} replicas, {sample.limits[name]} slots")
            lines.append(line)
        for decision in decisions:
            site = decision.body.get("site") or ""
            text = f"{'':8}{decision.body['action']} {site}: {decision.body['reason']}"
            lines.append(output.text(text[:160], "faint"))
        return Group(*lines)


def _time(value_s: float | None) -> str:
    return "-" if value_s is None else output.seconds(value_s)
