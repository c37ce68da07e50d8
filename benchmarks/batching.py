"""What dynamic batching gains: one replica of one torch model, with and without it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.client import Load, Target, measure
from benchmarks.figures import Figure, Section
from benchmarks.stand import ONE_REPLICA, PRIVATE, service, stand
from serving.spec import HybridService

BODY = json.dumps({"inputs": [[1.0] * 8]})
CLIENTS = 32
BATCHES = (1, 8, 32)
_SIZES = ", ".join(map(str, BATCHES))

HOW = f"""\
One site, one replica each of the same torch model (3 dense layers, about 34 MB of weights, read once per forward pass)
with `max_batch_size` {_SIZES}; c = {CLIENTS} clients ask the site's ingress, one replica after the other. Without
a GPU the gain is that of memory bandwidth alone; where a forward pass has a large fixed cost it is larger."""


def run(*, repetitions: int, seconds: float, say: Callable[[str], None]) -> Section:
    """Measure all batch sizes, side by side on one site."""
    specs = {size: tower_service(max_batch_size=size) for size in BATCHES}
    found: dict[int, list[Load]] = {size: [] for size in BATCHES}
    with stand(private=PRIVATE) as at:
        say("opening a site")
        version = at.push("tower", save_tower(at.project.paths.root / "tower"))
        applications = {size: at.application(spec, version) for size, spec in specs.items()}
        where = at.open("private")["private"]
        at.run("private", *applications.values())
        for repetition in range(repetitions):
            say(f"repetition {repetition + 1} of {repetitions}")
            for size, application in applications.items():
                target = Target(where.host, where.port, application.route_prefix, BODY)
                found[size].append(measure(target, connections=CLIENTS, seconds=seconds))
    return section(found)


def section(found: dict[int, list[Load]]) -> Section:
    """Figures from the loads of all repetitions, paired by repetition."""
    figures = []
    for size, loads in found.items():
        gain = tuple(a.rate_rps / b.rate_rps for a, b in zip(loads, found[1], strict=True))
        figures += [
            Figure(f"max_batch_size {size}", "req/s", tuple(load.rate_rps for load in loads)),
            Figure(f"max_batch_size {size}", "times", gain),
            Figure(f"max_batch_size {size}", "p50 ms", tuple(load.p50_ms for load in loads)),
            Figure(f"max_batch_size {size}", "p99 ms", tuple(load.p99_ms for load in loads)),
        ]
    return Section("batching", "Dynamic batching", HOW, tuple(figures), ())


def tower_service(**model: Any) -> HybridService:
    """A service that runs the torch model on site `private`."""
    model = {"slots_per_replica": 2 * CLIENTS, "max_queued_requests": CLIENTS, **model}
    return service("tower", "benchmarks.tower:Tower", {"private": ONE_REPLICA}, model=model)


def save_tower(folder: Path) -> Path:
    """Write the model's weights into a new folder."""
    import torch
    from safetensors.torch import save_file

    from benchmarks.tower import Tower

    torch.manual_seed(0)
    folder.mkdir()
    save_file(Tower().state_dict(), folder / "weights.safetensors")
    return folder
