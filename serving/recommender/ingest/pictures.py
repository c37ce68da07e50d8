"""The pictures of items: found beside the schema, and looked at before a model is."""

from __future__ import annotations

import warnings
from pathlib import Path

import polars as pl

MAX_BYTES = 32 << 20
MAX_PIXELS = 64_000_000


def pictures(items: pl.DataFrame, root: Path) -> pl.DataFrame:
    """The items with the whole path of their picture, null where there is none that can be read."""
    found = [None if name is None else _readable(root / name) for name in items["image"]]
    return items.with_columns(pl.Series("image", found, dtype=pl.String))


def _readable(path: Path) -> str | None:
    """The path, if an image of a sane size is there whose content is whole."""
    from PIL import Image

    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a size that is refused below
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    return None
                image.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # as PIL's documentation of verify has it
        return None
    return str(path)
