"""The pictures of items, from files of unknown origin: which can be read, and as small arrays."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from serving.errors import HcctlError, InvalidInput
from serving.files import disk_errors, open_plain

SIDE = 32
"""Pixels: enough for shape and colour, and small enough to learn from on one core."""
FORMATS = ("PNG", "JPEG", "WEBP")
MAX_FILE_BYTES = 20_000_000
MAX_PIXELS = 50_000_000

Pictures = NDArray[np.uint8]
"""[pictures, side, side, 3]."""


def pictures(items: pl.DataFrame, root: Path) -> pl.DataFrame:
    """The items with the whole path of their picture, null where `read_pictures` could not read it."""
    found = [None if name is None else _readable(root / name) for name in items["image"]]
    return items.with_columns(pl.Series("image", found, dtype=pl.String))


def read_pictures(paths: Sequence[Path]) -> Pictures:
    """The pictures of `paths`, each scaled to `SIDE` by `SIDE`.

    Raises:
        InvalidInput: one is missing, too large, damaged or no PNG, JPEG or WebP; `where` is its path.
    """
    return np.stack([_read(path) for path in paths]) if paths else np.empty((0, SIDE, SIDE, 3), dtype=np.uint8)


def _readable(path: Path) -> str | None:
    """The path, if a picture is there. It is read to its end: the beginning of one that is cut short is sound."""
    try:
        _read(path)
    except HcctlError:
        return None
    return str(path)


def _read(path: Path) -> Pictures:
    from PIL import Image

    with disk_errors("the picture cannot be read", path):
        file = open_plain(path)
    if file is None:
        raise _refused(path, "it is missing, or no plain file")
    with file:
        if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
            raise _refused(path, f"it has more than {MAX_FILE_BYTES} bytes")
        try:
            # PIL warns of sizes that are refused here anyway.
            with warnings.catch_warnings(action="ignore"), Image.open(file, formats=FORMATS) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise _refused(path, f"it has more than {MAX_PIXELS} pixels")
                small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as problem:
            raise _refused(path, f"it is damaged, or none of {', '.join(FORMATS)}") from problem
    return np.asarray(small, dtype=np.uint8)


def _refused(path: Path, why: str) -> InvalidInput:
    return InvalidInput("cannot read the picture", where=str(path), why=why, next_step="replace it, or list none")
