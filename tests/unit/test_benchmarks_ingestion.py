"""The benchmark of ingestion, and that its memory does not grow with the shop."""

from pathlib import Path

import pytest

from benchmarks.ingestion import GROWTH, ingested, made, run


def test_it_measures_both_formats() -> None:
    """Each format has its time, its memory and its goals."""
    section = run((2_000,), lambda _: None)
    assert {figure.subject.split(",")[0] for figure in section.figures} == {"csv", "parquet"}
    assert all(value > 0 for figure in section.figures for value in figure.values)
    assert len(section.goals) == 4


@pytest.mark.campaign
def test_memory_does_not_grow_with_the_shop(tmp_path: Path) -> None:
    """Four times a million events are cleaned in nearly the memory that a million take."""
    peak_mb = []
    for size in (1_000_000, 4_000_000):
        events = made(tmp_path / f"shop-{size}", size, "csv")
        peak_mb.append(ingested(tmp_path / f"shop-{size}", tmp_path / f"clean-{size}", events).peak_mb)
    assert peak_mb[1] < GROWTH * peak_mb[0]
