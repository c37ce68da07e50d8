"""What `hcctl model tune` found, as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cli import output


def tuned(found: Mapping[str, Any]) -> None:
    """Print a row for each choice of settings, the best first, and say which that is."""
    rows = [
        {"settings": flags(trial["settings"]) or "as they are", "mean": trial["value"], "deviation": trial["deviation"]}
        | {f"from {day}": value for day, value in zip(found["days"], trial["folds"], strict=True)}
        for trial in found["trials"]
    ]
    figures = [output.Column(name, render=_figure, right=True) for name in rows[0] if name != "settings"]
    label = ", on a generated shop" if found["generated"] else ""
    tracks = "tracks a and b" if found["track"] == "both" else f"track {found['track']}"
    title = f"{found['model']}: {found['metric']} in {tracks}{label}"
    output.emit(rows, "table", columns=["settings", *figures], title=title)
    if best := flags(found["trials"][0]["settings"]):
        output.success(f"best: {best}")


def flags(settings: Mapping[str, Any]) -> str:
    """Settings as `hcctl model train` takes them."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in settings.items()}
    return " ".join(f"--set {key}={value}" for key, value in texts.items())


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
