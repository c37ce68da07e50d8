"""Other histories that mean the same: purchases hidden, a stretch cut out, a stretch in another order. Pure.

Mask, crop and reorder of Xie et al., "Contrastive Learning for Sequential Recommendation" (ICDE 2022), here as noise
on what a network reads, while what it has to predict stays.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from pydantic import Field

from serving.recommender.method import Settings
from serving.recommender.orders.lines import Index


class Augmentation(Settings):
    """How much of each history is changed; 0 changes nothing."""

    mask: float = Field(default=0.0, ge=0, lt=1, description="Share of the purchases that is hidden.")
    crop: float = Field(default=0.0, ge=0, lt=1, description="Share that is cut off, at both ends together.")
    reorder: float = Field(default=0.0, ge=0, le=1, description="Share, as one stretch, whose items change places.")


def augmented(items: Index, pad: int, how: Augmentation, rng: Generator) -> Index:
    """Rows of items, padded in front with `pad`, changed as told; never a row without any item that had one."""
    items = items.copy()
    rows, length = items.shape
    place = np.arange(length)
    size = (items != pad).sum(axis=1, keepdims=True)
    first = length - size
    if how.reorder:
        stretch = np.round(how.reorder * size)
        start = first + np.floor(rng.random((rows, 1)) * (size - stretch + 1))
        inside = (place >= start) & (place < start + stretch)
        key = np.where(inside, start + rng.random(items.shape) * stretch, place + 0.5)
        items = np.take_along_axis(items, np.argsort(key, axis=1, kind="stable"), axis=1)
    hidden = np.zeros(items.shape, dtype=bool)
    if how.crop:
        kept = np.maximum(np.round((1 - how.crop) * size), 1)
        start = first + np.floor(rng.random((rows, 1)) * (size - kept + 1))
        hidden |= (place < start) | (place >= start + kept)
    if how.mask:
        hidden |= rng.random(items.shape) < how.mask
    spared = (hidden | (items == pad)).all(axis=1)
    hidden[spared] = False
    items[hidden] = pad
    return items
