"""How a run of hcctl ends: exit codes, errors in four lines, tracebacks on demand only."""

import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from cli import main as entry
from cli.context import Settings, nearest_project, open_project, project_paths, settings
from serving.errors import (
    HcctlError,
    InvalidInput,
    RefusedByBudget,
    RolledBack,
    WaitTimeout,
)

ROOT = Path(__file__).parents[2]
Run = Callable[..., Result]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], Run]:
    """Adds the verb `act` that does what it is given; returns how to run hcctl with it."""

    def add(act: Callable[[], object]) -> Run:
        @click.command("act")
        @click.option("--size", type=int)
        def command(size: int | None) -> object:
            if size is not None:
                click.echo(size)
            return act()

        module = types.ModuleType("cli.commands.act")
        module.command = command
        monkeypatch.setitem(sys.modules, "cli.commands.act", module)
        monkeypatch.setitem(entry.HELP, "act", "Act.")
        return lambda *args, **options: CliRunner().invoke(entry.app, args, **options)

    return add


def raising(problem: BaseException) -> Callable[[], object]:
    def act() -> object:
        raise problem

    return act


@pytest.mark.parametrize(
    ("kind", "code"),
    [(HcctlError, 1), (InvalidInput, 2), (WaitTimeout, 3), (RolledBack, 4), (RefusedByBudget, 5)],
)
def test_known_error_is_four_lines_and_its_exit_code(
    verb: Callable[..., Run], kind: type[HcctlError], code: int
) -> None:
    """An error of the family is told as what, where, why and next on stderr; its class gives the code."""
    result = verb(raising(kind("it failed", where="the place", why="a cause", next_step="a cure")))("act")
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "error:  it failed",
        "where:  the place",
        "why:    a cause",
        "next:   a cure",
    ]


def test_parts_without_text_are_left_out(verb: Callable[..., Run]) -> None:
    """An error that has no place or cure shows no empty label."""
    assert verb(raising(HcctlError("it failed")))("act").stderr == "error:  it failed\n"


def test_error_text_cannot_command_the_terminal(verb: Callable[..., Run]) -> None:
    """Escape sequences and markup in an error's text are shown, not obeyed."""
    result = verb(raising(HcctlError("\x1b[31mred [bold]x[/bold]", where="a\x9bb\rc")))("act")
    assert result.stderr == "error:  \ufffd[31mred [bold]x[/bold]\nwhere:  a\ufffdb\ufffdc\n"


def test_unexpected_exception_is_one_line(verb: Callable[..., Run]) -> None:
    """What nobody expected is told as a bug in one line, exit 1, without a traceback."""
    result = verb(raising(RuntimeError("broken\ninside")))("act")
    assert result.exit_code == 1
    assert result.stderr == ("error: RuntimeError: broken inside; this is a bug in hcctl; run again with --debug\n")


@pytest.mark.parametrize("problem", [RuntimeError("broken"), HcctlError("it failed")])
def test_debug_shows_the_traceback(verb: Callable[..., Run], problem: Exception) -> None:
    """With --debug the traceback comes before the error, for both kinds."""
    result = verb(raising(problem))("--debug", "act")
    assert "Traceback (most recent call last)" in result.stderr
    assert "in act" in result.stderr


@pytest.mark.parametrize("problem", [KeyboardInterrupt(), click.Abort()])
def test_interrupt_is_quiet(verb: Callable[..., Run], problem: BaseException) -> None:
    """Ctrl-C, at work or at a question, ends with 130 and no word."""
    result = verb(raising(problem))("act")
    assert result.exit_code == 130
    assert result.output.strip() == ""


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1), (7, 7), ("text", 0)])
def test_return_value_is_the_exit_code(verb: Callable[..., Run], returned: object, code: int) -> None:
    """A verb returns its exit code, such as 1 for `diff` with differences; nothing is 0."""
    assert verb(lambda: returned)("act").exit_code == code


@pytest.mark.parametrize(
    ("args", "where", "said"),
    [
        (["nothing"], "hcctl", "there is no verb 'nothing'"),
        (["stauts"], "hcctl", "did you mean 'status'?"),
        (["--nothing"], "hcctl", "No such option"),
        (["act", "--nothing"], "hcctl act", "No such option"),
        (["act", "--size", "big"], "hcctl act", "'big' is not a valid integer"),
        (["act", "extra"], "hcctl act", "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_exit_2(verb: Callable[..., Run], args: list[str], where: str, said: str) -> None:
    """A wrong command line is told in the same form as every error, with the help to read."""
    result = verb(lambda: None)(*args)
    assert result.exit_code == 2
    assert said in result.stderr.splitlines()[0]
    assert result.stderr.splitlines()[1:] == [f"where:  {where}", f"next:   see `{where} --help`"]


def test_help_lists_every_verb_once() -> None:
    """The help shows each verb with its line, in groups."""
    shown = CliRunner().invoke(entry.app, ["--help"]).stdout
    for group, verbs in entry.VERBS.items():
        assert f"\n{group}:\n" in shown
        for verb in verbs:
            assert shown.count(f"\n  {verb} ") == 1
    assert sum(map(len, entry.VERBS.values())) == len(entry.HELP)


@pytest.mark.parametrize("args", [[], ["key"]])
def test_no_arguments_show_the_help(args: list[str]) -> None:
    """`hcctl` or a group alone shows what it can do, as help and not as an error."""
    shown = CliRunner().invoke(entry.app, args)
    assert shown.output.startswith("Usage: hcctl")
    assert "error:" not in shown.output


@pytest.mark.parametrize(("value", "code"), [("json", 0), ("bad", 2)])
def test_output_form_can_be_set_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, code: int
) -> None:
    """HCCTL_OUTPUT holds for every verb that prints data; -o wins over it."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(env={"HCCTL_OUTPUT": value})
    runner.invoke(entry.app, ["init"])
    result = runner.invoke(entry.app, ["validate"])
    assert result.exit_code == code
    assert result.stdout[:1] == ("[" if code == 0 else "")
    assert runner.invoke(entry.app, ["validate", "-o", "yaml"]).stdout.startswith("- result: ok")


def test_flag_wins_over_environment(verb: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """An option is taken from the flag, else from HCCTL_<VERB>_<OPTION>."""
    run = verb(lambda: None)
    monkeypatch.setenv("HCCTL_ACT_SIZE", "3")
    assert run("act").stdout == "3\n"
    assert run("act", "--size", "4").stdout == "4\n"


def test_wrong_environment_is_exit_2(verb: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong value in the environment is told like one on the command line."""
    monkeypatch.setenv("HCCTL_ACT_SIZE", "big")
    assert verb(lambda: None)("act").exit_code == 2


def test_version_is_printed() -> None:
    """--version names the program and needs no verb."""
    result = CliRunner().invoke(entry.app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout.startswith("hcctl ")


def test_project_is_found_from_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --project the nearest project from the working folder upward is taken."""
    (tmp_path / "hcctl.yaml").touch()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert project_paths().root == tmp_path.resolve()


def test_no_project_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no project, `nearest_project` says none and `project_paths` refuses."""
    monkeypatch.chdir(tmp_path)
    assert nearest_project() is None
    with pytest.raises(InvalidInput, match="no project here"):
        open_project()


def test_project_option_and_variable_name_the_folder(
    verb: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--project wins over HCCTL_PROJECT; a folder that is no project is refused."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "hcctl.yaml").touch()
    run = verb(lambda: click.echo(project_paths().root.name))
    monkeypatch.setenv("HCCTL_PROJECT", str(tmp_path / "one"))
    assert run("act").stdout == "one\n"
    assert run("--project", str(tmp_path / "two"), "act").stdout == "two\n"
    refused = run("--project", str(tmp_path), "act")
    assert refused.exit_code == 2
    assert "is no project" in refused.stderr


def test_settings_outside_of_a_run_are_the_defaults() -> None:
    """Code that runs outside of the command line gets the default options."""
    assert settings() == Settings(project=None, debug=False)


def hcctl_process(*args: str, before: str = "", **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run hcctl's entry point in a fresh interpreter, after the code `before`."""
    code = f"{before}\nfrom cli.main import main\nmain()"
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT} | options
    return subprocess.run([sys.executable, "-c", code, *args], check=False, **options)


def test_reader_that_leaves_is_no_error() -> None:
    """`hcctl schema | head -1`: when nobody reads any more, hcctl ends without a word."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as closed:
        done = hcctl_process("schema", stdout=closed)
    assert done.stderr == b""
    assert done.returncode == 1


def test_entry_point_survives_a_terminal_without_unicode() -> None:
    """On a terminal that cannot show a character another one is shown."""
    done = hcctl_process("--project", "ünï", "validate", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 2
    assert b"where:  ?n?" in done.stderr


def test_interrupted_process_ends_with_130() -> None:
    """SIGINT to the real process ends it with 130 and no traceback."""
    code = (  # a background job of a shell ignores SIGINT, and its children with it
        "import os, signal, cli.commands.schema as s, click\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "@click.command()\n"
        "def command(): os.kill(os.getpid(), signal.SIGINT); signal.pause()\n"
        "s.command = command"
    )
    done = hcctl_process("schema", before=code)
    assert done.returncode == 128 + signal.SIGINT
    assert b"Traceback" not in done.stderr
