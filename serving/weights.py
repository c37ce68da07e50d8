"""Check a safetensors file before anything loads it: bounds, types and sizes, in plain Python.

The format (https://huggingface.co/docs/safetensors): 8 bytes little-endian length N, N bytes of
JSON that maps each tensor to dtype, shape and byte offsets, then the tensors' bytes without gaps.
A file that breaks any rule is refused, because what loads it later trusts the header.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import chain
from typing import BinaryIO

HEADER_LIMIT_BYTES = 4 << 20
"""Longest header read. A header takes about 100 bytes per tensor, so 40,000 tensors fit."""

SHAPE_LIMIT = 16
"""Most dimensions of a tensor."""

BYTES_PER_ELEMENT = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "I64": 8,
    "U64": 8,
    "F64": 8,
}
"""The dtypes allowed in an artefact."""


class BrokenWeights(ValueError):
    """A safetensors file breaks a rule of the format; the text says which."""


@dataclass(frozen=True)
class Tensor:
    """One tensor as its header declares it; `start` and `end` count bytes after the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_header(file: BinaryIO, size_bytes: int) -> tuple[Tensor, ...]:
    """The tensors of a safetensors file of `size_bytes`, in the order of their bytes.

    Raises:
        BrokenWeights: the header is malformed, or does not describe exactly the bytes that follow.
    """
    head = file.read(8)
    if len(head) < 8:
        raise BrokenWeights("shorter than the 8 bytes every safetensors file begins with")
    length = int.from_bytes(head, "little")
    if length > HEADER_LIMIT_BYTES:
        raise BrokenWeights(f"header of {length} bytes; at most {HEADER_LIMIT_BYTES} are allowed")
    raw = file.read(length)
    if len(raw) < length:
        raise BrokenWeights(f"header of {length} bytes, but only {len(raw)} are there")
    tensors = [_tensor(name, entry) for name, entry in _parse(raw).items() if name != "__metadata__"]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
    _check_cover(tensors, size_bytes - 8 - length)
    return tuple(tensors)


def _parse(raw: bytes) -> dict[str, object]:
    if raw[:1] != b"{":
        raise BrokenWeights("header is not a JSON object")
    try:
        header: dict[str, object] = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_checked_object, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise BrokenWeights(f"header is not valid JSON: {str(error)[:100]}") from None
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BrokenWeights("__metadata__ is not an object of strings")
    return header


def _checked_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    for text in chain.from_iterable(pairs):
        if isinstance(text, str):
            text.encode()  # Half of a surrogate pair is a ValueError here.
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BrokenWeights("a key stands twice in the header")
    return found


def _refuse_constant(text: str) -> object:
    raise BrokenWeights(f"{text} in the header")


def _tensor(name: str, entry: object) -> Tensor:
    label = f"tensor {name[:80]!r}"
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise BrokenWeights(f"{label} needs exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BYTES_PER_ELEMENT:
        raise BrokenWeights(f"{label} has dtype {str(dtype)[:40]!r}, which is not allowed")
    if not _are_sizes(shape) or len(shape) > SHAPE_LIMIT:
        raise BrokenWeights(f"{label} has no valid shape")
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise BrokenWeights(f"{label} has no valid data_offsets")
    if math.prod(shape) * BYTES_PER_ELEMENT[dtype] != offsets[1] - offsets[0]:
        raise BrokenWeights(f"{label}: shape and dtype do not fit its {offsets[1] - offsets[0]} bytes")
    return Tensor(name, dtype, tuple(shape), offsets[0], offsets[1])


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)


def _check_cover(tensors: list[Tensor], data_bytes: int) -> None:
    """The tensors fill the data exactly: a gap could hide bytes, an overlap alias two tensors."""
    position = 0
    for tensor in tensors:
        if tensor.start != position:
            raise BrokenWeights(f"tensor {tensor.name[:80]!r} begins at byte {tensor.start}, not {position}")
        position = tensor.end
    if position != data_bytes:
        raise BrokenWeights(f"the tensors take {position} bytes, but {data_bytes} follow the header")
