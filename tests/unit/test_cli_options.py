"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from cli.main import HELP, app
from cli.options import Number


def options(command: click.Command, path: str) -> Iterator[tuple[str, click.Parameter]]:
    """Every option of a command and of those below it."""
    yield from ((path, option) for option in command.params)
    for name, below in (command.commands if isinstance(command, click.Group) else {}).items():
        yield from options(below, f"{path} {name}")


def test_no_option_takes_nan() -> None:
    """Click lets `nan` pass through every range of floats: only `Number` may read them."""
    with click.Context(app) as context:
        commands = [(verb, app.get_command(context, verb)) for verb in HELP]
    found = [(path, option) for verb, command in commands if command for path, option in options(command, verb)]
    floats = [(path, o) for path, o in found if isinstance(o.type, (click.FloatRange, click.types.FloatParamType))]
    assert len(floats) > 10
    assert [(path, option.name) for path, option in floats if not isinstance(option.type, Number)] == []


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-inf", "1e999"])
def test_a_number_is_finite(text: str) -> None:
    """Also where no bound is given; the error names the option, and the exit code is that of invalid input."""
    for args in (["up", f"--timeout={text}"], ["cost", f"--days={text}"]):
        result = CliRunner().invoke(app, args)
        assert result.exit_code == 2
        assert args[1].partition("=")[0] in result.stderr
    with pytest.raises(click.BadParameter, match="finite"):
        Number().convert(text, None, None)
