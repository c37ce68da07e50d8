"""What was found, in the order of a user's taste."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.recommender.interface import Model, User
from serving.recommender.orders.purchases import Vector, index_of

if TYPE_CHECKING:
    from serving.recommender.search.index import Hit

WEIGHT = 0.2


@dataclass(frozen=True)
class Personal:
    """A user and the model that knows what they like.

    The model's scores of the hits are scaled from 0 (the lowest) to `weight` (the highest) and added: taste decides
    among items that fit the query about as well, and never lets one in that does not fit.
    """

    model: Model[Any]
    user: User
    weight: float = WEIGHT

    def ordered(self, hits: list[Hit]) -> list[Hit]:
        """The same hits with taste in their scores, best first; one that the model does not know gains nothing."""
        if not hits:
            return []
        gains = self._gains([hit.item_id for hit in hits])
        scored = [replace(hit, score=hit.score + float(gain)) for hit, gain in zip(hits, gains, strict=True)]
        return sorted(scored, key=lambda hit: -hit.score)

    @cached_property
    def _liking(self) -> Vector:
        return np.asarray(self.model.score([self.user])[0])

    @cached_property
    def _place(self) -> Any:
        return index_of(self.model.item_ids)

    def _gains(self, item_ids: list[str]) -> Vector:
        liking = np.array([self._liking[self._place[name]] if name in self._place else -np.inf for name in item_ids])
        known = np.isfinite(liking)
        gains = np.zeros(len(liking))
        if known.any() and np.ptp(liking[known]) > 0:
            gains[known] = self.weight * (liking[known] - liking[known].min()) / np.ptp(liking[known])
        return gains
