"""A stack of the Pulumi program: its file, its cost, and the engine that applies it, through the Automation API.

The program runs in this process, so it runs with the versions that hcctl was installed with; only the engine, the
`pulumi` executable, comes from outside.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from serving.errors import HcctlError, InvalidInput
from serving.loading import read, short_path

if TYPE_CHECKING:
    from pulumi.automation import Stack
    from pulumi.automation.errors import CommandError

    from infra.costs import Estimate
    from infra.stack_config import StackConfig

PROJECT = "hcctl"
KEY = "hcctl:stack"
_INSTALL = "https://www.pulumi.com/docs/install/"


def load_config(folder: Path, name: str) -> StackConfig:
    """The configuration of a stack from its file, `Pulumi.<name>.yaml`.

    Raises:
        InvalidInput: there is no such file, or it is not valid.
    """
    from infra.stack_config import ConfigError, load

    path = folder / f"Pulumi.{name}.yaml"
    if not path.is_file():
        raise InvalidInput(
            "there is no such stack here",
            where=short_path(path),
            why="a stack is declared in a file of that name",
            next_step="copy infra/Pulumi.example.yaml to it and edit it, or name its folder with --dir",
        )
    source = read(path)
    settings = source.data.get("config")
    try:
        return load(settings.get(KEY) if isinstance(settings, dict) else None)
    except ConfigError as error:
        field = tuple(int(part) if part.isdigit() else part for part in error.field.split("."))
        where = source.where(("config", KEY, *field))
        raise InvalidInput("the stack is not valid", where=where, why=error.why, next_step=error.fix) from None


def estimate_of(config: StackConfig, prices: Path | None) -> Estimate:
    """What the stack costs in a month.

    Raises:
        InvalidInput: the price file is missing or of another form, or lacks a price that the stack needs.
    """
    from infra.costs import UnknownPrice, estimate, load_prices

    try:
        return estimate(config, load_prices(prices))
    except (UnknownPrice, OSError) as error:
        raise InvalidInput(
            "the cost of the stack is unknown",
            where=short_path(prices) if prices else "the prices that come with hcctl",
            why=str(error),
            next_step="write a file in the form of infra/prices.yaml and name it with --prices",
        ) from None


def open_stack(folder: Path, name: str, *, create: bool) -> Stack:
    """The stack in the backend that `pulumi login` chose; made there first if `create`.

    Raises:
        HcctlError: Pulumi's library or its engine is not installed, or the engine refuses.
    """
    try:
        from pulumi import automation
        from pulumi.automation.errors import CommandError, InvalidVersionError
    except ModuleNotFoundError as error:
        raise HcctlError(
            "the parts for clusters are not installed",
            why=f"there is no module {error.name}",
            next_step="pip install 'hcctl[infra]'",
        ) from None
    try:
        engine = automation.PulumiCommand()
    except FileNotFoundError:
        raise HcctlError(
            "the Pulumi engine is not installed",
            why="there is no `pulumi` on PATH; no Python package brings it",
            next_step=f"install it ({_INSTALL}), then `pulumi login`, and run this again",
        ) from None
    except (InvalidVersionError, subprocess.CalledProcessError) as error:
        raise HcctlError(
            "the Pulumi engine cannot be used", why=str(error)[:300], next_step=f"install a newer one ({_INSTALL})"
        ) from None
    options = automation.LocalWorkspaceOptions(work_dir=str(folder), pulumi_command=engine)
    choose = automation.create_or_select_stack if create else automation.select_stack
    try:
        return choose(stack_name=name, project_name=PROJECT, program=_program, opts=options)
    except CommandError as error:
        refuse(error, name)


def refuse(error: CommandError, stack: str) -> NoReturn:
    """Turn what the engine says into the one error of a command.

    Raises:
        HcctlError: always.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line.partition("error:")[2].strip() for line in lines if "error:" in line]
    why = next(filter(None, told), lines[-1] if lines else "it gave no reason")
    raise HcctlError(
        "Pulumi did not finish",
        where=f"stack {stack}",
        why=why[:500],
        next_step="mend what it names and run the command again: it goes on from what is there",
    ) from None


def _program() -> None:
    """Loaded by the engine's first question; AWS's library takes a second."""
    from infra.program import build

    build()
