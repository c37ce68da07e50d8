"""What the two towers learn: past orders, by sampled softmax over the items of the batch, corrected for sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from serving.errors import InvalidInput
from serving.recommender.networks.two_tower import TwoTower
from serving.recommender.orders.lines import Baskets, Index, UserLines
from serving.recommender.orders.purchases import DAY_S, Purchases
from serving.recommender.training.augment import Augmentation, augmented
from serving.recommender.training.judge import Judge
from serving.recommender.training.team import Team

if TYPE_CHECKING:
    from serving.recommender.methods.towers import Towers

BASKETS_PER_STEP = 256
TARGETS_PER_BASKET = 8
RECENCY_HALF_LIFE_S = 90 * 86_400.0
"""Orders are drawn for training by recency, because what a shop sells changes with the season."""


class TowerTask:
    """Implements `loop.Task`. An epoch draws as many orders as there are."""

    def __init__(
        self,
        network: TwoTower,
        batches: Batches,
        augment: Augmentation,
        worth: Callable[[], float] | None = None,
    ) -> None:
        self.network = network
        self.steps = max(1, len(batches) // BASKETS_PER_STEP)
        self._batches, self._augment, self._worth = batches, augment, worth

    def loss(self, rng: Generator) -> Tensor:
        histories, targets = self._batches.draw(rng)
        read = augmented(histories, self.network.n_items, self._augment, rng)
        return sampled_softmax_loss(
            self.network,
            torch.from_numpy(read),
            torch.from_numpy(histories),
            torch.from_numpy(targets),
            self._batches.log_q,
        )

    def worth(self) -> float | None:
        return self._worth() if self._worth else None


def tower_task(method: Towers, network: TwoTower, past: Purchases, team: Team, judge: Judge | None) -> TowerTask:
    """What the towers learn from `past`.

    Raises:
        InvalidInput: nobody came back.
    """
    histories = past.histories()
    offsets = np.searchsorted(histories.row, np.arange(len(past.user_ids) + 1))
    lines = UserLines(histories.item, histories.day * DAY_S, offsets)
    baskets = Baskets.of(lines)
    if not len(baskets):
        raise nobody_came_back()
    half_life_s = method.half_life_days * DAY_S
    batches = Batches(
        lines, baskets, network, at_s=past.as_of_day * DAY_S, half_life_s=half_life_s, size=team.share(BASKETS_PER_STEP)
    )
    worth = None if judge is None else lambda: judge.worth(method.scores(network, past))
    return TowerTask(network, batches, method.augment, worth)


def nobody_came_back() -> InvalidInput:
    """The error for purchases without a second basket of anybody."""
    return InvalidInput(
        "cannot train on these purchases",
        where="purchases",
        why="no user bought on two days",
        next_step="give it a longer span",
    )


def sampled_softmax_loss(model: TwoTower, read: Tensor, histories: Tensor, targets: Tensor, log_q: Tensor) -> Tensor:
    """Mean cross-entropy of each target against the targets of all other orders in the batch.

    Items are met in a batch as often as they sell, which would punish popular ones; subtracting
    the log of that chance from the logit makes the loss estimate the full softmax (Yi et al.,
    RecSys 2019, eq. 5). Items of the order itself are no negatives.

    Args:
        model: in training mode.
        read: [orders, history] item indices that the user tower sees, padded in front.
        histories: the same without augmentation, for the bonus of what was bought before.
        targets: [orders, targets] item indices of the order.
        log_q: [items] log of the chance that a draw is the item.
    """
    rows, per_row = targets.shape
    items = targets.reshape(-1)
    users = model.user_tower(read)
    logits = model.log_scale.exp() * users @ model.item_tower(items).T
    logits = logits + model.repeat_bonus(histories)[:, items] - log_q[items]

    own = torch.zeros(rows, model.n_items, dtype=torch.bool).scatter_(1, targets, value=True)[:, items]
    negatives = logits.masked_fill(own, -1e9).logsumexp(dim=1, keepdim=True)
    row = torch.arange(rows)
    positives = logits.view(rows, rows, per_row)[row, row]
    return functional.softplus(negatives - positives).mean()


class Batches:
    """Draws of past orders: their histories and some of their items."""

    def __init__(
        self,
        lines: UserLines,
        baskets: Baskets,
        model: TwoTower,
        *,
        at_s: int,
        half_life_s: float = RECENCY_HALF_LIFE_S,
        size: int = BASKETS_PER_STEP,
    ) -> None:
        self._lines = lines
        self._baskets = baskets
        self._n_items = model.n_items
        self._history = model.history
        self._size = size
        chance = 0.5 ** ((at_s - baskets.timestamp_s) / half_life_s)
        self._chance = chance / chance.sum()
        self.log_q = torch.from_numpy(np.log(self._item_chances())).float()

    def __len__(self) -> int:
        return len(self._baskets)

    def draw(self, rng: Generator) -> tuple[Index, Index]:
        """Histories [orders, history] and targets [orders, targets]."""
        chosen = rng.choice(len(self._baskets), size=self._size, p=self._chance)
        start, end = self._baskets.start[chosen], self._baskets.end[chosen]
        place = rng.random((len(chosen), TARGETS_PER_BASKET)) * (end - start)[:, None]
        targets = self._lines.item[start[:, None] + place.astype(np.int64)]
        return self._lines.windows(self._baskets.history_start[chosen], start, self._history, self._n_items), targets

    def _item_chances(self) -> NDArray[np.float64]:
        sizes = self._baskets.end - self._baskets.start
        line = np.repeat(self._baskets.start - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        weights = np.repeat(self._chance / sizes, sizes)
        chances = np.bincount(self._lines.item[line], weights=weights, minlength=self._n_items)
        # An item that is never drawn needs no exact value, only a logarithm.
        return np.asarray(np.maximum(chances, chances[chances > 0].min()))
