"""Vectors of text and picture as the features of an item. Pure."""

from __future__ import annotations

import numpy as np

from serving.recommender.multimodal.taste import Features

TEXT_WIDTH = 32
"""Directions of the text vectors that are kept: a shop's texts differ in few of the encoder's 384."""


def joined(*blocks: Features) -> Features:
    """Blocks of vectors side by side, each about 0 and with a standard deviation of 1 overall."""
    centred = [block - block.mean(axis=0) for block in blocks]
    return np.concatenate([block / max(float(block.std()), 1e-12) for block in centred], axis=1).astype(np.float32)


def main_directions(vectors: Features, width: int = TEXT_WIDTH) -> Features:
    """The vectors in their directions of largest variance (principal components), at most `width`."""
    centred = vectors - vectors.mean(axis=0)
    _, _, directions = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    return np.asarray(centred @ directions[:width].T, dtype=np.float32)
