"""What every command starts from: the global options, the project, and a service file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serving.errors import InvalidInput
from serving.paths import PROJECT_FILE, SERVICE_FILE, ProjectPaths, find_project

if TYPE_CHECKING:
    from serving.project import HybridProject
    from serving.spec import HybridService


@dataclass
class Settings:
    """The global options, filled when the command line is parsed."""

    project: Path | None = None
    """Folder given with --project; None: look from the working folder upward."""
    debug: bool = False
    """Show tracebacks."""


@dataclass(frozen=True)
class Project:
    """A project on disk: where its files are, and what its file declares."""

    paths: ProjectPaths
    spec: HybridProject


def installed_version() -> str | None:
    """Version of the installed hcctl; None when it runs from a source tree."""
    from importlib import metadata

    try:
        return metadata.version("hcctl")
    except metadata.PackageNotFoundError:
        return None


def settings(context: click.Context | None = None) -> Settings:
    """The global options of this invocation; the defaults outside of one."""
    context = context or click.get_current_context(silent=True)
    found = context.find_object(Settings) if context else None
    return found or Settings()


def nearest_project(context: click.Context | None = None) -> ProjectPaths | None:
    """Paths of the project: --project, or the nearest one from the working folder upward; None without.

    Raises:
        InvalidInput: the folder given with --project is no project.
    """
    given = settings(context).project
    if given is None:
        return find_project(Path.cwd())
    if not (given / PROJECT_FILE).is_file():
        raise InvalidInput(
            "the folder given with --project is no project",
            where=str(given),
            why=f"it holds no {PROJECT_FILE}",
            next_step=f"make one with `hcctl init {given}`, or name another folder",
        )
    return ProjectPaths(given.resolve())


def project_paths(context: click.Context | None = None) -> ProjectPaths:
    """As `nearest_project`, but there must be one.

    Raises:
        InvalidInput: there is no project.
    """
    found = nearest_project(context)
    if found is None:
        raise InvalidInput(
            "there is no project here",
            where=str(Path.cwd()),
            why=f"neither this folder nor one above it holds {PROJECT_FILE}",
            next_step="make one with `hcctl init`, or name one with `hcctl --project DIR`",
        )
    return found


def open_project(context: click.Context | None = None) -> Project:
    """The project with its file loaded and checked.

    Raises:
        InvalidInput: there is no project, or its file is not valid.
    """
    from serving.loading import load_project

    paths = project_paths(context)
    return Project(paths=paths, spec=load_project(paths.project_file))


def open_running(context: click.Context | None = None) -> Project:
    """The project as `hcctl up` put it in force; as its file declares it when it is not up.

    Raises:
        InvalidInput: there is no project, or its file is not valid.
    """
    from serving.loading import load_project

    paths = project_paths(context)
    accepted = paths.accepted_project_file
    return Project(paths=paths, spec=load_project(accepted if accepted.is_file() else paths.project_file))


def load_service(path: Path | None, project: Project) -> HybridService:
    """The service of file `path` (default: the project's), checked against the project.

    Raises:
        InvalidInput: the file is not valid, or contradicts the project.
    """
    from serving import loading

    return loading.load_service(path or project.paths.root / SERVICE_FILE, project=project.spec)
