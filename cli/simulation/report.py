"""What `hcctl simulate` prints and writes: figures of each policy, and its decisions second by second."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import output
from cli.simulation.inputs import Choices, Scene
from serving.errors import InvalidInput
from serving.files import atomic_file

if TYPE_CHECKING:
    from autoscaler.simulation.contest import Contest, Result

CLAIRVOYANT = "clairvoyant"
HEADER = "t_s,private_replicas,cloud_ready,cloud_launching"


def as_json(scene: Scene, found: Contest, choices: Choices) -> dict[str, Any]:
    """The comparison as one object."""
    from autoscaler.simulation.contest import busiest_minute_rps, summary

    arrivals, world = scene.arrivals, found.world
    return {
        "trace": {
            "source": scene.name,
            "from_s": choices.from_s,
            "seconds": len(arrivals),
            "recorded_step_s": scene.step_s,
            "unwatched_s": scene.unwatched_s,
            "rate_scale": choices.rate_scale,
            "requests": float(arrivals.sum()),
            "mean_rps": float(arrivals.mean()),
            "busiest_minute_rps": busiest_minute_rps(arrivals),
        },
        "world": {
            "private_replicas": world.private_replicas,
            "slots_per_replica": world.slots_per_replica,
            "service_time_s": world.service_s,
            "full_service_time_s": world.queue_service_s,
            "slo_latency_s": world.slo_latency_s,
            "max_cloud_replicas": world.most_rented,
            "pools": [asdict(pool) for pool in world.pools],
            "seed": choices.seed,
            **({"relief": asdict(world.mix)} if world.mix is not None else {}),
        },
        CLAIRVOYANT: {
            "cloud_usd": found.best_usd,
            "late_share": found.best.late_share,
            "gap": found.best.gap,
        },
        "policies": summary(found),
    }


def rows(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row per policy and one for the clairvoyant, the cheapest first; equal bills by who is late less."""
    best = figures[CLAIRVOYANT]
    ratio = 1.0 if best["cloud_usd"] > 0 else None
    table = [
        {"policy": CLAIRVOYANT, "ratio_to_clairvoyant": ratio, "late_share": best["late_share"]}
        | {"cloud_usd": best["cloud_usd"]}
    ]
    table += [{"policy": name, **had} for name, had in figures["policies"].items()]
    return sorted(table, key=lambda row: (row["cloud_usd"], row["late_share"]))


def columns(figures: Mapping[str, Any]) -> list[output.Column | str]:
    """How the rows are shown."""
    relief = [
        output.Column("light_share", "light", percent, right=True),
        output.Column("shed_share", "shed", percent, right=True),
    ]
    return [
        "policy",
        output.Column("cloud_usd", "cloud cost", output.usd, right=True),
        output.Column("ratio_to_clairvoyant", "over clairvoyant", lambda ratio: f"{ratio:.2f} x", right=True),
        output.Column("late_share", "late", percent, right=True),
        *(relief if "relief" in figures["world"] else ()),
        output.Column("actions", right=True),
        output.Column("cloud_replica_hours", "replica hours", lambda hours: f"{hours:,.1f}", right=True),
        output.Column("most_cloud_replicas", "most at once", right=True),
    ]


def percent(share: float) -> str:
    """A share that may be small: `0.05 %`."""
    if 0 < share < 0.000_05:
        return "<0.01 %"
    return f"{share * 100:.2f} %" if share < 0.0995 else f"{share * 100:.1f} %"


def decision_files(given: Path, policies: Sequence[str]) -> dict[str, Path]:
    """Where the decisions of each policy go: the file as it was named, or one a policy where there are several."""
    if len(policies) == 1:
        return {policies[0]: given}
    return {policy: given.with_name(f"{given.stem}-{policy}{given.suffix}") for policy in policies}


def check_writable(option: str, path: Path) -> None:
    """Refuse a file that could not be written after minutes of work.

    Raises:
        InvalidInput: it could not; says why.
    """
    why = ""
    if path.exists() and not path.is_file():
        why = "it is a folder" if path.is_dir() else "it is no regular file"
    else:
        try:
            descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=".hcctl-")
            os.close(descriptor)
            Path(draft).unlink()
        except OSError as error:
            why = f"{path.parent}: {error.strerror}"
    if why:
        raise InvalidInput(
            "the result could not be written there",
            where=f"{option} {path}",
            why=why,
            next_step="name a file in a folder that exists and that you may write to",
        )


def check_apart(named: Iterable[tuple[str, Path]]) -> None:
    """Refuse two options that name the same file: what one reads or writes the other would overwrite.

    Raises:
        InvalidInput: two do; names both.
    """
    taken: dict[str, str] = {}
    for option, path in named:
        file = os.path.realpath(path)
        if file in taken:
            raise InvalidInput(
                "two options name the same file",
                where=f"{taken[file]}, {option} {path}",
                why="one would overwrite the other",
                next_step="give each a file of its own",
            )
        taken[file] = f"{option} {path}"


def write_decisions(path: Path, result: Result) -> None:
    """One row for each second, from 0; a second's row is what was in force in it.

    Raises:
        HcctlError: the disk is full or failing; the file is as it was.
    """
    import numpy as np

    run = result.run
    table = np.column_stack((np.arange(len(run.arrivals)), run.private, run.ready, run.launching))
    with atomic_file(path, 0o644) as file:
        np.savetxt(file, table, fmt="%d", delimiter=",", header=HEADER, comments="")
