"""What hcctl prints: data on stdout in three forms, the rest on stderr, nothing that commands a terminal."""

import dataclasses
import datetime
import enum
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cli import output
from cli.output import Column

ROWS = [
    {"site": "private", "replicas": 2, "p99_s": 0.123456789012345, "phase": "open"},
    {"site": "cloud", "replicas": 0, "p99_s": None, "phase": "closed"},
]


@pytest.mark.parametrize("data", [ROWS, [], {}, {"a": {"b": [1, None, True]}}])
def test_json_is_json_with_exact_numbers(data: object, capsys: pytest.CaptureFixture[str]) -> None:
    """`-o json` prints exactly the data, also when there is none."""
    output.emit(data, "json")
    assert json.loads(capsys.readouterr().out) == data


@pytest.mark.parametrize("data", [ROWS, [], {}, {"name": "no", "time": "12:30"}])
def test_yaml_reads_back_as_the_data(data: object, capsys: pytest.CaptureFixture[str]) -> None:
    """`-o yaml` prints the same data, keys in order."""
    output.emit(data, "yaml")
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == data


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_plain_values_are_always_json(value: object) -> None:
    """Whatever numbers come in, NaN and infinities too, strict JSON comes out."""
    json.dumps(output.plain(value), allow_nan=False)


def test_richer_types_become_plain() -> None:
    """Dataclasses, enums, paths, times and sets are printed by their content."""

    class Colour(enum.Enum):
        RED = "red"

    class Word(enum.StrEnum):
        GO = "go"

    @dataclasses.dataclass
    class Part:
        path: Path
        at: datetime.datetime

    part = Part(Path("a/b"), datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
    assert output.plain([part, Colour.RED, Word.GO, {3, 1}, (1,)]) == [
        {"path": "a/b", "at": "2026-01-02T00:00:00+00:00"},
        "red",
        "go",
        [1, 3],
        [1],
    ]


def test_unknown_type_is_refused() -> None:
    """A value that has no JSON form is a bug, not a guess."""
    with pytest.raises(TypeError, match="object cannot be printed"):
        output.plain(object())


def test_table_shows_columns_aligned_without_padding(capsys: pytest.CaptureFixture[str]) -> None:
    """A table has headings, numbers to the right, `-` for the unknown, and no blanks at line ends."""
    columns = ["site", Column("replicas", right=True), Column("p99_s", "p99", output.seconds, right=True)]
    output.emit(ROWS, "table", columns=columns)
    assert capsys.readouterr().out.splitlines() == [
        "SITE      REPLICAS      P99",
        "private          2   123 ms",
        "cloud            0        -",
    ]


def test_object_is_one_line_per_key(capsys: pytest.CaptureFixture[str]) -> None:
    """One object is shown as key and value."""
    output.emit({"name": "shop", "open_sites": ["private", "cloud"], "paused": False}, "table", title="Shop")
    assert capsys.readouterr().out.splitlines() == [
        "Shop",
        "name         shop",
        "open sites   private, cloud",
        "paused       no",
    ]


def test_table_without_rows_says_so_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to show leaves stdout empty, so a pipe gets no row that is none."""
    output.emit([], "table", empty="No release yet.")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "No release yet.\n"


def test_long_lines_are_not_wrapped_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal a row is one line, however long."""
    output.emit([{"reason": "word " * 200}], "table")
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_cells_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences, markup and emoji codes in data are shown as they are."""
    output.emit([{"name": "\x1b[2J[red]x[/red] :smile:"}], "table")
    assert capsys.readouterr().out.splitlines()[1] == "\ufffd[2J[red]x[/red] :smile:"


def test_messages_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Progress, success and warnings never mix with data."""
    output.progress("going on")
    output.success("done")
    output.warning("look")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == ["going on", "\u2713 done", "! look"]


def in_terminal(code: str, **environment: str) -> str:
    """What the code prints on a terminal."""
    leader, follower = pty.openpty()
    clean = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", f"from cli import output\n{code}"],
        cwd=Path(__file__).parents[2],
        stdout=follower,
        stderr=follower,
        env=clean | {"TERM": "xterm", "COLUMNS": "60"} | environment,
    )
    os.close(follower)
    printed = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # Linux ends a terminal that nobody holds with an error.
            break
        if not part:
            break
        printed += part
    os.close(leader)
    process.wait()
    return printed.decode()


SHOW_STATE = "output.emit([{'phase': 'running'}], 'table', columns=[output.Column('phase', render=output.state)])"


def test_colour_on_a_terminal_only() -> None:
    """A terminal gets colour; NO_COLOR and --no-color take it away."""
    assert "\x1b[32mrunning\x1b[0m" in in_terminal(SHOW_STATE)
    assert "\x1b[32m" not in in_terminal(SHOW_STATE, NO_COLOR="1")
    assert "\x1b[32m" not in in_terminal(f"output.use_colour(False)\n{SHOW_STATE}")


def test_error_is_wrapped_beside_its_label_on_a_terminal() -> None:
    """A long cause stays right of its label."""
    code = "from serving.errors import HcctlError\noutput.error(HcctlError('failed', why='word ' * 20))"
    lines = in_terminal(code, NO_COLOR="1", TERM="dumb").splitlines()
    assert lines[0] == "error:  failed"
    assert lines[1].startswith("why:    word")
    assert all(line.startswith("        word") for line in lines[2:])
    assert len(lines) > 2


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "$0.00"),
        (1.006, "$1.01"),
        (1234.5, "$1,234.50"),
        (0.5, "$0.50"),
        (0.0432, "$0.043"),
        (0.00099, "$0.00099"),
        (1e-12, "$0.00000000"),
        (-0.25, "$-0.25"),
    ],
)
def test_usd(amount: float, shown: str) -> None:
    """Money has cents from a dollar on, and two significant digits below."""
    assert output.usd(amount) == shown


@pytest.mark.parametrize(
    ("duration_s", "shown"),
    [
        (0, "0 ms"),
        (0.0123, "12.3 ms"),
        (0.9996, "1.0 s"),
        (1.5, "1.5 s"),
        (59.96, "1m 00s"),
        (125, "2m 05s"),
        (3599.6, "1h 00m"),
        (12_000, "3h 20m"),
        (86_399.9, "1d 0h"),
        (367_200, "4d 6h"),
        (-2, "-2.0 s"),
    ],
)
def test_seconds(duration_s: float, shown: str) -> None:
    """A duration is shown in the unit people would use, and never as 60 seconds or minutes."""
    assert output.seconds(duration_s) == shown


@pytest.mark.parametrize(("part", "shown"), [(0, "0.0 %"), (0.1234, "12.3 %"), (1, "100.0 %")])
def test_share(part: float, shown: str) -> None:
    """A share is shown in percent."""
    assert output.share(part) == shown


@pytest.mark.parametrize(("value", "shown"), [(5, "5"), (12_345, "12,345"), (0.12345, "0.123"), (123.6, "124")])
def test_number(value: float, shown: str) -> None:
    """A number keeps three significant digits, and groups thousands."""
    assert output.number(value) == shown


@pytest.mark.parametrize(
    ("lead", "shown"),
    [
        (
            {"expected_s": 95.0, "longest_s": {"open": 30.0, "node": 62.0, "warm_up": 2.5}},
            "capacity takes 1m 35s (opening 30.0 s, node 1m 02s, warm-up 2.5 s)",
        ),
        ({"expected_s": 90.0, "longest_s": {}}, ""),
        (None, ""),
    ],
)
def test_how_long_capacity_takes_is_shown_where_it_was_seen(lead: object, shown: str) -> None:
    """The whole and its parts in words; nothing of a site that never started anything, or of an older daemon's."""
    assert output.lead(lead) == shown
