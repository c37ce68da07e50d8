"""What was seen, in numbers that add up: whose taste is of which kind, how it differs, and what an item's appeal is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from serving.recommender.orders.purchases import index_of

TOLD, SLOPE, CURVE = "seen.told", "seen.slope", "seen.curve"
APPEAL_SLOPE, APPEAL_CURVE = "appeal.slope", "appeal.curve"
SEEN = {TOLD, SLOPE, CURVE}

Numbers = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Seen:
    """Of each user that was seen.

    A user's own taste is a weighted sum of how the kinds differ from their mean, with small weights of variance
    `own_share` beforehand; the weights are those of one Newton step of logistic regression from none (Laplace's
    approximation), so that slopes and curvatures of all impressions are all there is to keep.
    """

    user_ids: tuple[str, ...]
    told: Numbers
    """[users, kinds]: the log of the chance of what they did, if they were of that kind."""
    slope: Numbers
    """[users, kinds]."""
    curve: Numbers
    """[users, kinds, kinds]."""

    @classmethod
    def nobody(cls, kinds: int) -> Self:
        """Before anything was seen."""
        return cls((), np.zeros((0, kinds)), np.zeros((0, kinds)), np.zeros((0, kinds, kinds)))

    @classmethod
    def of_arrays(cls, user_ids: tuple[str, ...], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """From what `arrays` gave.

        Raises:
            ValueError: one is missing.
        """
        if missing := SEEN - arrays.keys():
            raise ValueError(f"there is no array {min(missing)}")
        return cls(user_ids, arrays[TOLD], arrays[SLOPE], arrays[CURVE])

    def arrays(self) -> dict[str, Numbers]:
        """To be stored."""
        return {TOLD: self.told, SLOPE: self.slope, CURVE: self.curve}

    def check(self, kinds: int) -> None:
        """Whether everything fits together.

        Raises:
            ValueError: it does not.
        """
        users = len(self.user_ids)
        shapes = {TOLD: (users, kinds), SLOPE: (users, kinds), CURVE: (users, kinds, kinds)}
        for name, array in self.arrays().items():
            if array.dtype != np.float64 or array.shape != shapes[name] or not np.isfinite(array).all():
                raise ValueError(f"array {name} is not finite float64 of {shapes[name]}")

    def with_users(self, names: NDArray[np.str_]) -> tuple[Self, Index]:
        """A copy in which these users are too, and the place of each of `names`."""
        unique, inverse = np.unique(names, return_inverse=True)
        place = dict(index_of(self.user_ids))
        rows = np.array([place.setdefault(name, len(place)) for name in unique.tolist()], dtype=np.int64)
        more = len(place) - len(self.user_ids)
        grown = (np.concatenate([array, np.zeros((more, *array.shape[1:]))]) for array in self.arrays().values())
        return type(self)(tuple(place), *grown), rows[inverse]

    def of(self, names: NDArray[np.str_]) -> tuple[Self, Index]:
        """These users alone, known or not, and the place of each of `names`."""
        unique, inverse = np.unique(names, return_inverse=True)
        place = index_of(self.user_ids)
        known = [(row, place[name]) for row, name in enumerate(unique.tolist()) if name in place]
        arrays = []
        for array in self.arrays().values():
            found = np.zeros((len(unique), *array.shape[1:]))
            found[[row for row, _ in known]] = array[[own for _, own in known]]
            arrays.append(found)
        return type(self)(tuple(unique.tolist()), *arrays), inverse

    def add_evidence(self, user: Index, logits: Numbers, clicked: NDArray[np.bool_]) -> None:
        """Count some impressions in, in place: how likely each kind makes them."""
        surprise = np.logaddexp(0.0, np.where(clicked[:, None], -logits, logits))
        np.subtract.at(self.told, user, surprise)

    def add_deviation(self, user: Index, logits: Numbers, clicked: NDArray[np.bool_], weight: Numbers) -> Numbers:
        """Count them in, in place: how they differ from what the user's kinds, by `kinds_of`, make likely: returned."""
        chance = (sigmoid(logits) * weight[user]).sum(axis=1)
        differs = centred(logits)
        np.add.at(self.slope, user, differs * (clicked - chance)[:, None])
        by_user = np.argsort(user, kind="stable")
        different, first = np.unique(user[by_user], return_index=True)
        spread = (chance * (1 - chance))[by_user, None]
        differs = differs[by_user]
        for place, start, end in zip(different, first, [*first[1:], len(user)], strict=True):
            mine = differs[start:end]
            self.curve[place] += mine.T @ (spread[start:end] * mine)
        return np.asarray(chance)

    def kinds_of(self, prior: Numbers) -> Numbers:
        """[users, kinds]: the chances of the kinds, by Bayes; `prior` is the log of those beforehand."""
        weight = self.told + prior
        weight = np.exp(weight - weight.max(axis=1, keepdims=True))
        return np.asarray(weight / weight.sum(axis=1, keepdims=True))

    def own_tastes(self, own_share: float) -> Numbers:
        """[users, kinds]: the weights of the user's own taste."""
        kinds = self.told.shape[1]
        return np.asarray(np.linalg.solve(self.curve + np.eye(kinds) / own_share, self.slope[:, :, None])[:, :, 0])


@dataclass(frozen=True, eq=False)
class Appeal:
    """How much more each listed item is clicked on than its content makes likely: what a new one cannot tell.

    One number for each, of variance `item_variance` beforehand, by one Newton step as a user's own taste. Of an item
    that was there at the fit the network has learned it, and little is left. The first is for what is not listed.
    """

    slope: Numbers
    curve: Numbers

    @classmethod
    def none(cls, items: int) -> Self:
        """Before anything was seen."""
        return cls(np.zeros(items + 1), np.zeros(items + 1))

    def with_clicks(self, item: Index, clicked: NDArray[np.bool_], chance: Numbers) -> Self:
        """Some more impressions counted in; `chance` is what was expected of them."""
        count = len(self.slope)
        return type(self)(
            self.slope + np.bincount(item, weights=clicked - chance, minlength=count),
            self.curve + np.bincount(item, weights=chance * (1 - chance), minlength=count),
        )

    def logits(self, item_variance: float) -> Numbers:
        """[items + 1]: what is added to the logit of a click; nothing for what is not listed."""
        found = self.slope / (self.curve + 1 / item_variance)
        found[0] = 0.0
        return found


def centred(logits: Numbers) -> Numbers:
    """How each kind differs from their mean, over the root of their number."""
    return np.asarray((logits - logits.mean(axis=1, keepdims=True)) / np.sqrt(logits.shape[1]))


def sigmoid(logits: Numbers) -> Numbers:
    """1 / (1 + e^-x), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))
