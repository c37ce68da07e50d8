"""Loading the model of a version: in a replica, and as a lighter variant in the relief process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import JsonValue

from serving.errors import InvalidInput
from serving.model import Predictor, import_target
from serving.registry import verify_version
from serving.spec import ModelSpec
from serving.spec_relief import ReliefVariant


def load(spec: ModelSpec | ReliefVariant, directory: Path) -> Predictor:
    """Check the version in `directory` and load its model.

    Raises:
        CorruptArtefact: a file does not match the manifest, or does not fit the model.
        InvalidInput: `spec.import_path` names nothing that can be served.
    """
    manifest = verify_version(directory)
    config = manifest.config | spec.config
    target = import_target(spec.import_path)
    if hasattr(target, "load") and hasattr(target, "predict_batch"):
        model: Predictor = target.load(directory, config)
        return model
    return _load_torch(spec.import_path, target, directory, config)


def _load_torch(import_path: str, target: Any, directory: Path, config: dict[str, JsonValue]) -> Predictor:
    import torch

    from serving.torch_model import load_module

    if not (isinstance(target, type) and issubclass(target, torch.nn.Module)):
        raise InvalidInput(
            "this is no model",
            where=import_path,
            next_step="name a Serve deployment, a torch.nn.Module class, or a class with load and predict_batch",
        )
    return load_module(target, directory, config)
