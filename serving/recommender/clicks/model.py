"""The click-through ranker as a model of lists: how likely each item of the shop is clicked on, first in a list now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from serving.errors import InvalidInput
from serving.recommender import bundle, storage
from serving.recommender.asked import Asked
from serving.recommender.bundle import corrupt
from serving.recommender.clicks.impressions import DAY_S, Impressions, Items
from serving.recommender.clicks.ranker import ClickRanker, ClickSettings
from serving.recommender.interface import Offer, User
from serving.recommender.orders.purchases import Matrix, Purchases, index_of
from serving.recommender.training.how import HERE, How

KNOWN = "known.json"


@dataclass(frozen=True, eq=False)
class Watched:
    """What the model is fitted by, beside what was bought."""

    settings: ClickSettings
    shown: Impressions
    items: Items
    how: How = HERE


class ClickModel:
    """Implements `interface.Model`. A user is what they clicked on; what a history tells counts as clicked on.

    So does what somebody bought who was never shown a list.

    All items that the shop lists are offered, whether anybody bought them or not. An update adds what users bought to
    what they clicked on, and trains nothing: what is bought was clicked on, so it makes no item more liked than others.
    """

    def __init__(self, ranker: ClickRanker, past: Purchases) -> None:
        """Make ready to score.

        Raises:
            InvalidInput: there is no purchase.
        """
        new = tuple(name for name in ranker.item_ids if name not in index_of(past.item_ids))
        self.ranker = ranker
        self.past = Purchases(past.user, past.item, past.day, past.user_ids, past.item_ids + new)
        self._asked = Asked(self.past)
        self._names = np.array(self.past.item_ids, dtype=np.str_)
        bought = np.bincount(self.past.item, minlength=len(self._names)) > 0
        self._offered = bought | np.isin(self._names, np.array(ranker.item_ids, dtype=np.str_))

    @classmethod
    def fit(cls, settings: Watched, past: Purchases, /) -> Self:
        ranker = ClickRanker.fit(settings.settings, settings.shown, settings.items, settings.how)
        bought = _bought(past)
        unseen = ~np.isin(bought.user, settings.shown.user)
        return cls(ranker.told(bought.where(unseen)) if unseen.any() else ranker, past)

    def update(self, later: Purchases) -> Self:
        return type(self)(self.ranker.told(_bought(later)), self.past.joined(later))

    @property
    def item_ids(self) -> tuple[str, ...]:
        return self.past.item_ids

    def score(self, users: Sequence[User]) -> Matrix:
        """[users, items]: the chance of a click on each item, were it the first of a list on the day after the last."""
        histories = self._asked.histories(users)
        # Somebody who is told by a history has no id: the name cannot be one of a user's, which has no control sign.
        names = np.array([user if isinstance(user, str) else f"\t{row}" for row, user in enumerate(users)], np.str_)
        told = np.array([not isinstance(user, str) for user in users], dtype=bool)[histories.row]
        row, item, day = (column[told] for column in (histories.row, histories.item, histories.day))
        ranker = self.ranker.told(_clicked(names[row], self._names[item], day), names)
        scores = ranker.shelf(names, self._names, self.past.as_of_day * DAY_S)
        scores[:, ~self._offered] = -np.inf
        return scores

    def recommend(self, user: User, k: int = 10, *, exclude_bought: bool = False) -> list[Offer]:
        return self._asked.offers(self.score([user]), user, k, exclude_bought=exclude_bought)

    def save(self, directory: Path) -> None:
        self.ranker.save(directory)
        bundle.write(directory, KNOWN, lambda files: _Stored(files=files), storage.past_files(self.past))

    @classmethod
    def load(cls, directory: Path) -> Self:
        ranker = ClickRanker.load(directory)
        _, contents = bundle.read(directory, KNOWN, _Stored, {storage.IDS, storage.PURCHASES})
        try:
            return cls(ranker, storage.past_of(contents))
        except InvalidInput as problem:
            raise corrupt(storage.PURCHASES, str(problem)) from problem


def _bought(past: Purchases) -> Impressions:
    names, items = (np.array(ids, dtype=np.str_) for ids in (past.user_ids, past.item_ids))
    return _clicked(names[past.user], items[past.item], past.day)


def _clicked(user: NDArray[np.str_], item: NDArray[np.str_], day: NDArray[np.int64]) -> Impressions:
    return Impressions.first_of_lists(user, item, day * DAY_S, clicked=True)


class _Stored(bundle.Head):
    """`known.json`."""

    format: Literal[1] = 1
    kind: Literal["clicks"] = "clicks"
