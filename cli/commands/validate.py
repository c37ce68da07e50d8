"""`hcctl validate`: check the files before anything runs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from cli import output
from cli.context import nearest_project, project_paths
from cli.options import Number
from serving.errors import InvalidInput
from serving.loading import load_project, read, short_path, to_project, to_service
from serving.paths import SERVICE_FILE
from serving.project import HybridProject
from serving.spec import HybridService
from serving.strict_yaml import Source

_IMPORT = """
import importlib, sys
module, _, attribute = sys.argv[1].partition(":")
getattr(importlib.import_module(module), attribute)
"""
"""What the child process runs; the model's own code stays out of this one."""

_COLUMNS = (output.Column("result", render=output.state), "file", "kind", "name")


@click.command("validate")
@click.option(
    "-f", "--file", "files", multiple=True, type=click.Path(path_type=Path), help="File to check; may repeat."
)
@click.option("--imports", is_flag=True, help="Also import the model, in a process of its own.")
@click.option(
    "--import-timeout",
    "import_timeout_s",
    type=Number(0, 3600, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest time an import may take.",
)
@output.output_option
def command(files: tuple[Path, ...], imports: bool, import_timeout_s: float, output_format: output.Output) -> None:
    """Check the project file and service files; without -f both files of the project."""
    if not files:
        paths = project_paths()
        files = (paths.project_file, paths.root / SERVICE_FILE)
    sources = [read(file) for file in files]
    project = _project(sources)
    rows = []
    for file, source in zip(files, sources, strict=True):
        if source.data.get("kind") == "HybridProject":
            name = to_project(source).name
        else:
            service = to_service(source, project=project)
            name = service.name
            if imports:
                for path, field in _import_paths(service):
                    _check_import(path, file.resolve().parent, import_timeout_s, source.where(field))
        rows.append({"result": "ok", "file": source.name, "kind": source.data["kind"], "name": name})
    output.emit(rows, output_format, columns=_COLUMNS)
    if project is None:
        output.warning("checked without a project: the sites may still not be those of one")


def _import_paths(service: HybridService) -> list[tuple[str, tuple[str, ...]]]:
    """The code that the service names, each with its field."""
    found: list[tuple[str, tuple[str, ...]]] = [(service.model.import_path, ("model", "import_path"))]
    light = service.relief.light if service.relief else None
    if light and light.variant:
        found.append((light.variant.import_path, ("relief", "light", "variant", "import_path")))
    return found


def _project(sources: Sequence[Source]) -> HybridProject | None:
    """The project that services are checked against: one of the files, else the one around, else none."""
    for source in sources:
        if source.data.get("kind") == "HybridProject":
            return to_project(source)
    around = nearest_project()
    return load_project(around.project_file) if around else None


def _check_import(import_path: str, folder: Path, timeout_s: float, where: str) -> None:
    """Import the model in a child process that finds modules in `folder` first.

    Raises:
        InvalidInput: it cannot be imported, or not within the time.
    """
    search = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    child = subprocess.Popen(
        [sys.executable, "-c", _IMPORT, import_path],
        env=os.environ | {"PYTHONPATH": search},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        _, said = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        why = f"it took longer than {output.seconds(timeout_s)}"
    else:
        if child.returncode == 0:
            return
        why = next(reversed(said.split("\n")[:-1]), f"it ended with exit code {child.returncode}")
    finally:
        # The import may have started processes of its own; they are in its session.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    raise InvalidInput(
        f"the model {import_path} cannot be imported",
        where=where,
        why=why[:500],
        next_step=f"put the module into {short_path(folder)} or install it, or correct model.import_path",
    )
