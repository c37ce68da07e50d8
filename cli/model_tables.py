"""What `hcctl model ingest`, `evaluate` and `tune` found, as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cli import output


def ingested(found: Mapping[str, Any]) -> None:
    """Print what was kept, and what was not and why."""
    rows = []
    for table, counts in (("events", found["events"]), ("items", found["items"]), ("users", found["people"])):
        if counts is not None:
            rows.append({"table": table, "what": "rows", "count": counts["rows"]})
            rows.append({"table": table, "what": "kept", "count": counts["kept"]})
            for kind in ("rejected", "mended"):
                reasons = counts[kind].items()
                rows += [{"table": table, "what": f"{kind}: {reason}", "count": count} for reason, count in reasons]
    rows += [{"table": "events", "what": kind, "count": count} for kind, count in found["by_type"].items()]
    output.emit(rows, "table", columns=["table", "what", output.Column("count", render=output.number, right=True)])
    label = " (a generated shop)" if found["generated"] else ""
    output.success(f"{found['users']:,} users in {found['folder']}{label}; rejected rows are in its rejected.csv")


def judged(found: Mapping[str, Any]) -> None:
    """Print all metrics, by segment too, and the verdict if there is one."""
    wanted = ["value", "against", "difference", "low", "high"] if found["verdict"] else ["value"]
    figures = [output.Column(name, render=lambda value: f"{value:.4f}", right=True) for name in wanted]
    label = ", on a generated shop" if found["generated"] else ""
    users = ", ".join(f"{count:,} users in track {track}" for track, count in found["users"].items())
    output.emit(found["metrics"], "table", columns=["track", "metric", *figures], title=f"{found['model']}{label}")
    for name, title in (("segments", "segments of users"), ("items", "items by how well they sell")):
        rows = [row for row in found[name] if row["users"]]
        told = [
            column
            if column in {"track", "segment", "items", "users"}
            else output.Column(column, render=_figure, right=True)
            for column in (rows[0] if rows else {})
        ]
        output.emit(rows, "table", columns=told, title=title)
    if found["newcomers"]:
        output.emit(found["newcomers"], "table", columns=["newcomers", "users", "metric", *figures], title="newcomers")
    if found["feedback"]:
        output.emit(found["feedback"], "table", columns=["items", "metric", *figures], title="lists that were shown")
    output.progress(f"judged from {found['from']} on by {users}; a: all purchases, b: only what was new to the user")
    if found["verdict"]:
        tell = output.success if found["verdict"]["passes"] else output.warning
        tell(f"{'passes' if found['verdict']['passes'] else 'does not pass'}: {found['verdict']['reason']}")


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
