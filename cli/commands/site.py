"""`hcctl site`: the project's sites as they are, and those that a Pulumi stack has made into the project file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.context import open_project
from cli.options import prices_option, stack_folder_option
from serving.errors import InvalidInput

if TYPE_CHECKING:
    from infra.outputs import StackOutputs
    from serving.project import SiteSpec
    from serving.sites.site import Site, SiteObservation

MAX_OUTPUTS_BYTES = 1 << 20


@click.group("site")
def command() -> None:
    """Show the project's sites, and put others into the project file."""


@command.command("list")
@output.output_option
def list_sites(output_format: output.Output) -> None:
    """Show the sites as they are now: open or closed, what runs there, and what blocks.

    Each is asked itself, so no daemon is needed; one that does not answer has no replicas to show, and says why.
    """
    from concurrent.futures import ThreadPoolExecutor

    from cli import wiring

    project = open_project()
    found = wiring.sites(project)
    with ThreadPoolExecutor(len(found)) as threads:
        seen = list(threads.map(_look, found.values()))
    rows = [_row(project.spec.sites[each.site], each) for each in seen]
    columns: list[output.Column | str] = [
        "site",
        "role",
        "place",
        output.Column("phase", render=output.state),
        output.Column("ready", right=True),
        output.Column("wanted", right=True),
        output.Column("max_nodes", right=True),
        "ingress",
        "message",
    ]
    output.emit(rows, output_format, columns=columns)


def _look(site: Site) -> SiteObservation:
    """A site as it is; the first look pays for imports and connections, so one without an answer is no last word."""
    seen = site.observe()
    return site.observe() if seen.applications is None and seen.message else seen


def _row(spec: SiteSpec, seen: SiteObservation) -> dict[str, Any]:
    """What is declared of a site and what it says of itself; unknown is None."""
    where, running = spec.kubernetes, seen.applications
    context = where.context or where.kubeconfig if where else None
    return {
        "site": seen.site,
        "role": spec.role,
        "kind": spec.kind,
        "place": f"{where.namespace}{f' of {context}' if context else ''}" if where else "this computer",
        "phase": seen.phase,
        "applications": None if running is None else [each.name for each in running],
        "ready": None if running is None else sum(each.replicas_ready for each in running),
        "wanted": None if running is None else sum(each.replicas_target for each in running),
        "max_nodes": spec.max_nodes,
        "ingress": f"{seen.ingress.host}:{seen.ingress.port}" if seen.ingress else None,
        "message": seen.message or None,
    }


@command.command("add")
@click.argument("name")
@click.option("--from-stack", "stack", metavar="STACK", help="Pulumi stack that has made it; needs the engine.")
@stack_folder_option
@click.option(
    "--from-outputs",
    "outputs_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Its outputs instead, as `hcctl infra outputs -o json` writes them.",
)
@click.option("--image", metavar="IMAGE", help="Image of the pods, by tag or digest.")
@click.option("--claim", metavar="NAME", help="Volume claim with the versions, instead of the stack's bucket.")
@click.option(
    "--kubeconfig",
    metavar="FILE",
    help="Path to one of your own, from the project's folder; otherwise the stack's is written beside hcctl.yaml.",
)
@prices_option
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def add(
    name: str,
    stack: str | None,
    folder: Path,
    outputs_file: Path | None,
    image: str | None,
    claim: str | None,
    kubeconfig: str | None,
    prices: Path | None,
    yes: bool,
) -> None:
    """Add the cloud site of a stack to hcctl.yaml as NAME, and show what changes.

    Nothing that stands there is changed or overwritten. Secrets are referred to, never written.
    """
    import stat

    from cli.infra_stack import price_book
    from cli.site_of_stack import Choices, cloud_site, without_secrets
    from cli.site_text import with_site
    from serving.files import write_atomic
    from serving.loading import short_path

    if (stack is None) == (outputs_file is None):
        raise click.UsageError("name the stack with --from-stack, or a file of its outputs with --from-outputs")
    project = open_project()
    outputs = _of_stack(folder, stack) if stack is not None else _of_file(outputs_file or Path())
    book = price_book(prices)
    access = project.paths.root / f"{name}.kubeconfig"
    way_in: tuple[str, str | None] = (access.name, outputs.name) if kubeconfig is None else (kubeconfig, None)
    chosen = Choices(image, claim, *way_in)
    found = cloud_site(outputs, book, chosen)
    file = project.paths.project_file.resolve()  # a link stays one
    before = file.read_bytes()
    after = with_site(before, name, found.site, found.notes, file=short_path(project.paths.project_file))
    door = without_secrets(outputs.kubeconfig).encode() if kubeconfig is None else None
    if door is not None and access.exists() and access.read_bytes() != door:
        raise InvalidInput(
            "there is another kubeconfig for this site",
            where=short_path(access),
            why="a file is never overwritten",
            next_step="move it away, or name it with --kubeconfig",
        )
    click.echo(_difference(before, after, file.name), nl=False)
    for told in (*found.warnings, f"prices as of {book.as_of}: {book.source}"):
        output.warning(told)
    if not yes:
        click.confirm(f"Add site {name} to {file.name}?", abort=True, err=True)
    if file.read_bytes() != before:
        raise InvalidInput(
            "the project file was changed meanwhile", where=short_path(file), next_step="run the command again"
        )
    if door is not None:
        write_atomic(access, door)
    write_atomic(file, after, stat.S_IMODE(file.stat().st_mode))
    output.success(
        f"site {name} is in {file.name}; name it in `sites` of a service, then `hcctl up` and `hcctl deploy`"
    )


def _difference(before: bytes, after: bytes, name: str) -> str:
    import difflib

    old, new = (text.decode().splitlines(keepends=True) for text in (before, after))
    return "".join(difflib.unified_diff(old, new, fromfile=name, tofile=name))


def _of_stack(folder: Path, stack: str) -> StackOutputs:
    from cli.infra_stack import open_stack, outputs_of

    return outputs_of(open_stack(folder, stack, create=False), stack)


def _of_file(file: Path) -> StackOutputs:
    import json

    from infra.outputs import UnknownOutputs, read
    from serving.loading import short_path

    try:
        with file.open("rb") as opened:
            data = json.loads(opened.read(MAX_OUTPUTS_BYTES))
        if not isinstance(data, dict):
            raise UnknownOutputs("it is no object")
        return read(data)
    except (UnknownOutputs, OSError, ValueError, RecursionError) as error:
        raise InvalidInput(
            "these are no outputs of a stack",
            where=short_path(file),
            why=str(error)[:300],
            next_step="write them with `hcctl infra outputs --stack STACK -o json`, by this hcctl",
        ) from None
