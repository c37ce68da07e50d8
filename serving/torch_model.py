"""Run a plain `torch.nn.Module` class as a `BatchModel`: weights from safetensors, tensors as JSON.

`POST {"inputs": [example, ...]}` answers `{"outputs": [result, ...]}`; examples of several requests
share a forward pass. A module class may declare what one example looks like, so that a wrong request
is the caller's 400 and not the model's 500:

    class Shop(torch.nn.Module):
        input_shape = (4,)              # None: any size in that dimension; default: any shape
        input_dtype = torch.float32     # the default
        input_range = (0, 999)          # inclusive; default: any number
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pydantic import JsonValue
from safetensors.torch import load_file

from serving.errors import CorruptArtefact, InvalidInput
from serving.model import ModelRequest, Result


def load_module(
    module_class: Callable[..., torch.nn.Module], directory: Path, config: dict[str, JsonValue]
) -> TorchModel:
    """Build `module_class(**config)` and fill it from the safetensors files in `directory`.

    Every tensor of the module must be in the files with the same shape and dtype, and no other.

    Raises:
        CorruptArtefact: the files do not fit the module; `where` is the tensor.
    """
    module = module_class(**config)
    expected = module.state_dict()
    found: dict[str, torch.Tensor] = {}
    for file in sorted(directory.glob("*.safetensors")):
        for name, tensor in load_file(file).items():
            if name in found:
                raise CorruptArtefact("a tensor stands in two files", where=name)
            found[name] = tensor
    for name in sorted(expected.keys() ^ found.keys()):
        side = "the module has no such tensor" if name in found else "the files lack a tensor"
        raise CorruptArtefact(side, where=name, next_step="push the weights of this module")
    for name, tensor in found.items():
        if (tensor.shape, tensor.dtype) != (expected[name].shape, expected[name].dtype):
            raise CorruptArtefact(
                "a tensor does not fit the module",
                where=name,
                why=f"{_kind(tensor)} in the file, {_kind(expected[name])} in the module",
                next_step="push the weights of this module",
            )
    module.load_state_dict(found, strict=True)
    return TorchModel(module.cuda() if torch.cuda.is_available() else module)


class TorchModel:
    """A module in evaluation mode, answering batches of requests."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module.eval()
        self._shape: tuple[int | None, ...] | None = getattr(module, "input_shape", None)
        self._dtype: torch.dtype = getattr(module, "input_dtype", torch.float32)
        self._range: tuple[float, float] | None = getattr(module, "input_range", None)
        self._device = next((p.device for p in module.parameters()), torch.device("cpu"))

    def predict_batch(self, requests: list[ModelRequest]) -> Sequence[Result]:
        """One forward pass for each shape of example in the batch."""
        results: list[Result] = [InvalidInput("not answered")] * len(requests)
        groups: dict[torch.Size, list[tuple[int, torch.Tensor]]] = {}
        for index, request in enumerate(requests):
            try:
                tensor = self._tensor(request["body"])
            except InvalidInput as error:
                results[index] = error
            else:
                groups.setdefault(tensor.shape[1:], []).append((index, tensor))
        for group in groups.values():
            for (index, _), outputs in zip(group, self._forward([t for _, t in group]), strict=True):
                results[index] = {"outputs": outputs.tolist()}
        return results

    def _forward(self, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
        with torch.inference_mode():
            outputs = self._module(torch.cat(tensors).to(self._device)).cpu()
        return list(outputs.split([len(tensor) for tensor in tensors]))

    def _tensor(self, body: JsonValue) -> torch.Tensor:
        inputs = body.get("inputs") if isinstance(body, dict) else None
        if not isinstance(inputs, list) or not inputs:
            raise InvalidInput('the body needs "inputs", a list of examples')
        try:
            wide = torch.tensor(inputs, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise InvalidInput("inputs is not a rectangular list of numbers") from None
        if wide.numel() == 0:
            raise InvalidInput("an example is empty")
        shape = tuple(wide.shape[1:])
        if self._shape is not None and not _fits(shape, self._shape):
            raise InvalidInput(f"an example has shape {list(shape)}, not {list(self._shape)}")
        if self._range is not None and not self._range[0] <= wide.min() <= wide.max() <= self._range[1]:
            raise InvalidInput(f"a number is outside {self._range[0]} to {self._range[1]}")
        tensor = wide.to(self._dtype)
        if self._dtype.is_floating_point:
            if not tensor.isfinite().all():
                raise InvalidInput(f"a number is too large for {self._dtype}")
        elif not tensor.to(torch.float64).equal(wide):
            raise InvalidInput(f"a number does not fit {self._dtype}")
        return tensor


def _fits(shape: tuple[int, ...], declared: tuple[int | None, ...]) -> bool:
    return len(shape) == len(declared) and all(
        want is None or have == want for have, want in zip(shape, declared, strict=True)
    )


def _kind(tensor: torch.Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
