"""`hcctl version`: push, replicate, list and inspect versions of models."""

from __future__ import annotations

import getpass
import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.context import Project, load_service, open_project
from serving.errors import InvalidInput

if TYPE_CHECKING:
    from pydantic import JsonValue

    from serving.manifest import Manifest

_GIT_TIMEOUT_S = 5

_name_option = click.option(
    "--name", metavar="NAME", help="What it is a version of. [default: the service of the project's service.yaml]"
)


@click.group("version")
def command() -> None:
    """Push, replicate, list and inspect versions of models.

    A version is a folder of files, named by the hash of its content: weights as safetensors,
    JSON and text beside them. A changed byte is found before the version is used.
    """


@command.command("push")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@_name_option
@click.option(
    "--config", "config_file", metavar="FILE", type=click.Path(path_type=Path), help="JSON the model is built with."
)
@click.option(
    "--schema", "schema_file", metavar="FILE", type=click.Path(path_type=Path), help="JSON of what it takes and gives."
)
@click.option("--metric", "metrics", metavar="KEY=NUMBER", multiple=True, help="How good it is; may be repeated.")
@output.output_option
def push(
    folder: Path,
    name: str | None,
    config_file: Path | None,
    schema_file: Path | None,
    metrics: tuple[str, ...],
    output_format: output.Output,
) -> None:
    """Store the files in DIR as a version, copy it to where sites read it, and print its id.

    The same content pushed again is the same version.
    """
    from cli import wiring

    project = open_project()
    registry = wiring.registry(project.paths)
    manifest = registry.push(
        folder,
        name=name or _service_name(project),
        config=_json_object(config_file),
        metrics=dict(map(_metric, metrics)),
        schema=_json_object(schema_file),
        provenance={"created_by": _user(), "git_commit": _git_commit(folder)},
        at_s=time.time(),
    )
    wiring.replicate(project, registry.directory(manifest.version))
    if output_format == "table":
        click.echo(manifest.version)
        output.progress(f"a version of {manifest.name}; bring it to the sites with `hcctl deploy`")
    else:
        output.emit(_row(manifest), output_format)


@command.command("replicate")
@click.argument("ref")
@_name_option
def replicate(ref: str, name: str | None) -> None:
    """Copy the version REF (`latest`, an id, or the beginning of one) to where sites read it.

    What is there already is left alone; what is damaged there is mended.
    """
    from cli import wiring
    from serving.registry import LATEST

    project = open_project()
    registry = wiring.registry(project.paths)
    manifest = registry.resolve(ref, (name or _service_name(project)) if ref == LATEST else "")
    if not wiring.copies_of(project):
        raise InvalidInput(
            "no site of this project reads versions from elsewhere",
            where="artefacts",
            next_step="declare artefacts.bucket or artefacts.folder of a Kubernetes site in hcctl.yaml",
        )
    wiring.replicate(project, registry.directory(manifest.version))


@command.command("list")
@click.option("--name", metavar="NAME", help="Only versions of this.")
@output.output_option
def show(name: str | None, output_format: output.Output) -> int:
    """List the versions, newest first.

    Damaged ones are told on stderr; the exit code is then 1.
    """
    from cli import wiring

    registry = wiring.registry(open_project().paths)
    rows = [_row(manifest) for manifest in registry.list() if name in {None, manifest.name}]
    output.emit(rows, output_format, columns=_COLUMNS, empty="No version yet; push one with `hcctl version push DIR`.")
    damaged = registry.damaged()
    for problem in damaged:
        output.error(problem)
    return 1 if damaged else 0


@command.command("inspect")
@click.argument("ref")
@_name_option
@click.option("--verify", is_flag=True, help="Read all its files and compare them with their hashes.")
@output.output_option
def inspect(ref: str, name: str | None, verify: bool, output_format: output.Output) -> None:
    """Show the version REF: `latest`, an id, or the beginning of one."""
    from cli import wiring
    from serving.registry import LATEST, verify_version

    project = open_project()
    registry = wiring.registry(project.paths)
    manifest = registry.resolve(ref, (name or _service_name(project)) if ref == LATEST else "")
    directory = registry.directory(manifest.version)
    if verify:
        verify_version(directory)
    found = {**manifest.model_dump(mode="json"), "directory": str(directory), "verified": verify or None}
    output.emit(found, output_format, columns=_FIELDS)


def _row(manifest: Manifest) -> dict[str, Any]:
    return {
        "version": manifest.version,
        "name": manifest.name,
        "created_at_s": manifest.provenance.created_at_s,
        "files": len(manifest.files),
        "size_bytes": sum(file.size_bytes for file in manifest.files),
        "metrics": manifest.metrics,
    }


def _service_name(project: Project) -> str:
    try:
        return load_service(None, project).name
    except InvalidInput as problem:
        raise InvalidInput(
            "it is not known what this is a version of",
            where="--name",
            why=problem.one_line(),
            next_step="name the service: --name NAME",
        ) from problem


def _json_object(file: Path | None) -> dict[str, JsonValue]:
    if file is None:
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as problem:
        raise InvalidInput(
            "the file cannot be read", where=str(file), why=problem.strerror or "", next_step="name a JSON file"
        ) from problem
    except (ValueError, RecursionError) as problem:
        raise InvalidInput(
            "the file is not valid JSON", where=str(file), why=str(problem)[:200], next_step="correct it"
        ) from problem
    if not isinstance(found, dict):
        raise InvalidInput("the file holds no JSON object", where=str(file), next_step='write {"key": value, ...}')
    return found


def _metric(text: str) -> tuple[str, float]:
    key, equals, number = text.partition("=")
    try:
        if key and equals:
            return key, float(number)
    except ValueError:
        pass  # Told below, like a missing `=`.
    raise InvalidInput(
        "the metric is not KEY=NUMBER",
        where=f"--metric {text[:80]}",
        next_step="for example --metric recall_at_10=0.31",
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # A container may run under an id without a name.
        return str(os.getuid())


def _git_commit(folder: Path) -> str | None:
    """The commit the artefact's folder is at; None outside of a repository or without git."""
    try:
        run = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],  # noqa: S607 - the user's git, from PATH
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    commit = run.stdout.strip()
    return commit if re.fullmatch(r"[0-9a-f]{40,64}", commit) else None


def _metrics(metrics: dict[str, float]) -> str:
    return ", ".join(f"{key} {output.number(value)}" for key, value in metrics.items())


def _files(files: list[dict[str, Any]]) -> str:
    return "\n".join(f"{file['name']} ({output.number(file['size_bytes'])} bytes)" for file in files)


def _provenance(provenance: dict[str, Any]) -> str:
    told = [output.when(provenance["created_at_s"])]
    if provenance["created_by"]:
        told.append(f"by {provenance['created_by']}")
    if provenance["git_commit"]:
        told.append(f"at commit {provenance['git_commit'][:12]}")
    if provenance["parents"]:
        told.append("from " + ", ".join(parent[:12] for parent in provenance["parents"]))
    return " ".join(told)


_COLUMNS: list[output.Column | str] = [
    output.Column("version", render=lambda version: version[:12]),
    "name",
    output.Column("created_at_s", "created", output.when),
    "files",
    output.Column("size_bytes", "bytes", output.number, right=True),
    output.Column("metrics", render=_metrics),
]

_FIELDS: list[output.Column | str] = [
    "version",
    "name",
    output.Column("provenance", "pushed", _provenance),
    output.Column("metrics", render=_metrics),
    output.Column("config", render=json.dumps),
    output.Column("io_schema", render=json.dumps),
    output.Column("files", render=_files),
    "directory",
    "verified",
]
