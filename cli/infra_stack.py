"""A stack of the Pulumi program: its file, its cost, and the engine that applies it, through the Automation API.

The program runs in this process, so it runs with the versions that hcctl was installed with; only the engine, the
`pulumi` executable, comes from outside.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from serving.errors import HcctlError, InvalidInput
from serving.loading import read, short_path

if TYPE_CHECKING:
    from pulumi.automation import Stack
    from pulumi.automation.errors import CommandError

    from infra.costs import Estimate, Prices
    from infra.outputs import StackOutputs
    from infra.stack_config import StackConfig

T = TypeVar("T")

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
    there = False
    with contextlib.suppress(OSError):  # a name that no file system takes
        there = path.is_file()
    if not there:
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


def price_book(file: Path | None) -> Prices:
    """The prices of a file; those that come with hcctl if none is named.

    Raises:
        InvalidInput: the file is missing or of another form.
    """
    from infra.costs import UnknownPrice, load_prices

    try:
        return load_prices(file)
    except (UnknownPrice, OSError) as error:
        raise _unpriced("the prices cannot be read", file, error) from None


def estimate_of(config: StackConfig, prices: Path | None) -> Estimate:
    """What the stack costs in a month.

    Raises:
        InvalidInput: the price file is missing or of another form, or lacks a price that the stack needs.
    """
    from infra.costs import UnknownPrice, estimate

    try:
        return estimate(config, price_book(prices))
    except UnknownPrice as error:
        raise _unpriced("the cost of the stack is unknown", prices, error) from None


def _unpriced(what: str, file: Path | None, error: Exception) -> InvalidInput:
    return InvalidInput(
        what,
        where=short_path(file) if file else "the prices that come with hcctl",
        why=str(error),
        next_step="write a file in the form of infra/prices.yaml and name it with --prices",
    )


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


def outputs_of(opened: Stack, stack: str) -> StackOutputs:
    """What the stack gives to others, secrets included.

    Raises:
        InvalidInput: it gives other outputs than this hcctl reads, or none.
        HcctlError: the engine refuses.
    """
    from infra.outputs import UnknownOutputs, read

    found = engine(stack, opened.outputs)
    try:
        return read({name: part.value for name, part in found.items()})
    except UnknownOutputs as error:
        raise InvalidInput(
            "the stack gives other outputs than this hcctl reads",
            where=f"stack {stack}",
            why=str(error) if found else "it gives none",
            next_step=f"run `hcctl infra up --stack {stack}` with this hcctl",
        ) from None


def engine(stack: str, call: Callable[[], T]) -> T:
    """Let the engine work.

    Raises:
        HcctlError: it did not finish.
    """
    from pulumi.automation.errors import CommandError

    try:
        return call()
    except CommandError as error:
        refuse(error, stack)


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
