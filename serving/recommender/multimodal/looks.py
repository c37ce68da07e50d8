"""Items as vectors of their texts and pictures: what a taste can be for, from clean data."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from serving.errors import InvalidInput
from serving.recommender.method import Settings
from serving.recommender.multimodal.features import joined, main_directions
from serving.recommender.multimodal.taste import Features
from serving.recommender.training.how import HERE, How

Block = Literal["text", "picture"]
LEAST = 2
"""Items with a text (a picture) from which on texts (pictures) tell items apart."""
_NEEDED = {"text": "a title", "picture": "a picture and a title, which an encoder learns to see by"}


class Looks(Settings):
    """What of an item counts."""

    by: tuple[Block, ...] = Field(default=("text", "picture"), min_length=1, max_length=2)
    epochs: int = Field(default=20, ge=1, le=10_000, description="Of the training of the picture encoder.")
    seed: int = Field(default=0, ge=0, lt=1 << 63)


def looks(items: pl.DataFrame, there: NDArray[np.bool_], settings: Looks, how: How = HERE) -> Features:
    """[items, width]: texts by MiniLM, pictures by an encoder that learns to see from those of the items.

    Encoder, means and directions come from the items that are `there`; the others are only looked at. An item without a
    text or picture is like the mean of all.

    Raises:
        InvalidInput: no item has any of what is wanted, or a picture is gone or damaged.
    """
    texts = _texts(items)
    blocks = []
    if "text" in settings.by and _enough(texts, there):
        blocks.append(main_directions(texts, there=there))
    if "picture" in settings.by:
        seen = _seen(items, texts, there, settings, how)
        blocks += [] if seen is None else [seen]
    if not blocks:
        needed = " or ".join(_NEEDED[block] for block in settings.by)
        raise InvalidInput(
            "no features",
            where="items",
            why=f"fewer than {LEAST} of those that were there have {needed}",
            next_step="declare the columns title and image, or choose another model",
        )
    return joined(*blocks, there=there)


def _texts(items: pl.DataFrame) -> Features:
    """The vector of each item's title and description; NaN without either."""
    from serving.recommender.search.encoder import MiniLM

    told = items.select(pl.concat_str("title", "description", separator=". ", ignore_nulls=True)).to_series()
    rows = np.flatnonzero((told.fill_null("") != "").to_numpy())
    encoder = MiniLM()
    found = np.full((len(items), encoder.width), np.nan, dtype=np.float32)
    found[rows] = encoder.encode([told[int(row)] for row in rows])
    return found


def _seen(items: pl.DataFrame, texts: Features, there: NDArray[np.bool_], settings: Looks, how: How) -> Features | None:
    """The vector of each item's picture, NaN without one; None if there are too few to learn from."""
    rows = np.flatnonzero(items["image"].is_not_null().to_numpy())
    told = ~np.isnan(texts[rows, 0])
    learned = there[rows] & told
    if learned.sum() < LEAST:
        return None
    from serving.recommender.ingest.pictures import read_pictures
    from serving.recommender.multimodal.alignment import Alignment, align

    pictures = read_pictures([Path(items["image"][int(row)]) for row in rows])
    aligned = Alignment(epochs=settings.epochs, seed=settings.seed)
    towers = align(aligned, pictures[learned], texts[rows[learned]], how)
    found = np.full((len(items), aligned.width), np.nan, dtype=np.float32)
    found[rows] = towers.see(pictures)
    return found


def _enough(vectors: Features, there: NDArray[np.bool_]) -> bool:
    return bool((there & ~np.isnan(vectors[:, 0])).sum() >= LEAST)
