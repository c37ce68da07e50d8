"""`hcctl infra`: make, show and take down clusters, network and GPU pools, through Pulumi's Automation API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli import output
from cli.options import prices_option, stack_folder_option
from serving.errors import HcctlError, InvalidInput

if TYPE_CHECKING:
    from infra.costs import Estimate

Command = TypeVar("Command", bound=Callable[..., Any])

COST_COLUMNS = (
    "item",
    output.Column("usd_at_rest", "at rest", output.usd, right=True),
    output.Column("usd_at_full_size", "full size", output.usd, right=True),
)


def _stack_options(command: Command) -> Command:
    """Add `--stack NAME` and `--dir DIR` (as `folder`)."""
    stack = click.option("--stack", metavar="NAME", required=True, help="The stack, declared in Pulumi.NAME.yaml.")
    return stack(stack_folder_option(command))


@click.group("infra")
def command() -> None:
    """Make clusters, network and GPU pools with Pulumi.

    Needs hcctl[infra], the Pulumi engine on PATH, and credentials of AWS.
    """


@command.command("preview")
@_stack_options
@prices_option
@output.output_option
def preview(stack: str, folder: Path, prices: Path | None, output_format: output.Output) -> None:
    """Show what `up` would change, and what the stack costs in a month. Changes nothing."""
    from cli.infra_stack import engine, estimate_of, load_config, open_stack

    cost = estimate_of(load_config(folder, stack), prices)
    opened = open_stack(folder, stack, create=True)
    engine(stack, lambda: opened.preview(on_output=output.progress, color="never"))
    _show(cost, output_format)


@command.command("up")
@_stack_options
@prices_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def up(stack: str, folder: Path, prices: Path | None, yes: bool) -> None:
    """Make it so. The cost of a month is told first."""
    from cli.infra_stack import engine, estimate_of, load_config, open_stack

    cost = estimate_of(load_config(folder, stack), prices)
    opened = open_stack(folder, stack, create=True)
    _tell(cost)
    if not yes:
        click.confirm(f"Apply stack {stack}?", abort=True, err=True)
    engine(stack, lambda: opened.up(on_output=output.progress, color="never", suppress_outputs=True))
    output.success(f"stack {stack} stands; `hcctl infra outputs --stack {stack}` shows what it gives")


@command.command("outputs")
@_stack_options
@click.option("--show-secrets", is_flag=True, help="Also the outputs that open a door.")
@output.output_option
def outputs(stack: str, folder: Path, show_secrets: bool, output_format: output.Output) -> None:
    """Show what the stack gives to others. Secrets are null unless asked for."""
    from cli.infra_stack import open_stack, outputs_of
    from infra.outputs import SECRET

    known = outputs_of(open_stack(folder, stack, create=False), stack).model_dump()
    hidden = frozenset() if show_secrets else SECRET
    output.emit({name: None if name in hidden else value for name, value in known.items()}, output_format)


@command.command("destroy")
@_stack_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def destroy(stack: str, folder: Path, yes: bool) -> None:
    """Take everything down but data: protected buckets, images and keys make Pulumi stop, and say so."""
    from cli.infra_stack import engine, open_stack

    opened = open_stack(folder, stack, create=False)
    if not yes:
        typed = click.prompt(f"Type {stack} to destroy it", err=True)
        if typed != stack:
            raise InvalidInput("nothing was destroyed", where=f"stack {stack}", why=f"{typed!r} is not its name")
    engine(stack, lambda: opened.destroy(on_output=output.progress, color="never"))
    output.success(f"stack {stack} is gone")


@command.command("prices")
@click.option("--region", required=True, metavar="REGION", help="Of the machines.")
@prices_option
def prices_of(region: str, prices: Path | None) -> None:
    """Write the price book with AWS's prices of today for its machines. Put it into a file for `--prices`.

    Needs hcctl[aws] and the rights to pricing:GetProducts and ec2:DescribeSpotPriceHistory; without the latter spot
    prices stay as they are, and so does all that is no machine hour.
    """
    from datetime import UTC, datetime

    from autoscaler.capacity.aws_calls import asking
    from infra.costs import UnknownPrice, load_prices
    from infra.price_list import read_hours, read_spot_hours, refreshed

    now, spot = datetime.now(UTC), None
    try:
        former = load_prices(prices)
        kinds = former.region(region).instance_hours
        with asking("the price list cannot be read", region):
            hours = read_hours(_price_list(), region, kinds)
        try:
            with asking("spot prices cannot be read", region):
                spot = read_spot_hours(_machines(region), kinds, now)
        except (HcctlError, UnknownPrice) as error:
            told = error.one_line() if isinstance(error, HcctlError) else str(error)
            output.warning(f"{told}; those of the book stay, as of {former.region(region).spot_as_of or former.as_of}")
        book = refreshed(former, region, hours, spot, on=now.date().isoformat())
    except (UnknownPrice, OSError) as error:
        raise InvalidInput(
            "the prices cannot be read", where=region, why=str(error), next_step="correct --region or --prices"
        ) from None
    output.emit(book.model_dump(), "yaml")


def _price_list() -> Any:
    """A client of the Price List API."""
    from autoscaler.capacity.aws_calls import client
    from infra.price_list import API_REGION

    return client("pricing", API_REGION)


def _machines(region: str) -> Any:
    """A client of EC2."""
    from autoscaler.capacity.aws_calls import client

    return client("ec2", region)


def _rows(cost: Estimate) -> list[dict[str, Any]]:
    rows = [vars(line) for line in cost.lines]
    return [*rows, {"item": "month", "usd_at_rest": cost.usd_at_rest, "usd_at_full_size": cost.usd_at_full_size}]


def _show(cost: Estimate, output_format: output.Output) -> None:
    """The estimate as data."""
    if output_format == "table":
        output.emit(
            _rows(cost), output_format, columns=COST_COLUMNS, title=f"A month, at list prices as of {cost.as_of}"
        )
    else:
        output.emit({"as_of": cost.as_of, "source": cost.source, "lines": _rows(cost)}, output_format)


def _tell(cost: Estimate) -> None:
    """The estimate as progress."""
    output.progress(
        f"a month costs {output.usd(cost.usd_at_rest)} at rest and at most {output.usd(cost.usd_at_full_size)} at full "
        f"size, at list prices as of {cost.as_of}; egress, storage and requests come on top"
    )
