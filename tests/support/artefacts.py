"""Small artefacts for tests, made without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from serving.registry import Manifest, Registry


def safetensors_bytes(header: object, data: bytes = b"") -> bytes:
    """A safetensors file with this header (JSON, or raw bytes) and data, right or wrong."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def tensor_bytes(values: bytes = bytes(range(16))) -> bytes:
    """A well-formed safetensors file with one tensor of bytes."""
    return safetensors_bytes({"w": {"dtype": "U8", "shape": [len(values)], "data_offsets": [0, len(values)]}}, values)


def make_artefact(folder: Path, **files: bytes) -> Path:
    """A folder with a weights file and a JSON file; `files` (name with `__` for the dot) adds or replaces."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"model__safetensors": tensor_bytes(), "items__json": b'["a", "b"]', **files}
    for name, content in contents.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    return folder


def push(registry: Registry, source: Path, **changes: Any) -> Manifest:
    """Push with harmless values for all that `changes` does not name."""
    fields: dict[str, Any] = {
        "name": "shop",
        "config": {"layers": 2},
        "metrics": {"recall_at_10": 0.25},
        "schema": {"input": "user"},
        "provenance": {"created_by": "test"},
        "at_s": 1_000.0,
    }
    return registry.push(source, **(fields | changes))
