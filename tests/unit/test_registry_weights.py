"""The header parser accepts what the safetensors library accepts, and refuses the rest as a value."""

from __future__ import annotations

import io
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import deserialize

from serving.weights import BYTES_PER_ELEMENT, HEADER_LIMIT_BYTES, BrokenWeights, Tensor, read_header
from tests.support.artefacts import safetensors_bytes, tensor_bytes


def parse(data: bytes) -> tuple[Tensor, ...]:
    return read_header(io.BytesIO(data), len(data))


def entry(dtype: object = "U8", shape: object = (4,), offsets: object = (0, 4), **more: object) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def test_tensors_come_in_the_order_of_their_bytes() -> None:
    """Names, types, shapes and offsets are as the header says."""
    data = safetensors_bytes(
        {
            "b": entry("F32", [2, 3], [4, 28]),
            "a": entry("U8", [4], [0, 4]),
            "empty": entry("F64", [0, 7], [28, 28]),
            "scalar": entry("I16", [], [28, 30]),
            "__metadata__": {"format": "pt"},
        },
        bytes(30),
    )
    assert parse(data) == (
        Tensor("a", "U8", (4,), 0, 4),
        Tensor("b", "F32", (2, 3), 4, 28),
        Tensor("empty", "F64", (0, 7), 28, 28),
        Tensor("scalar", "I16", (), 28, 30),
    )


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(b"", "shorter than", id="empty"),
        pytest.param(b"\x02\x00", "shorter than", id="cut in the length"),
        pytest.param(b"\xff" * 8, "at most", id="huge header length"),
        pytest.param((HEADER_LIMIT_BYTES + 1).to_bytes(8, "little"), "at most", id="length over the limit"),
        pytest.param((HEADER_LIMIT_BYTES).to_bytes(8, "little"), "only 0 are there", id="header missing"),
        pytest.param(tensor_bytes()[:-1], "15 follow", id="one byte short"),
        pytest.param(tensor_bytes() + b"x", "17 follow", id="one byte more"),
        pytest.param(safetensors_bytes(b""), "JSON object", id="no JSON"),
        pytest.param(safetensors_bytes(b"[]"), "JSON object", id="list"),
        pytest.param(safetensors_bytes(b" {}"), "JSON object", id="space first"),
        pytest.param(safetensors_bytes(b"{"), "not valid JSON", id="cut JSON"),
        pytest.param(safetensors_bytes(b'{"\xff":1}'), "not valid JSON", id="not UTF-8"),
        pytest.param(safetensors_bytes(b'{"a":' + b"[" * 100_000), "not valid JSON", id="deep"),
        pytest.param(safetensors_bytes(b'{"a":1' + b"0" * 5_000 + b"}"), "not valid JSON", id="huge integer"),
        pytest.param(safetensors_bytes(b'{"a":NaN}'), "NaN", id="NaN"),
        pytest.param(safetensors_bytes(b'{"a":1,"a":2}'), "twice", id="key twice"),
        pytest.param(safetensors_bytes({"__metadata__": {"a": 1}}), "__metadata__", id="metadata no string"),
        pytest.param(safetensors_bytes({"__metadata__": []}), "__metadata__", id="metadata no object"),
        pytest.param(safetensors_bytes({"a": 1}), "needs exactly", id="entry no object"),
        pytest.param(safetensors_bytes({"a": entry(extra=1)}, bytes(4)), "needs exactly", id="field too many"),
        pytest.param(safetensors_bytes({"a": entry("object")}, bytes(4)), "not allowed", id="dtype unknown"),
        pytest.param(safetensors_bytes({"a": entry(["U8"])}, bytes(4)), "not allowed", id="dtype no text"),
        pytest.param(safetensors_bytes({"a": entry(shape=[-4])}, bytes(4)), "valid shape", id="negative"),
        pytest.param(safetensors_bytes({"a": entry(shape=[4.0])}, bytes(4)), "valid shape", id="float"),
        pytest.param(safetensors_bytes({"a": entry(shape=[True])}, bytes(4)), "valid shape", id="bool"),
        pytest.param(safetensors_bytes({"a": entry(shape=[1] * 17)}, bytes(4)), "valid shape", id="17 axes"),
        pytest.param(safetensors_bytes({"a": entry(shape=[2**64])}, bytes(4)), "valid shape", id="overflow"),
        pytest.param(
            safetensors_bytes({"a": entry(shape=[2**62, 2**62])}, bytes(4)), "do not fit", id="overflowing size"
        ),
        pytest.param(safetensors_bytes({"a": entry("F32")}, bytes(4)), "do not fit", id="size of another dtype"),
        pytest.param(safetensors_bytes({"a": entry(offsets=[4, 0])}, bytes(4)), "data_offsets", id="backwards"),
        pytest.param(safetensors_bytes({"a": entry(offsets=[0])}, bytes(4)), "data_offsets", id="one offset"),
        pytest.param(safetensors_bytes({"a": entry(offsets=[4, 8])}, bytes(8)), "begins at byte 4", id="gap"),
        pytest.param(safetensors_bytes({"a": entry()}, b""), "0 follow", id="out of bounds"),
        pytest.param(safetensors_bytes({"a": entry(), "b": entry()}, bytes(4)), "begins at byte 0", id="overlap"),
    ],
)
def test_a_broken_file_is_refused_with_the_rule_it_breaks(data: bytes, why: str) -> None:
    """Each rule of the format has its refusal."""
    with pytest.raises(BrokenWeights, match=why):
        parse(data)


def accepted_by_library(data: bytes) -> bool:
    try:
        deserialize(data)
    except Exception:
        return False
    return True


def ours(data: bytes) -> bool:
    try:
        parse(data)
    except BrokenWeights:
        return False
    return True


@example(data=b"")
@example(data=safetensors_bytes(b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'))
@settings(max_examples=400, deadline=None)
@given(
    data=st.binary(max_size=64)
    | st.binary(max_size=64).map(safetensors_bytes)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    ).map(safetensors_bytes)
)
def test_any_bytes_are_accepted_or_refused(data: bytes) -> None:
    """No input makes another exception, and what is accepted the library can load."""
    assert not ours(data) or accepted_by_library(data)


sizes = st.sampled_from([0, 1, 2, 3, 4, 8, 16, -1, 2**31, 2**63, 2**64, 1.0, None, "4", True])
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*BYTES_PER_ELEMENT, "F4", "C64", "object", "", None, 1]),
        "shape": st.lists(sizes, max_size=3) | st.none(),
        "data_offsets": st.lists(sizes, max_size=3) | st.none(),
    },
    optional={"extra": st.none()},
)


@settings(max_examples=600, deadline=None)
@given(
    header=st.dictionaries(st.sampled_from(["a", "b", "__metadata__", "店", ""]), entries, max_size=3),
    data=st.sampled_from([0, 1, 2, 4, 8, 16]).map(bytes),
)
def test_what_is_accepted_the_library_can_load(header: dict[str, Any], data: bytes) -> None:
    """Of near-valid headers, none passes here that the library refuses."""
    file = safetensors_bytes(header, data)
    assert not ours(file) or accepted_by_library(file)


@settings(max_examples=200, deadline=None)
@given(
    tensors=st.lists(
        st.tuples(st.sampled_from(sorted(BYTES_PER_ELEMENT)), st.lists(st.integers(0, 4), max_size=4)),
        max_size=5,
    ),
    padding=st.integers(0, 7),
)
def test_every_valid_file_is_accepted(tensors: list[tuple[str, list[int]]], padding: int) -> None:
    """Any allowed dtype in any shape, padded as the library pads, is read back."""
    header, position = {}, 0
    for number, (dtype, shape) in enumerate(tensors):
        size = BYTES_PER_ELEMENT[dtype]
        for length in shape:
            size *= length
        header[f"t{number}"] = entry(dtype, shape, [position, position + size])
        position += size
    file = safetensors_bytes(json.dumps(header).encode() + b" " * padding, bytes(position))
    assert accepted_by_library(file)
    assert {(tensor.name, tensor.dtype, tensor.shape) for tensor in parse(file)} == {
        (f"t{number}", dtype, tuple(shape)) for number, (dtype, shape) in enumerate(tensors)
    }


def test_a_hostile_header_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst JSON of the longest header allowed stays under 32 times its size."""
    limit = 1 << 18
    monkeypatch.setattr("serving.weights.HEADER_LIMIT_BYTES", limit)
    data = safetensors_bytes(b'{"a":[' + b"[]," * ((limit - 10) // 3) + b"0]}")
    tracemalloc.start()
    with pytest.raises(BrokenWeights, match="needs exactly"):
        parse(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * limit
