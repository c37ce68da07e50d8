"""Plain torch modules as models: strict weights, checked inputs, shared forward passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from serving.errors import CorruptArtefact, InvalidInput
from serving.model import ModelRequest
from serving.torch_model import TorchModel, load_module
from tests.support.torch_models import Scale

WEIGHTS = {"weight": torch.tensor([1.0, 10.0, 100.0])}


def ask(model: TorchModel, *bodies: Any) -> list[Any]:
    """Results for a batch of bodies."""
    batch = [ModelRequest(path="/", query={}, body=body) for body in bodies]
    return list(model.predict_batch(batch))


class Free(torch.nn.Module):
    """Takes any shape; sums each example."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.passes += 1
        return inputs.reshape(len(inputs), -1).sum(1)


class Lookup(torch.nn.Module):
    """Takes ids."""

    input_shape = (None,)
    input_dtype = torch.int64
    input_range = (0, 4)

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(5, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.table(inputs)


@pytest.fixture
def scale(tmp_path: Path) -> TorchModel:
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    return load_module(Scale, tmp_path, {"features": 3})


def test_weights_come_from_the_files(scale: TorchModel) -> None:
    """The module computes with the version's weights, one row of outputs per example."""
    assert ask(scale, {"inputs": [[1, 2, 3]]}) == [{"outputs": [[1.0, 20.0, 300.0]]}]


def test_weights_may_be_split(tmp_path: Path) -> None:
    """A module's tensors may stand in several files."""
    lookup = Lookup().state_dict()
    save_file({"table.weight": lookup["table.weight"]}, tmp_path / "a.safetensors")
    save_file({}, tmp_path / "b.safetensors")
    assert len(ask(load_module(Lookup, tmp_path, {}), {"inputs": [[1, 2]]})[0]["outputs"]) == 1


@pytest.mark.parametrize(
    ("files", "text"),
    [
        pytest.param([], "the files lack a tensor: weight", id="missing"),
        pytest.param([WEIGHTS, {"extra": torch.zeros(1)}], "the module has no such tensor: extra", id="extra"),
        pytest.param([WEIGHTS, WEIGHTS], "stands in two files: weight", id="twice"),
        pytest.param([{"weight": torch.zeros(4)}], r"\[4\] in the file, .*\[3\] in the module", id="shape"),
        pytest.param(
            [{"weight": torch.zeros(3, dtype=torch.float64)}], "float64 .* in the file, .*float32", id="dtype"
        ),
    ],
)
def test_other_weights_are_refused(tmp_path: Path, files: list[dict[str, torch.Tensor]], text: str) -> None:
    """Weights that do not fit the module exactly are refused, naming the tensor."""
    for number, tensors in enumerate(files):
        save_file(tensors, tmp_path / f"{number}.safetensors")
    with pytest.raises(CorruptArtefact, match=text):
        load_module(Scale, tmp_path, {"features": 3})


def test_bad_requests_do_not_touch_their_neighbours(scale: TorchModel) -> None:
    """Each request of a batch gets its own answer, in its place."""
    good = {"inputs": [[1, 1, 1]]}
    results = ask(scale, good, {"inputs": [[1, 1]]}, good, None, {"inputs": "x"})
    assert [isinstance(result, InvalidInput) for result in results] == [False, True, False, True, True]
    assert results[0] == results[2]


def test_equal_shapes_share_a_pass() -> None:
    """Requests of one shape are one forward pass; other shapes are others."""
    module = Free()
    results = ask(
        TorchModel(module), {"inputs": [[1, 2]]}, {"inputs": [[1, 2, 3], [4, 5, 6]]}, {"inputs": [[3, 4], [5, 6]]}
    )
    assert [result["outputs"] for result in results] == [[3.0], [6.0, 15.0], [7.0, 11.0]]
    assert module.passes == 2


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ([[1, 2]], r"shape \[2\], not \[3\]"),
        ([1, 2, 3], r"shape \[\], not \[3\]"),
        ([[1, 2, 3], [1, 2]], "rectangular"),
        ([["a", "b", "c"]], "rectangular"),
        ([[None, 1, 2]], "rectangular"),
        ([[1e39, 0, 0]], "too large"),
        ([[10**400, 0, 0]], "rectangular"),
        ([], "inputs"),
        ([[]], "empty"),
        ({"a": 1}, "inputs"),
    ],
    ids=str,
)
def test_wrong_examples_are_the_callers_mistake(scale: TorchModel, inputs: Any, text: str) -> None:
    """Whatever does not fit what the module declares is refused with the reason."""
    (result,) = ask(scale, {"inputs": inputs})
    assert isinstance(result, InvalidInput)
    with pytest.raises(InvalidInput, match=text):
        raise result


@pytest.mark.parametrize(
    ("inputs", "fits"), [([[0, 4]], True), ([[5, 0]], False), ([[-1, 0]], False), ([[0.5]], False)]
)
def test_ids_are_checked_before_the_lookup(inputs: Any, fits: bool) -> None:
    """Ids outside the declared range, or not whole, never index a table."""
    (result,) = ask(TorchModel(Lookup()), {"inputs": inputs})
    assert isinstance(result, InvalidInput) is not fits


NUMBERS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)


@given(st.recursive(NUMBERS, lambda inner: st.lists(inner, max_size=3), max_leaves=12))
def test_any_inputs_are_answered_or_refused(inputs: Any) -> None:
    """Inputs of any form give outputs, or the caller's mistake; nothing is raised."""
    (result,) = ask(TorchModel(Free()), {"inputs": inputs})
    assert isinstance(result, InvalidInput) or len(result["outputs"]) == len(inputs)
