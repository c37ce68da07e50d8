"""`hcctl diff`: what a deploy of a file would change."""

from __future__ import annotations

from pathlib import Path

import click

from cli import output
from cli.context import load_service, open_project


@click.command(name="diff")
@click.option("-f", "--file", "file", type=click.Path(dir_okay=False, path_type=Path), default=None)
@output.output_option
def command(file: Path | None, output_format: output.Output) -> int:
    """Show what a deploy of the file would change. Exit code 0: nothing, 1: something."""
    from cli import intents, wiring

    project = open_project()
    spec = load_service(file, project)
    with wiring.store(project.paths) as store:
        intent = intents.service_intent(store, spec.name)
    wanted = spec.model_dump(mode="json", by_alias=True)
    served = intent.spec.model_dump(mode="json", by_alias=True) if intent else {}
    before, after = _flat(served), _flat(wanted)
    rows = [
        {"field": field, "deployed": before.get(field), "file": after.get(field)}
        for field in sorted(before.keys() | after.keys())
        if before.get(field) != after.get(field)
    ]
    output.emit(rows, output_format, empty=f"{spec.name}: the file and what is deployed are the same")
    return 1 if rows else 0


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    """Nested objects as `a.b.0.c` -> leaf."""
    parts: list[tuple[str, object]]
    if isinstance(value, dict) and value:
        parts = list(value.items())
    elif isinstance(value, list) and value:
        parts = [(str(index), item) for index, item in enumerate(value)]
    else:
        return {prefix: value} if prefix else {}
    return {
        name: leaf for key, item in parts for name, leaf in _flat(item, f"{prefix}.{key}" if prefix else key).items()
    }
