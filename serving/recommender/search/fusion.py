"""How the letters and the meaning make one score. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serving.recommender.search.lexical import Evidence, Scores

SHARPNESS = 6
"""Power of the coverage. Half of a query's words are in some title by chance; all of them, hardly ever."""

SILENCED = 0.9
"""Share of the meaning's weight that a title with the whole query takes: the rest orders what comes after it."""
LEAST_COVERAGE, LEAST_MEANING = 0.5, 0.05
"""What has less of both is not like the query."""


def fused(letters: Evidence, meaning: Scores) -> Scores:
    """One score per item; higher is better.

    What a title has of the query counts by a high power of its share, so that titles with all of the words stand above
    everything and those with some of them hardly move. The better the best title explains the query, the less the
    meaning counts: it decides where the letters say nothing, and hardly speaks where they say all.
    """
    certain = letters.coverage**SHARPNESS
    return np.asarray(
        certain * (1 + letters.grams) + (1 - SILENCED * certain.max(initial=0)) * meaning, dtype=np.float32
    )


def alike(letters: Evidence, meaning: Scores) -> NDArray[np.bool_]:
    """Which items are like the query at all; a list may be short or empty."""
    return np.asarray((letters.coverage >= LEAST_COVERAGE) | (meaning >= LEAST_MEANING))
