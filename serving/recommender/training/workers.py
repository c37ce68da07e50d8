"""Training by several workers of Ray Train: the same loop, each with a share of every batch."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.errors import HcctlError
from serving.files import write_atomic
from serving.recommender.method import Arrays
from serving.recommender.orders.purchases import Purchases

if TYPE_CHECKING:
    from serving.recommender.training.fit import Trained
    from serving.recommender.training.how import How

WEIGHTS = "weights.safetensors"


def train_by_ray(method: Trained, past: Purchases, how: How) -> Arrays:
    """The weights that the workers learn together, on the Ray cluster of `RAY_ADDRESS` or a local one for the while.

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
                    "method": method,
                    "past": past,
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

    from serving.recommender.training.fit import trained
    from serving.recommender.training.team import Team
    from serving.recommender.training.weights import weights_of

    context = get_context()
    team = Team(context.get_world_rank(), context.get_world_size())
    network, _ = trained(config["method"], config["past"], config["how"], team)
    if team.rank == 0:
        write_atomic(Path(config["weights"]), save(dict(weights_of(network))))


def _to_log(progress: Any) -> None:
    """Progress of the first worker, into its log: the one who asked is in another process."""
    print(progress, flush=True)  # noqa: T201


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
