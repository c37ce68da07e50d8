"""A site put into the text of hcctl.yaml; all else in it stays as it stands, comments and line ends too. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from serving import strict_yaml
from serving.errors import InvalidInput
from serving.loading import to_project

BOM = b"\xef\xbb\xbf"


class _Indented(yaml.SafeDumper):
    """Lists stand deeper than their key, as in the files that `hcctl init` writes."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, indentless=False)


def with_site(content: bytes, name: str, site: Mapping[str, Any], notes: Sequence[str], *, file: str) -> bytes:
    """The project file with one more site, behind the others.

    Args:
        content: of a valid project file.
        name: of the new site.
        site: its fields.
        notes: comment lines above it.
        file: how the file is shown in errors.

    Raises:
        InvalidInput: there is such a site, the file is written in a way that cannot be added to, or the whole would
            not be valid.
    """
    before = strict_yaml.parse(content, name=file)
    if name in to_project(before).sites:
        raise InvalidInput(
            "there is such a site",
            where=before.where(("sites", name)),
            why="a site is added, never overwritten",
            next_step="give another name, or take the site out of the file first",
        )
    text = content.decode("utf-8-sig")
    end, column = _end_of_sites(text, file)
    made = (content[:3] if content.startswith(BOM) else b"") + _joined(text, end, _block(name, site, notes, column))
    try:
        after = strict_yaml.parse(made, name=file)
    except InvalidInput:
        raise _unwritable(file) from None
    sites = before.data["sites"]
    if not isinstance(sites, dict) or after.data != before.data | {"sites": sites | {name: dict(site)}}:
        raise _unwritable(file)
    try:
        to_project(after)
    except InvalidInput as error:
        where = error.where.partition(" ")[2]
        raise InvalidInput(
            "the project would not be valid with this site", where=where, why=error.why, next_step=error.next_step
        ) from None
    return made


def _end_of_sites(text: str, file: str) -> tuple[int, int]:
    """Where the text of the last site ends, and the column in which the names of sites stand."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise _unwritable(file)
    place = next(index for index, (key, _) in enumerate(root.value) if key.value == "sites")
    sites = root.value[place][1]
    if not isinstance(sites, yaml.MappingNode) or sites.flow_style:
        raise _unwritable(file)
    end = len(text)
    if place + 1 < len(root.value):
        end = text.rfind("\n", 0, root.value[place + 1][0].start_mark.index) + 1
    lines = text[:end].splitlines(keepends=True)
    # What stands at the margin belongs to what follows.
    while not lines[-1].strip() or lines[-1].startswith("#"):
        lines.pop()
    return sum(map(len, lines)), sites.value[0][0].start_mark.column


def _block(name: str, site: Mapping[str, Any], notes: Sequence[str], column: int) -> list[str]:
    told = yaml.dump({name: dict(site)}, Dumper=_Indented, sort_keys=False, default_flow_style=None, width=10_000)
    return ["", *(" " * column + line for line in [*(f"# {note}" for note in notes), *told.splitlines()])]


def _joined(text: str, end: int, block: Sequence[str]) -> bytes:
    line_end = "\r\n" if "\r\n" in text else "\n"
    head = text[:end] if text[:end].endswith("\n") else text[:end] + line_end
    try:
        return (head + line_end.join([*block, ""]) + text[end:]).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            "the site cannot be written",
            where="its fields",
            why=f"{error.object[error.start : error.end]!r} is no whole character",
            next_step="correct the stack's names",
        ) from None


def _unwritable(file: str) -> InvalidInput:
    return InvalidInput(
        "no site can be added to the file as it is written",
        where=f"{file} sites",
        why="sites stand in braces, or what follows them is not at the margin",
        next_step="write `sites:` with one indented line per field, as `hcctl init` does",
    )
