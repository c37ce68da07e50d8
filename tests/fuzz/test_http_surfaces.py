"""Schemathesis on every HTTP surface of hcctl's own processes: what is described holds for whatever is sent.

The gateway's HTTP is HAProxy's (tests/integration/test_gateway_hostile.py), a replica's is its model's (target
`replica-request` of test_fuzz.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.support import http_surfaces

Serve = Callable[[Path], AbstractContextManager[str]]
SURFACES: dict[str, tuple[dict[str, Any], Serve]] = {
    "agent": (http_surfaces.AGENT, http_surfaces.agent),
    "metrics": (http_surfaces.METRICS, http_surfaces.metrics),
    "relief": (http_surfaces.RELIEF, http_surfaces.relief),
}
EVERY_RUN, CAMPAIGN = 3, 300
LEFT_OUT = {
    # Routes keep rules that a JSON schema cannot say; numbers in quotes are numbers to pydantic.
    "agent": [positive_data_acceptance, negative_data_rejection],
    "metrics": [],
    # Every request is some client's: none is wrong, and 503 is the word by which HAProxy takes it back.
    "relief": [not_a_server_error, negative_data_rejection],
}


@dataclass(frozen=True)
class Surface:
    """What is attacked."""

    schema: Any
    url: str
    left_out: list[Any]
    """Checks that do not fit it."""


@pytest.fixture(params=SURFACES)
def surface(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Surface]:
    """One of them, served."""
    document, serve = SURFACES[request.param]
    with serve(tmp_path) as url:
        yield Surface(schemathesis.openapi.from_dict(document), url, LEFT_OUT[request.param])


def attack(surface: Surface, examples: int) -> int:
    """Ask each operation so many things, by the schema and against it; the number of answers that held."""
    held = 0

    def ask(case: Any) -> None:
        nonlocal held
        case.call_and_validate(base_url=surface.url, excluded_checks=surface.left_out, timeout=10)
        held += 1

    for found in surface.schema.get_all_operations():
        operation = found.ok()
        # What takes neither parameters nor a body can only be asked in one way.
        takes = [*operation.path_parameters, *operation.query, *operation.headers, *operation.body]
        for mode in schemathesis.GenerationMode if takes else [schemathesis.GenerationMode.POSITIVE]:
            strategy = operation.as_strategy(generation_mode=mode)
            bounded = hypothesis.settings(
                max_examples=examples,
                database=None,
                suppress_health_check=list(hypothesis.HealthCheck),
                phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
            )
            bounded(hypothesis.seed(0)(hypothesis.given(case=strategy)(ask)))()
    return held


def test_what_is_described_holds(surface: Surface) -> None:
    """No answer that is not described, no traceback, no hang; a few requests of each kind."""
    assert attack(surface, EVERY_RUN) > 0


@pytest.mark.campaign
def test_what_is_described_holds_for_long(surface: Surface) -> None:
    """The same with three hundred of each kind."""
    assert attack(surface, CAMPAIGN) > 0


def test_a_path_with_a_line_break_is_answered_by_the_relief_process(tmp_path: Path) -> None:
    """Refused as any other where HAProxy would refuse it; schemathesis found it answered by nobody."""
    with http_surfaces.relief(tmp_path) as url, httpx.Client(trust_env=False) as http:
        answer = http.get(f"{url}/shop-1/a%0Ab", headers={"X-Hcctl-Service": "shop", "X-Hcctl-Refuse": "low"})
    assert answer.status_code == 429
