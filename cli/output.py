"""Everything `hcctl` prints goes through here: data on stdout, progress and errors on stderr.

Rich is imported with the first line printed, so that `hcctl --help` does not pay for it.
Texts are data, never markup: a name that holds `[red]` or an escape sequence is shown, not obeyed.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from serving.errors import HcctlError

Output = Literal["table", "json", "yaml"]
Command = TypeVar("Command", bound=Callable[..., Any])

STYLES = {
    "ok": "green",
    "warn": "yellow",
    "bad": "bold red",
    "faint": "bright_black",
    "head": "bold",
    "accent": "cyan",
}
"""The theme: what a style says, never how it looks."""

WORD_STYLES = {
    **dict.fromkeys(("ok", "open", "running", "ready", "promoted", "done", "up", "valid"), "ok"),
    **dict.fromkeys(("opening", "closing", "starting", "waiting", "deleting", "paused", "unknown", "warning"), "warn"),
    **dict.fromkeys(("failed", "lost", "unhealthy", "rolled back", "refused", "down", "error"), "bad"),
    **dict.fromkeys(("closed", "none", "-"), "faint"),
}
"""Words for a state, and the style they are shown in by `state`."""

MISSING = "-"
"""How an unknown value is shown; in JSON and YAML it is null."""

_PLAIN_WIDTH = 100_000  # Columns of a pipe or file: lines are never wrapped there.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_colour = True


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table: the key of each row, its heading, and how a value is shown."""

    key: str
    header: str = ""
    """Empty: the key with spaces for underscores."""
    render: Callable[[Any], str | Text] | None = None
    """Gets the value, never None. Unset: the value as text."""
    right: bool = False
    """Numbers stand to the right."""


def use_colour(wanted: bool) -> None:
    """Allow or forbid colour for this invocation; without a terminal there is none anyway."""
    global _colour  # noqa: PLW0603 - one terminal, one choice
    _colour = wanted


def stdout() -> Console:
    """The console for data."""
    return _console(stderr=False, colour=_colour, terminal=sys.stdout.isatty())


def stderr() -> Console:
    """The console for progress, questions and errors; the one to give to a live display."""
    return _console(stderr=True, colour=_colour, terminal=sys.stderr.isatty())


@cache
def _console(*, stderr: bool, colour: bool, terminal: bool) -> Console:
    from rich.console import Console
    from rich.theme import Theme

    return Console(
        stderr=stderr,
        theme=Theme(STYLES),
        markup=False,
        highlight=False,
        emoji=False,
        # None lets NO_COLOR decide.
        no_color=None if colour else True,
        width=None if terminal else _PLAIN_WIDTH,
    )


def output_option(command: Command) -> Command:
    """Add `-o/--output table|json|yaml`, passed on as `output_format`."""
    option = click.option(
        "-o",
        "--output",
        "output_format",
        type=click.Choice(["table", "json", "yaml"]),
        default="table",
        show_default=True,
        envvar="HCCTL_OUTPUT",
        help="How to print the data.",
    )
    return option(command)


def emit(
    data: Sequence[Mapping[str, Any]] | Mapping[str, Any],
    output_format: Output,
    *,
    columns: Sequence[Column | str] | None = None,
    title: str | None = None,
    empty: str = "Nothing to show.",
) -> None:
    """Print rows (a list of mappings) or one object (a mapping) on stdout.

    `json` and `yaml` carry all keys, in order, with exact numbers; a number that JSON cannot
    hold is null. `table` shows `columns` (all keys of the first row if unset); of an object it
    shows one line per key. `empty` is said on stderr when a table has no rows.
    """
    if output_format == "json":
        click.echo(json.dumps(plain(data), indent=2, ensure_ascii=False, allow_nan=False))
    elif output_format == "yaml":
        import yaml

        click.echo(yaml.safe_dump(plain(data), sort_keys=False, allow_unicode=True), nl=False)
    elif not data:
        progress(empty)
    else:
        if title:
            stdout().print(text(title, "head"))
        _print(stdout(), _object(data, columns) if isinstance(data, Mapping) else table(data, columns))


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column | str] | None = None) -> Table:
    """The rows as a table without frames, for `emit` and live displays."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="faint")
    shown = _columns(columns if columns is not None else list(rows[0]) if rows else [])
    for column in shown:
        heading = column.header or column.key.replace("_", " ")
        made.add_column(text(heading.upper()), justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        made.add_row(*(_cell(column, row.get(column.key)) for column in shown))
    return made


def _object(data: Mapping[str, Any], columns: Sequence[Column | str] | None) -> Table:
    from rich.table import Table

    made = Table.grid(padding=(0, 3, 0, 0))
    made.add_column(style="faint")
    made.add_column(overflow="fold")
    for column in _columns(columns if columns is not None else list(data)):
        made.add_row(text(column.header or column.key.replace("_", " ")), _cell(column, data.get(column.key)))
    return made


def _columns(columns: Sequence[Column | str]) -> list[Column]:
    return [Column(column) if isinstance(column, str) else column for column in columns]


def _cell(column: Column, value: Any) -> Text:
    if value is None:
        return text(MISSING, "faint")
    shown = column.render(value) if column.render else value
    return text(shown)


def text(value: object, style: str = "") -> Text:
    """A value as printable text: booleans as yes/no, collections joined, control characters replaced.

    A text stays as it is.
    """
    from rich.text import Text

    if isinstance(value, Text):
        return value
    if isinstance(value, bool):
        value = "yes" if value else "no"
    elif isinstance(value, Mapping):
        value = ", ".join(f"{key} {part}" for key, part in value.items())
    elif isinstance(value, (list, tuple, set, frozenset)):
        value = ", ".join(str(part) for part in value)
    return Text(clean(str(value)), style=style)


def clean(value: str) -> str:
    """The string without characters that command a terminal, and halves of characters, which no encoding has."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", value)


def state(value: str) -> Text:
    """A word for a state in its style, e.g. `running` in green."""
    return text(value, WORD_STYLES.get(value.lower(), ""))


def plain(value: Any) -> Any:
    """The value in JSON's types only; numbers that JSON cannot hold become None."""
    made: Any
    match value:
        case None | str() | bool() | int():
            made = value.value if isinstance(value, enum.Enum) else value
        case float():
            made = value if math.isfinite(value) else None
        case Mapping():
            made = {str(key): plain(part) for key, part in value.items()}
        case set() | frozenset():
            made = sorted(plain(part) for part in value)
        case Sequence():
            made = [plain(part) for part in value]
        case enum.Enum():
            made = plain(value.value)
        case PurePath():
            made = str(value)
        case _ if hasattr(value, "get_secret_value"):  # pydantic's secrets print as asterisks
            made = str(value)
        case datetime.date():
            made = value.isoformat()
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            made = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        case _:
            raise TypeError(f"{type(value).__name__} cannot be printed as JSON")
    return made


def lead(found: Any) -> str:
    """How long capacity takes on a site, as a status tells it: `capacity takes 95 s (node 62 s, ...)`, or empty."""
    parts = found.get("longest_s") if isinstance(found, dict) else None
    if not parts:
        return ""
    words = {"open": "opening", "warm_up": "warm-up"}
    told = ", ".join(f"{words.get(name, name)} {seconds(part_s)}" for name, part_s in parts.items())
    return f"capacity takes {seconds(found['expected_s'])} ({told})"


def progress(message: str) -> None:
    """Say on stderr what goes on."""
    stderr().print(text(message, "faint"))


def success(message: str) -> None:
    """Say on stderr what was done, behind a green tick."""
    stderr().print(text("\N{CHECK MARK}", "ok"), text(message))


def warning(message: str) -> None:
    """Say on stderr what the user should look at."""
    stderr().print(text("!", "warn"), text(message))


def error(problem: HcctlError) -> None:
    """Print an error on stderr in its parts: what, where, why, next."""
    from rich.table import Table

    parts = Table.grid(padding=(0, 2, 0, 0))
    parts.add_column(no_wrap=True)
    parts.add_column(overflow="fold")
    parts.add_row(text("error:", "bad"), text(problem.what, "head"))
    for label, part in (("where:", problem.where), ("why:", problem.why), ("next:", problem.next_step)):
        if part:
            parts.add_row(text(label, "faint"), text(part))
    _print(stderr(), parts)


def _print(console: Console, table: Table) -> None:
    """Print a table without the blanks that pad its lines: they get into pipes and copied text."""
    from rich.segment import Segment, Segments

    segments = []
    for line in console.render_lines(table, pad=False):
        while line and not line[-1].text.strip():
            line.pop()
        if line:
            line[-1] = Segment(line[-1].text.rstrip(), line[-1].style)
        segments += [*line, Segment.line()]
    console.print(Segments(segments), end="")


def bug(problem: Exception) -> None:
    """Print an exception that nobody expected, as one line on stderr."""
    told = clean(" ".join(f"{type(problem).__name__}: {problem}".split()))[:300]
    stderr().print(text(f"error: {told}; this is a bug in hcctl; run again with --debug"))


def usd(amount: float) -> str:
    """Money for people: cents from one dollar on, two significant digits below."""
    if amount != 0 and abs(amount) < 1:
        digits = 1 - math.floor(math.log10(abs(amount)))
        return f"${amount:.{min(max(digits, 2), 8)}f}"
    return f"${amount:,.2f}"


def seconds(duration_s: float) -> str:
    """A duration for people: `12 ms`, `1.5 s`, `2m 05s`, `3h 20m`, `4d 6h`."""
    if duration_s < 0:
        return f"-{seconds(-duration_s)}"
    if duration_s < 0.9995:
        return f"{duration_s * 1000:.3g} ms"
    if duration_s < 59.95:
        return f"{duration_s:.1f} s"
    whole = round(duration_s)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def when(at_s: float) -> str:
    """A moment, given in seconds since the epoch, as local date and time."""
    return datetime.datetime.fromtimestamp(at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def share(part: float) -> str:
    """A share of 1 as percent: `12.3 %`."""
    return f"{part * 100:.1f} %"


def number(value: float) -> str:
    """A number for people: thousands grouped, three significant digits below 100."""
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
