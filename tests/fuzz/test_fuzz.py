"""Every parser, fed with what nobody would write: it accepts, or it refuses in its own words, within bounds."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.inputs import hostile
from tests.fuzz.target import CORPUS, Target, accepts, keep
from tests.fuzz.targets import TARGETS

A_FEW, MANY = 100, 500
GROWTH_LIMIT_BYTES = 256 << 20
"""Of the process over all inputs of one target, libraries it loads included."""

pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr:hypothesis.errors.HypothesisWarning")
each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


def test_the_kept_inputs_are_those_of_the_targets() -> None:
    """Each target has a corpus, and no corpus is left without a target."""
    assert {path.name for path in CORPUS.iterdir()} == {target.name for target in TARGETS}
    assert len({target.name for target in TARGETS}) == len(TARGETS)


@each_target
def test_kept_inputs_replay(target: Target, tmp_path: Path) -> None:
    """Inputs that were found once, valid and broken, are read or refused; some of each corpus are accepted."""
    target.prepare()
    accepted = [accepts(target, data, fresh(tmp_path)) for data in target.corpus]
    assert any(accepted)


@each_target
def test_hostile_inputs_are_read_or_refused(target: Target, tmp_path: Path) -> None:
    """A few hundred generated inputs: no other exception, no hang, bounded memory."""
    attack(target, tmp_path, A_FEW)


@pytest.mark.campaign
@pytest.mark.timeout(1_800)
@each_target
def test_many_hostile_inputs_are_read_or_refused(
    target: Target, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Five hundred inputs for each target, and the memory of the process stays bounded."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, value in attack(target, tmp_path, MANY).items():
        record_property(name, value)
    grown = 1_024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    record_property("grown_bytes", grown)
    assert grown <= GROWTH_LIMIT_BYTES


def attack(target: Target, folder: Path, inputs: int) -> dict[str, int]:
    """Feed generated inputs; a failing one is shrunk and kept. Returns how many were fed and accepted."""
    counts = {"inputs": 0, "accepted": 0}
    failing = [b""]

    @seed(0)
    @settings(
        max_examples=inputs, database=None, phases=(Phase.generate, Phase.shrink), suppress_health_check=HealthCheck
    )
    @given(hostile(target))
    def run(data: bytes) -> None:
        failing[0] = data
        counts["inputs"] += 1
        counts["accepted"] += accepts(target, data, fresh(folder))

    target.prepare()
    try:
        run()
    except BaseException as fault:
        fault.add_note(f"kept as {keep(target, failing[0])}; move it to {CORPUS / target.name} with the fix")
        raise
    assert counts["inputs"] >= inputs
    return counts


def fresh(folder: Path) -> Path:
    """An empty folder for one input."""
    made = folder / "input"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    return made
