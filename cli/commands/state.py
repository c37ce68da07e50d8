"""`hcctl state`: the project's state out into one file, and back in."""

from __future__ import annotations

from pathlib import Path

import click

from cli import output
from cli.context import installed_version, open_project


@click.group(name="state")
def command() -> None:
    """Export and import the project's state: what is wanted, decided, released and spent."""


@command.command(name="export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--versions", is_flag=True, help="With all versions of the registry; else only the state.")
def export(file: Path, versions: bool) -> None:
    """Write a consistent copy of the state to the new FILE, readable by its owner only.

    The project may run meanwhile. API keys and logs are not in it.
    """
    import time

    from cli.stores import require_file
    from serving.transfer import export_state

    project = open_project()
    require_file(project)
    manifest = export_state(
        project.paths,
        file.absolute(),
        project=project.spec.name,
        hcctl=installed_version() or "",
        versions=versions,
        at_s=time.time(),
    )
    size_bytes = sum(entry.size_bytes for entry in manifest.files)
    output.success(f"{file}: {len(manifest.files)} files, {size_bytes:,} bytes")
    if not versions:
        output.progress("the registry's versions are not in it; --versions adds them")


@command.command(name="import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Replace state that is here; the former is kept beside it.")
def load(file: Path, force: bool) -> None:
    """Put the state of FILE in place of this project's, which must be down.

    Another folder or machine than the one it was exported from will do. Everything is checked first;
    nothing rented is taken over.
    """
    import time

    from cli import wiring
    from cli.stores import require_file
    from serving.transfer import import_state

    project = open_project()
    require_file(project)
    with wiring.project_down(project.paths):
        done = import_state(project.paths, file.absolute(), force=force, at_s=time.time())
    if done.former is not None:
        output.progress(f"the former state is kept in {done.former}")
    origin = f"state of {done.manifest.project} of {output.when(done.manifest.created_at_s)}"
    output.success(f"{origin} is in place; `hcctl up` goes on from there")
    for version in done.missing:
        output.warning(f"version {version[:12]} is not in the registry: push it again, or import an export --versions")
