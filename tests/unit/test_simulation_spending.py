"""The spend of a run in its calendar windows: what the whole ledger says, at a price that does not grow with it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.money.cost import spend
from autoscaler.simulation import spending
from autoscaler.simulation.spending import Spending
from serving.state import LedgerEntry

START_S = 1_798_759_800.0
"""Half an hour before a year ends (UTC): hour, day and month roll over."""


def span(pool: str, start_s: float, end_s: float) -> LedgerEntry:
    """A node at 3.6 usd an hour."""
    return LedgerEntry("cloud", pool, "simulated", start_s, end_s, end_s - start_s, (end_s - start_s) * 1e-3)


NODES = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 5_000), st.integers(0, 4_000), st.integers(0, 3_000)),
    max_size=30,
    unique_by=lambda node: node[:2],
)


@settings(deadline=None)
@given(NODES, st.sampled_from([5, 60, 700]))
def test_it_is_what_the_whole_ledger_says(nodes: list[tuple[str, int, int, int]], tick_s: int) -> None:
    """At every tick of nodes that come, stay and go, some paid beyond their end, over the turn of a year."""
    kept, ledger = Spending(), {}
    for now_s in range(0, 10_000, tick_s):
        told = []
        for pool, launched_s, stays_s, least_s in nodes:
            if launched_s <= now_s < launched_s + stays_s + tick_s:
                end_s = max(min(now_s, launched_s + stays_s), launched_s + least_s)
                told.append(span(pool, START_S + launched_s, START_S + end_s))
        ledger |= {(entry.pool, entry.start_s): entry for entry in told}
        kept.book(told)
        found, all_of_it = kept.spent(START_S + now_s), spend(ledger.values(), START_S + now_s)
        for window in ("hour_usd", "day_usd", "month_usd"):
            assert getattr(found, window) == pytest.approx(getattr(all_of_it, window), abs=1e-9)


def test_a_long_run_reads_its_bill_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes come and go: a run that is ten times as long reads ten times as many spans, not a hundred times."""
    reads = []
    monkeypatch.setattr(spending, "usd_between", lambda *span: reads.append(span) or 0.0)
    read: list[int] = []
    for hours in (2, 20):
        reads.clear()
        kept = Spending()
        for now_s in range(0, hours * 3_600, 60):
            begun = span("a", START_S + now_s // 300 * 300, START_S + now_s)
            kept.book([begun, replace(begun, pool="b")])
            kept.spent(START_S + now_s)
        read.append(len(reads))
    assert read[1] <= 11 * read[0]
