"""Vectors of text and picture as the features of an item. Pure. A row of NaN is an item that has none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serving.recommender.multimodal.taste import Features

TEXT_WIDTH = 32
"""Directions of the text vectors that are kept: a shop's texts differ in few of the encoder's 384."""

Rows = NDArray[np.bool_]


def joined(*blocks: Features, there: Rows | None = None) -> Features:
    """Blocks of vectors side by side, each about 0 and with a standard deviation of 1 overall.

    Means and deviations are those of the items that are `there`, all if unset. What an item has not is 0, as the mean.
    """
    scaled = []
    for block in blocks:
        known = _known(block, there)
        centred = block - known.mean(axis=0)
        scaled.append(np.nan_to_num(centred / max(float((known - known.mean(axis=0)).std()), 1e-12), nan=0.0))
    return np.concatenate(scaled, axis=1).astype(np.float32)


def main_directions(vectors: Features, width: int = TEXT_WIDTH, *, there: Rows | None = None) -> Features:
    """The vectors in the directions of largest variance of those `there` (principal components), at most `width`."""
    known = _known(vectors, there)
    _, _, directions = np.linalg.svd((known - known.mean(axis=0)).astype(np.float64), full_matrices=False)
    return np.asarray((vectors - known.mean(axis=0)) @ directions[:width].T, dtype=np.float32)


def _known(vectors: Features, there: Rows | None) -> Features:
    """The rows of items that are there and have a vector."""
    has = ~np.isnan(vectors).any(axis=1)
    return vectors[has if there is None else has & there]
