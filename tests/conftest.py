"""Says at the end which opt-in tests were left out and why: nothing is skipped in silence."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

import hypothesis
import pytest

from tests.support.prometheus import program

hypothesis.settings.register_profile("steady", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("steady")

OPT_IN = {
    "shared": "reads real data; set HCCTL_DATA or put the data folder beside the repository",
    "campaign": "long runs; `make campaign`",
    "e2e": "real Ray clusters; `make e2e`",
    "alone": "measures what the whole machine does; `make e2e` runs it by itself",
    "root": "becomes another user, which only root can; run the tests as root",
    "prometheus": "a real Prometheus; `make prometheus` unpacks Debian's, or put prometheus and promtool on PATH",
    "cluster": "a real Kubernetes API server; set HCCTL_TEST_KUBECONFIG, and HCCTL_TEST_NAMESPACE if not default",
}

_left_out: Counter[str] = Counter()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only root can do, or only with a cluster or Prometheus, by name as all that is left out."""
    missing = {
        "root": os.geteuid() != 0,
        "cluster": not os.environ.get("HCCTL_TEST_KUBECONFIG"),
        "prometheus": program("prometheus") is None or program("promtool") is None,
    }
    barred = [item for item in items if any(missing[name] and item.get_closest_marker(name) for name in missing)]
    if barred:
        config.hook.pytest_deselected(items=barred)
        items[:] = [item for item in items if item not in barred]


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Count what a marker expression left out."""
    for item in items:
        for marker in OPT_IN:
            if item.get_closest_marker(marker):
                _left_out[marker] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name it."""
    for marker, count in sorted(_left_out.items()):
        terminalreporter.write_line(f"left out by marker {marker}: {count} tests ({OPT_IN[marker]})")
