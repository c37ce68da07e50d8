"""Says at the end of a campaign how many inputs each parser was fed, accepted, and what memory the process grew by."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each target, and the sum."""
    fed = {
        report.nodeid.partition("[")[2].rstrip("]"): dict(report.user_properties)
        for report in terminalreporter.getreports("passed")
        if isinstance(report, pytest.TestReport) and "inputs" in dict(report.user_properties)
    }
    if not fed:
        return
    terminalreporter.section("hostile inputs")
    terminalreporter.write_line(f"{'target':<20} {'inputs':>8} {'accepted':>8} {'grown MiB':>10}")
    for name, counts in fed.items():
        grown_mib = counts["grown_bytes"] / (1 << 20)
        terminalreporter.write_line(f"{name:<20} {counts['inputs']:>8} {counts['accepted']:>8} {grown_mib:>10.1f}")
    total = sum(counts["inputs"] for counts in fed.values())
    terminalreporter.write_line(f"{len(fed)} targets, {total:,} inputs")
