"""Bad input never gets further than one clear error: broken files through the real command line, and fuzz."""

import contextlib
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cli.main import app
from serving.errors import InvalidInput
from serving.loading import load_project, load_service, parse_service
from tests.support.broken_specs import Broken, broken_specs, valid_text

BROKEN = broken_specs("HybridService", seed=1) + broken_specs("HybridProject", seed=2)


def test_there_are_enough_broken_files() -> None:
    """The generator attacks every field of both files in several ways."""
    assert len(BROKEN) >= 300
    assert len({broken.mutation for broken in BROKEN}) >= 15


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.id[:80])
def test_broken_file_gives_one_error_that_names_the_field(broken: Broken, tmp_path: Path) -> None:
    """`hcctl validate` ends with 2 and one error at the field, whatever is wrong with it."""
    file = tmp_path / "broken.yaml"
    file.write_text(broken.text, encoding="utf-8")
    result = CliRunner().invoke(app, ["validate", "-f", str(file)])
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("error:") == 1
    assert "Traceback" not in result.stderr
    labels = [line.partition(" ")[0] for line in result.stderr.splitlines()]
    assert labels == ["error:", "where:", "why:", "next:"]
    where = result.stderr.splitlines()[1].split()[1:]
    assert where[0].startswith(f"{file}:")
    assert " ".join(where[1:]) == broken.field


@pytest.mark.parametrize("broken", BROKEN[::10], ids=lambda broken: broken.id[:80])
def test_broken_body_in_the_store_is_refused(broken: Broken) -> None:
    """Whatever body is read back from the store, it is a service or an InvalidInput."""
    with pytest.raises(InvalidInput):
        parse_service({"kind": broken.text, broken.field: None})


def load_bytes(content: bytes, folder: Path) -> None:
    """Load the content as either kind: a spec, or InvalidInput; anything else fails the test."""
    file = folder / "fuzz.yaml"
    file.write_bytes(content)
    for load in (load_service, load_project):
        with contextlib.suppress(InvalidInput):
            load(file)


fuzz = settings(
    max_examples=300,
    deadline=timedelta(seconds=5),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@fuzz
@given(st.binary(max_size=400))
@example(b'kind: HybridService\nname: "\\xZZ"')
@example(b"%YAML 1.99999999999999999999\n---\na: 1")
@example(b"kind: [HybridService]")
@example(b"kind: {a: 1}\n")
@example(b"\xff\xfea\x00")
def test_any_bytes_are_a_spec_or_an_error(tmp_path: Path, content: bytes) -> None:
    """Raw bytes never raise anything but InvalidInput, within bounded time."""
    load_bytes(content, tmp_path)


@fuzz
@given(st.text(alphabet="ab:-[]{}\"'&*!|>#%@`,? \n\t0159.eExo_~<=\\u", max_size=200))
def test_any_yaml_punctuation_is_a_spec_or_an_error(tmp_path: Path, content: str) -> None:
    """Text made of YAML's own characters never raises anything but InvalidInput."""
    load_bytes(content.encode(), tmp_path)


@fuzz
@given(
    st.sampled_from(["HybridService", "HybridProject"]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 30), st.binary(max_size=12)), max_size=4),
)
def test_any_edit_of_a_valid_file_is_a_spec_or_an_error(
    tmp_path: Path, kind: str, edits: list[tuple[int, int, bytes]]
) -> None:
    """A valid file with spans overwritten never raises anything but InvalidInput."""
    content = valid_text(kind).encode()
    for place, length, new in edits:
        start = place % len(content)
        content = content[:start] + new + content[start + length :]
    load_bytes(content, tmp_path)
