"""Training by several workers of Ray Train: the same function in each, with a share of every batch."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from serving.errors import HcctlError
from serving.files import write_atomic
from serving.recommender.method import Arrays
from serving.recommender.training.how import How
from serving.recommender.training.team import ALONE, Team

WEIGHTS = "weights.safetensors"

Learn = Callable[[How, Team], Arrays]
"""What one worker of a team does; ends with the same arrays in each of them. A function of a module, or `partial` of
one, with arguments that can be sent to another process."""


def together(learn: Learn, how: How) -> Arrays:
    """What `how.workers` learn together: this process alone, or so many of Ray Train.

    Raises:
        HcctlError: a worker failed, or Ray Train is not installed; alone, whatever `learn` raises.
    """
    return by_ray(learn, how) if how.workers > 1 else learn(how, ALONE)


def by_ray(learn: Learn, how: How) -> Arrays:
    """What the workers learn together, on the Ray cluster of `RAY_ADDRESS` or a local one for the while.

    The workers see `how.folder` and the folder for results: on several machines both must be shared.

    Raises:
        HcctlError: a worker failed, or Ray Train is not installed.
    """
    from safetensors.numpy import load

    try:
        import ray
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer
    except ImportError as problem:
        raise HcctlError(
            "Ray Train is not installed", why=str(problem)[:200], next_step="install hcctl with its extra: hcctl[train]"
        ) from problem

    begun = not ray.is_initialized()
    if begun:
        ray.init(address=os.environ.get("RAY_ADDRESS"), include_dashboard=False, log_to_driver=False)
    try:
        with tempfile.TemporaryDirectory(dir=how.folder and _made(how.folder), prefix=".results-") as results:
            trainer = TorchTrainer(
                _work,
                train_loop_config={
                    "learn": learn,
                    "how": replace(how, workers=1, tell=_to_log),
                    "weights": str(Path(results) / WEIGHTS),
                },
                scaling_config=ScalingConfig(num_workers=how.workers),
                run_config=RunConfig(storage_path=results),
            )
            try:
                trainer.fit()
            except Exception as problem:  # Ray raises types of its own, which wrap whatever a worker raised
                raise HcctlError(
                    "a training worker failed",
                    where=f"{how.workers} workers",
                    why=str(problem)[:500],
                    next_step="run it with one worker to see the error alone",
                ) from problem
            found: Arrays = load((Path(results) / WEIGHTS).read_bytes())
            return found
    finally:
        if begun:
            ray.shutdown()


def _work(config: dict[str, Any]) -> None:
    """In each worker."""
    from ray.train import get_context
    from safetensors.numpy import save

    context = get_context()
    team = Team(context.get_world_rank(), context.get_world_size())
    found: Arrays = config["learn"](config["how"], team)
    if team.rank == 0:
        write_atomic(Path(config["weights"]), save(dict(found)))


def _to_log(progress: Any) -> None:
    """Progress of the first worker, into its log: the one who asked is in another process."""
    print(progress, flush=True)  # noqa: T201


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
