"""What was seen, in numbers that add up: whose taste is of which kind, how it differs, and what an item's appeal is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from serving.recommender.method import expect
from serving.recommender.orders.purchases import index_of

TOLD, SLOPE, CURVE = "seen.told", "seen.slope", "seen.curve"
WAYS, LIKED, SURE = "appeal.ways", "appeal.liked", "appeal.sure"
SEEN, APPEAL = {TOLD, SLOPE, CURVE}, {WAYS, LIKED, SURE}
LEAST_WAY = 0.01
"""Share of the largest variance below which a way in which items differ is left out."""
LEAST_SPREAD = 1e-9
"""Of a click that is certain, so that nothing is divided by 0."""

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

    def add_deviation(self, user: Index, logits: Numbers, clicked: NDArray[np.bool_], weight: Numbers) -> None:
        """Count them in, in place: how they differ from what the user's kinds, by `kinds_of`, make likely."""
        chance = (sigmoid(logits) * weight[user]).sum(axis=1)
        differs = centred(logits)
        different, slope, curve = _evidence(user, differs, clicked - chance, chance * (1 - chance))
        self.slope[different] += slope
        self.curve[different] += curve

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
    """How each listed item is liked beyond what its content makes likely, by each kind: what a new one cannot tell.

    Items differ in a few `ways`, those in which the items of the fit do. Beforehand an item's part in each is 0 with a
    variance of 1; each batch of impressions moves it by one Newton step from where it was (an extended Kalman filter).
    Of an item of the fit the network has learned most, and little is left. Row 0 is what is not listed.
    """

    ways: Numbers
    """[kinds, ways]: logits."""
    liked: Numbers
    """[items + 1, ways]."""
    sure: Numbers
    """[items + 1, ways, ways]: what was learned, as curvature of the log of the chance."""

    @classmethod
    def of(cls, differences: Numbers, item_variance: float, items: int) -> Self:
        """Before anything was seen; `differences` are those of known items [known, kinds].

        Beside them an item may please everybody alike, with that variance.
        """
        kinds = differences.shape[1]
        spread = np.full((kinds, kinds), item_variance)
        if len(differences) > 1:
            spread += np.cov(differences.T)
        size, direction = np.linalg.eigh(np.atleast_2d(spread))
        kept = size > LEAST_WAY * size.max()
        ways = direction[:, kept] * np.sqrt(size[kept])
        return cls(ways, np.zeros((items + 1, ways.shape[1])), np.zeros((items + 1, ways.shape[1], ways.shape[1])))

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """From what `arrays` gave.

        Raises:
            ValueError: one is missing.
        """
        if missing := APPEAL - arrays.keys():
            raise ValueError(f"there is no array {min(missing)}")
        return cls(arrays[WAYS], arrays[LIKED], arrays[SURE])

    def arrays(self) -> dict[str, Numbers]:
        """To be stored."""
        return {WAYS: self.ways, LIKED: self.liked, SURE: self.sure}

    def check(self, kinds: int, items: int) -> None:
        """Whether everything fits together.

        Raises:
            ValueError: it does not.
        """
        ways = self.ways.shape[-1]
        shapes = {WAYS: (kinds, ways), LIKED: (items + 1, ways), SURE: (items + 1, ways, ways)}
        expect(self.arrays(), {name: (np.float64, shape) for name, shape in shapes.items()})

    def copy(self) -> Self:
        """One to add to."""
        return type(self)(self.ways, self.liked.copy(), self.sure.copy())

    def logits(self, item: Index) -> Numbers:
        """[rows, kinds]: what is added to the logits of these items."""
        return np.asarray(self.liked[item] @ self.ways.T)

    def add_clicks(self, item: Index, logits: Numbers, clicked: NDArray[np.bool_], weight: Numbers) -> None:
        """Count some impressions in, in place, of users who are of each kind with these chances [rows, kinds]."""
        by_kind = sigmoid(logits)
        chance = (by_kind * weight).sum(axis=1)
        spread = np.maximum(chance * (1 - chance), LEAST_SPREAD)
        change = (by_kind * (1 - by_kind) * weight) @ self.ways / spread[:, None]
        listed = item > 0
        surprise = clicked - chance
        different, slope, curve = _evidence(item[listed], change[listed], surprise[listed], spread[listed])
        self.sure[different] += curve
        sure = self.sure[different] + np.eye(self.ways.shape[1])
        self.liked[different] += np.linalg.solve(sure, slope[:, :, None])[:, :, 0]


def _evidence(group: Index, change: Numbers, surprise: Numbers, spread: Numbers) -> tuple[Index, Numbers, Numbers]:
    """The different groups; the slope and the curvature of the log of the chance of each one's rows.

    `change` [rows, width] is that of the logit by what is learned, `spread` the variance of a click.
    """
    order = np.argsort(group, kind="stable")
    different, first = np.unique(group[order], return_index=True)
    change = change[order]
    slope = np.add.reduceat(change * surprise[order, None], first, axis=0) if len(group) else change
    curve = np.zeros((len(different), change.shape[1], change.shape[1]))
    weighted = change * spread[order, None]
    for place, (start, end) in enumerate(pairwise([*first.tolist(), len(group)])):
        curve[place] = change[start:end].T @ weighted[start:end]
    return different, slope, curve


def centred(logits: Numbers) -> Numbers:
    """How each kind differs from their mean, over the root of their number."""
    return np.asarray((logits - logits.mean(axis=1, keepdims=True)) / np.sqrt(logits.shape[1]))


def sigmoid(logits: Numbers) -> Numbers:
    """1 / (1 + e^-x), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))
