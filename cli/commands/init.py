"""`hcctl init`: a project that works, with every field explained."""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path
from string import Template

import click

from cli import output
from serving.errors import HcctlError, InvalidInput
from serving.paths import PROJECT_FILE, SERVICE_FILE

FILES = {
    PROJECT_FILE: "the project: sites, prices, gateway",
    SERVICE_FILE: "the service: model, promise, thresholds",
    "bestsellers.py": "an example model",
    "artefact/sales.json": "its data, to be pushed as a version",
}
"""What is written, and what each file is. The template has the file's last name."""

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")


@click.command("init")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", help="Name of project and service; otherwise made from the folder's name.")
@click.option("--force", is_flag=True, help="Overwrite files that are already there.")
def command(folder: Path, name: str | None, force: bool) -> None:
    """Write a commented project, service and example model into DIR (default: here)."""
    name = _checked(name) if name is not None else _name_of(folder)
    there = [str(folder / file) for file in FILES if os.path.lexists(folder / file)]
    if there and not force:
        raise InvalidInput(
            "nothing was written",
            where=", ".join(there),
            why="it is already there",
            next_step="choose another folder, or overwrite with --force",
        )
    for file, meaning in FILES.items():
        _write(folder / file, _template(Path(file).name, name))
        output.success(f"{folder / file}: {meaning}")
    into = "" if folder.resolve() == Path.cwd() else f"cd {folder} && "
    output.progress(f"next: {into}hcctl validate")
    output.progress("then: hcctl version push artefact && hcctl up && hcctl deploy")


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            "the name cannot be used",
            where=f"--name {name[:80]}",
            why="a name has lower-case letters, digits and hyphens, at most 40, and starts with a letter",
            next_step=f"for example --name {_slug(name)}",
        )
    return name


def _name_of(folder: Path) -> str:
    return _slug(folder.resolve().name)


def _slug(text: str) -> str:
    """The nearest valid name; `shop` where nothing is left of the text."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower())
    return re.sub(r"^[^a-z]+", "", words)[:40].rstrip("-") or "shop"


def _template(file: str, name: str) -> str:
    text = (resources.files("cli") / "templates" / file).read_text(encoding="utf-8")
    return Template(text).substitute(name=name) if file.endswith(".yaml") else text


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HcctlError(
            "the file was not written",
            where=str(path),
            why=os.strerror(error.errno or 0),
            next_step="mend the folder or choose another, and run it again with --force",
        ) from None
