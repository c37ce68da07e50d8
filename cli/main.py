"""The entry point of `hcctl`: verbs, global options, and how every run ends.

A verb is loaded when it is used, so help and completion import none of them. How a run ends
is decided here alone: exit codes, errors in four lines, tracebacks only with --debug.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import click

from cli import output
from cli.context import Settings, installed_version
from serving.errors import HcctlError, InvalidInput

VERBS: dict[str, dict[str, str]] = {
    "Set-up": {
        "init": "Write a commented project, service and example model.",
        "validate": "Check the project file and service files.",
        "schema": "Print the JSON schema of a file, for editors.",
        "up": "Start the project: supervisor, daemon, gateway, private site.",
        "down": "Stop everything the project runs; its state stays.",
        "doctor": "Check this machine and this project, field by field.",
        "demo": "See it work: a shop, a flash sale, a burst, and the way home.",
    },
    "Services": {
        "deploy": "Bring a version of a service to all its sites, with one verdict.",
        "diff": "Show what a deploy would change.",
        "status": "Show services, releases, sites and replicas.",
        "history": "List the releases of a service.",
        "rollback": "Return a service to an earlier version.",
        "abort": "End the running release; the stable version serves.",
        "remove": "Stop serving a service, and forget its declaration.",
        "logs": "Show the logs of daemon, gateway and sites.",
    },
    "Capacity": {
        "scale": "Hold a site of a service at a number of replicas, or let it go.",
        "why": "Show the latest decisions and their reasons.",
        "cost": "Show what was spent, what the month will cost, and what is saved.",
        "traffic": "Show a service's requests and latency of the past, hour by hour.",
        "simulate": "Run policies over recorded traffic, beside the clairvoyant.",
        "shadow": "Show what other policies would do with a service, and cost.",
        "autoscaler": "Run, pause or resume the daemon that scales.",
        "rehearse": "Let happen what only a provider does: take a spot node back.",
    },
    "Versions": {
        "model": "Clean a shop's data, train a recommender, and judge it.",
        "version": "Push, list and inspect versions of models.",
    },
    "Clusters": {
        "infra": "Make clusters, network and GPU pools with Pulumi.",
        "site": "Put the site that a stack has made into the project file.",
    },
    "Other": {
        "state": "Export and import the project's state.",
        "support-bundle": "Write one file with what helps to find a fault, without secrets.",
        "key": "Add, list and revoke API keys of the gateway.",
        "completion": "Print the completion script of a shell.",
    },
}
"""Verb and short help, grouped as `hcctl --help` shows them. Verb `x-y` is `cli.commands.x_y.command`."""

HELP = {verb: line for group in VERBS.values() for verb, line in group.items()}


def module_of(verb: str) -> str:
    """The module of a verb."""
    return f"cli.commands.{verb.replace('-', '_')}"


INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 plus the number of SIGINT, as shells have it."""


class Hcctl(click.Group):
    """The root command: loads a verb on use and turns every failure into an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(HELP)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in HELP:
            return None
        command = importlib.import_module(module_of(cmd_name)).command
        if not isinstance(command, click.Command):
            raise TypeError(f"{module_of(cmd_name)}.command is no click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        verb = args[0]
        if verb not in HELP and not verb.startswith("-"):
            close = difflib.get_close_matches(verb, HELP, n=1)
            ctx.fail(f"there is no verb {verb!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        width = max(map(len, HELP))
        for group, verbs in VERBS.items():
            with formatter.section(group):
                formatter.write_dl([(verb.ljust(width), line) for verb, line in verbs.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        verbs = [CompletionItem(verb, help=line) for verb, line in HELP.items() if verb.startswith(incomplete)]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)

    def main(self, *args: Any, **options: Any) -> NoReturn:
        """Run the command line and exit; the one way out of every verb.

        What a verb returns is its exit code; nothing is 0.
        """
        chosen = Settings()
        given: dict[str, Any] = {"prog_name": "hcctl", "auto_envvar_prefix": "HCCTL", "obj": chosen} | options
        given["standalone_mode"] = False
        try:
            code = super().main(*args, **given)
            sys.stdout.flush()
        except click.ClickException as problem:
            code = _usage(problem)
        except HcctlError as problem:
            _traceback(chosen)
            output.error(problem)
            code = problem.exit_code
        except (click.Abort, KeyboardInterrupt):
            code = INTERRUPTED
        except BrokenPipeError:
            code = _nobody_reads()
        except Exception as problem:
            _traceback(chosen)
            output.bug(problem)
            code = 1
        sys.exit(code if isinstance(code, int) else 0)


def _usage(problem: click.ClickException) -> int:
    context = getattr(problem, "ctx", None)
    if context is None or isinstance(problem, click.exceptions.NoArgsIsHelpError):
        problem.show()
    else:
        path = context.command_path
        output.error(InvalidInput(problem.format_message(), where=path, next_step=f"see `{path} --help`"))
    return problem.exit_code


def _traceback(chosen: Settings) -> None:
    if chosen.debug:
        traceback.print_exc()


def _nobody_reads() -> int:
    """The reader of stdout is gone (`hcctl why | head -1`): end without a word, like click and rich."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(f"hcctl {installed_version() or '(source tree, not installed)'}")
        context.exit()


@click.group("hcctl", cls=Hcctl, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--project",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of the project; otherwise the nearest one from here upward.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("--no-color", is_flag=True, help="Never colour the output; so does NO_COLOR.")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
@click.pass_context
def app(context: click.Context, project: Path | None, debug: bool, no_color: bool) -> None:
    """One model service on two sites: private GPUs first, cloud GPUs while they pay.

    Start with `hcctl init`, or watch `hcctl demo`. Each option can be set in the environment:
    HCCTL_PROJECT, or HCCTL_DEPLOY_TIMEOUT for `hcctl deploy --timeout`.
    """
    chosen = context.ensure_object(Settings)
    chosen.project = project
    chosen.debug = debug
    output.use_colour(not no_color)


def main() -> NoReturn:
    """Entry point of the `hcctl` script."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            # A terminal that cannot show a character gets another one, not a traceback.
            reconfigure(errors="replace")
    app.main()
