"""Write docs/cli.md from the commands themselves: `python docs/reference/generate_cli.py`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from cli.main import VERBS, app
from serving import errors

TARGET = Path(__file__).parents[1] / "cli.md"

HEAD = """# The command line

Made from the commands by `docs/reference/generate_cli.py`; `hcctl VERB --help` says the same.

Data goes to stdout, progress and errors to stderr. Colour is used on a terminal only, and never with
`--no-color` or `NO_COLOR`. Reading commands take `-o table|json|yaml`; `json` and `yaml` carry every
field with exact numbers. Writing commands wait and tell the progress; with `--no-wait`, after Ctrl-C
or after `--timeout` the work goes on in the daemon. Every verb takes `-h` or `--help`.

An error has up to four lines: what failed, `where:`, `why:` and `next:`, the command that mends it.
A traceback is printed only with `--debug`.
"""

MEANINGS = (
    (0, "done; of `diff`: no difference; of `doctor`: nothing failed"),
    (
        1,
        "error; of `diff`: differences; of `doctor`: a field failed; of `demo`: a promise was not kept; "
        "of `model evaluate --against`: the version may not replace the other",
    ),
    (errors.InvalidInput.exit_code, "the command line or a file is not valid, or the request makes no sense now"),
    (errors.WaitTimeout.exit_code, "the wait was too long; the work goes on in the daemon"),
    (errors.RolledBack.exit_code, "the release was rolled back; the former version serves"),
    (errors.RefusedByBudget.exit_code, "a spend cap forbids it"),
    (130, "interrupted by Ctrl-C"),
)

ENVIRONMENT = (
    ("HCCTL_PROJECT", "folder of the project, as `--project`"),
    ("HCCTL_OUTPUT", "`table`, `json` or `yaml`, as `-o` of every command that has it"),
    ("HCCTL_DATA", "folder with a shop's orders, for `hcctl demo` and `make demo`"),
    ("HCCTL_VERB_OPTION", "any other option by its long name, e.g. `HCCTL_DEPLOY_TIMEOUT=60`"),
    ("NO_COLOR", "set: no colour"),
    ("TMPDIR", "where sockets and Ray's session files go; must be a short path (`hcctl doctor` checks it)"),
)


def reference() -> str:
    """The whole page."""
    parts = [HEAD, "\n## Exit codes\n\n| code | meaning |\n|---|---|\n"]
    parts += [f"| {code} | {meaning} |\n" for code, meaning in MEANINGS]
    parts.append("\n## Environment\n\nAn option on the command line wins over the environment.\n\n")
    parts.append("| variable | meaning |\n|---|---|\n")
    parts += [f"| `{name}` | {meaning} |\n" for name, meaning in ENVIRONMENT]
    parts.append("\n## hcctl\n")
    parts += _usage(app, "hcctl")
    with click.Context(app, info_name="hcctl") as context:
        for group, verbs in VERBS.items():
            parts.append(f"\n## {group}\n")
            for verb in verbs:
                command = app.get_command(context, verb)
                if command is None:
                    raise LookupError(verb)
                parts += _command(command, f"hcctl {verb}")
    return "".join(parts)


def _command(command: click.Command, path: str) -> Iterator[str]:
    """The section of one command, and those of its subcommands."""
    yield f"\n### `{path}`\n"
    yield from _help(command)
    if isinstance(command, click.Group):
        for name in command.commands:
            yield from _command(command.commands[name], f"{path} {name}")
    else:
        yield from _usage(command, path)


def _help(command: click.Command) -> Iterator[str]:
    """The command's own words; what click prints as it stands becomes a block."""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        lines = paragraph.splitlines()
        if lines and lines[0].strip() == "\b":
            yield "\n```\n" + "\n".join(lines[1:]) + "\n```\n"
        else:
            yield "\n" + " ".join(lines) + "\n"


def _usage(command: click.Command, path: str) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    yield f"\n```\n{path} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    options = [option for option in command.params if isinstance(option, click.Option)]
    rows = [record for option in options if (record := option.get_help_record(context))]
    if rows:
        yield "\n| option | meaning |\n|---|---|\n"
        yield from (f"| `{_cell(names)}` | {_cell(text)} |\n" for names, text in rows)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
