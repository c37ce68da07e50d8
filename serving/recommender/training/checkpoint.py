"""Checkpoints: weights and optimiser as safetensors, the course so far as JSON; resumed to the same bytes.

`epoch-N.safetensors`  weights, the best epoch's weights, and the optimiser's moments
`checkpoint.json`      which of them is valid, with its hash; written last, so that a run killed at any moment leaves
                       the checkpoint before or the one after
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from serving.artefact import first_problem
from serving.errors import CorruptArtefact, InvalidInput
from serving.files import disk_errors, open_plain, write_atomic
from serving.recommender.method import Settings

if TYPE_CHECKING:
    from serving.recommender.training.plan import Plan

POINTER = "checkpoint.json"
POINTER_LIMIT_BYTES = 1 << 20
WEIGHTS, BEST, MOMENTS = "weights.", "best.", "moments."


class Course(Settings):
    """How a training went, so far."""

    losses: tuple[float, ...] = ()
    """Of each epoch."""
    worths: tuple[float | None, ...] = ()
    best_epoch: int | None = None
    """From 1; None where nothing was held out."""
    cut_steps: int | None = None
    """Steps of the epoch in which the time was up; None if it was not."""

    def then(self, loss: float, worth: float | None) -> Course:
        """The course with one more epoch."""
        known = [value for value in self.worths if value is not None]
        better = worth is not None and worth > max(known, default=float("-inf"))
        return Course(
            losses=(*self.losses, loss),
            worths=(*self.worths, worth),
            best_epoch=len(self.losses) + 1 if better else self.best_epoch,
        )

    def cut(self, steps: int) -> Course:
        """The course when the time was up after so many steps of an epoch."""
        return self.model_copy(update={"cut_steps": steps})

    def ended(self, plan: Plan) -> bool:
        """Whether there is nothing left to do."""
        done = len(self.losses)
        idle = plan.patience is not None and self.best_epoch is not None and done - self.best_epoch >= plan.patience
        return done >= min(plan.epochs, plan.stop_after or plan.epochs) or idle


class _Pointer(BaseModel):
    """`checkpoint.json`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal[1] = 1
    plan: dict[str, Any]
    subject: str
    sha256: str
    course: Course


def save(
    folder: Path,
    plan: Plan,
    subject: str,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    course: Course,
    best: dict[str, Tensor] | None,
) -> None:
    """Replace the folder's checkpoint.

    Raises:
        HcctlError: the disk is full, read-only or failing; the checkpoint before is still valid.
    """
    tensors = {WEIGHTS + name: tensor for name, tensor in network.state_dict().items()}
    tensors |= {BEST + name: tensor for name, tensor in (best or {}).items()}
    for place, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"{MOMENTS}{place}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    data = save_tensors({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()})
    name = _name(course)
    with disk_errors("the checkpoint cannot be written", folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / name, data)
    sha256 = hashlib.sha256(data).hexdigest()
    pointer = _Pointer(plan=plan.model_dump(), subject=subject, sha256=sha256, course=course)
    write_atomic(folder / POINTER, pointer.model_dump_json(indent=1).encode() + b"\n")
    with disk_errors("old checkpoints cannot be removed", folder):
        for old in folder.glob("epoch-*.safetensors"):
            if old.name != name:
                old.unlink()


def load(
    folder: Path, plan: Plan, subject: str, network: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[Course, dict[str, Tensor] | None] | None:
    """Put the folder's checkpoint into network and optimiser; None if there is none.

    Raises:
        InvalidInput: it is of another plan or subject.
        CorruptArtefact: it is damaged, or does not fit the network.
        HcctlError: the disk is failing.
    """
    text = _read(folder / POINTER, POINTER_LIMIT_BYTES)
    if text is None:
        return None
    try:
        pointer = _Pointer.model_validate_json(text)
    except ValidationError as problem:
        raise _corrupt(POINTER, ": ".join(filter(None, first_problem(problem)))) from problem
    if pointer.plan != plan.model_dump() or pointer.subject != subject:
        raise InvalidInput(
            "cannot go on from this checkpoint",
            where=str(folder),
            why="it is of another training: other settings or other data",
            next_step="choose an empty folder, or remove this one",
        )
    name = _name(pointer.course)
    data = _read(folder / name, None)
    if data is None or hashlib.sha256(data).hexdigest() != pointer.sha256:
        raise _corrupt(name, "it is missing, or its content does not have the hash in checkpoint.json")
    try:
        tensors = load_tensors(data)
        network.load_state_dict(_under(tensors, WEIGHTS))
        moments: dict[int, dict[str, Tensor]] = {}
        for label, tensor in _under(tensors, MOMENTS).items():
            place, _, moment = label.partition(".")
            moments.setdefault(int(place), {})[moment] = tensor
        optimiser.load_state_dict(optimiser.state_dict() | {"state": moments})
    except Exception as problem:  # torch and safetensors raise types of their own, ValueError, KeyError, RuntimeError
        raise _corrupt(name, str(problem)) from problem
    return pointer.course, _under(tensors, BEST) or None


def _name(course: Course) -> str:
    return f"epoch-{len(course.losses)}.safetensors"


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _read(path: Path, limit_bytes: int | None) -> bytes | None:
    with disk_errors("the checkpoint cannot be read", path):
        file = open_plain(path)
        if file is None:
            return None
        with file:
            data = file.read() if limit_bytes is None else file.read(limit_bytes + 1)
    if limit_bytes is not None and len(data) > limit_bytes:
        raise _corrupt(path.name, f"it has more than {limit_bytes} bytes")
    return data


def _corrupt(name: str, why: str) -> CorruptArtefact:
    return CorruptArtefact(
        "the training cannot go on", where=name, why=why[:200], next_step="remove the checkpoint folder and train anew"
    )
