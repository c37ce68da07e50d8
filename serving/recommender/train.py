"""Training: sampled softmax over the items of the batch, corrected for how often each is sampled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from serving.errors import InvalidInput
from serving.recommender.data import Orders
from serving.recommender.lines import Baskets, Index
from serving.recommender.model import TwoTower
from serving.recommender.quality import Quality, Scorer, Split, measure, popularity, repeats_scorer, split_by_time

TEST_SHARE = 0.1
BASKETS_PER_STEP = 256
TARGETS_PER_BASKET = 8
LEARNING_RATE = 3e-3
HISTORY_DROPOUT = 0.3
"""Share of a history hidden in each step: the user tower must not learn whole histories by heart."""
RECENCY_HALF_LIFE_S = 90 * 86_400.0
"""Orders are drawn for training by recency, because what a shop sells changes with the season."""


@dataclass(frozen=True, eq=False)
class TrainedRecommender:
    """A trained model with what is needed to serve it and to judge it."""

    model: TwoTower
    orders: Orders
    popularity: NDArray[np.float32]
    """Share of sales per item, for users without a history."""
    quality: dict[str, Quality]
    """Rows `model`, `popularity` and `repeats`, measured on the last tenth of the orders."""
    test_users: int
    seed: int
    steps: int
    """Fewer than planned when the time was up."""
    train_s: float


def train(
    orders: Orders,
    *,
    seed: int = 0,
    epochs: int = 6,
    dim: int = 64,
    max_seconds: float = 60.0,
    clock: Callable[[], float] = time.monotonic,
) -> TrainedRecommender:
    """Train on the first nine tenths of the orders and measure on the rest, on one core.

    An epoch draws as many orders as there are. The same seed gives the same model, unless
    `max_seconds` cuts it short.

    Raises:
        InvalidInput: no customer came back, so there is nothing to learn from.
    """
    began_s = clock()
    split = split_by_time(orders, TEST_SHARE)
    baskets = Baskets.of(split.before) if split else None
    if split is None or baskets is None or len(baskets) == 0:
        raise InvalidInput(
            "cannot train the recommender",
            where="orders",
            why="no customer has orders before and after the split in time",
            next_step="give it a longer span of orders",
        )
    with _one_thread(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TwoTower(len(orders.item_ids), dim)
        batches = Batches(split, baskets, model, np.random.default_rng(seed))
        planned = max(1, epochs * len(baskets) // BASKETS_PER_STEP)
        steps = _fit(model, batches, planned, lambda: clock() - began_s < max_seconds)
        model.eval()
        popular = popularity(orders, split.at_s)
        scorers = {
            "model": _model_scorer(model, split),
            "popularity": lambda users: np.tile(popular, (len(users), 1)),
            "repeats": repeats_scorer(split, popular),
        }
        quality = {name: measure(split, model.n_items, scorer) for name, scorer in scorers.items()}
    return TrainedRecommender(
        model=model,
        orders=orders,
        popularity=popularity(orders, int(orders.timestamp_s[-1]) + 1),
        quality=quality,
        test_users=len(split.users),
        seed=seed,
        steps=steps,
        train_s=clock() - began_s,
    )


def _fit(model: TwoTower, batches: Batches, planned: int, time_left: Callable[[], bool]) -> int:
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, start_factor=1.0, end_factor=0.0, total_iters=planned)
    for step in range(planned):
        if not time_left():
            return step
        histories, targets = batches.draw()
        loss = sampled_softmax_loss(model, histories, targets, batches.log_q)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return planned


def sampled_softmax_loss(model: TwoTower, histories: Tensor, targets: Tensor, log_q: Tensor) -> Tensor:
    """Mean cross-entropy of each target against the targets of all other orders in the batch.

    Items are met in a batch as often as they sell, which would punish popular ones; subtracting
    the log of that chance from the logit makes the loss estimate the full softmax (Yi et al.,
    RecSys 2019, eq. 5). Items of the order itself are no negatives.

    Args:
        model: in training mode.
        histories: [orders, history] item indices, padded in front.
        targets: [orders, targets] item indices of the order.
        log_q: [items] log of the chance that a draw is the item.
    """
    rows, per_row = targets.shape
    items = targets.reshape(-1)
    hidden = torch.rand(histories.shape) < HISTORY_DROPOUT
    users = model.user_tower(torch.where(hidden, model.n_items, histories))
    logits = model.log_scale.exp() * users @ model.item_tower(items).T
    logits = logits + model.repeat_bonus(histories)[:, items] - log_q[items]

    own = torch.zeros(rows, model.n_items, dtype=torch.bool).scatter_(1, targets, value=True)[:, items]
    negatives = logits.masked_fill(own, -1e9).logsumexp(dim=1, keepdim=True)
    row = torch.arange(rows)
    positives = logits.view(rows, rows, per_row)[row, row]
    return functional.softplus(negatives - positives).mean()


class Batches:
    """Draws of past orders: their histories and some of their items."""

    def __init__(self, split: Split, baskets: Baskets, model: TwoTower, rng: Generator) -> None:
        self._lines = split.before
        self._baskets = baskets
        self._n_items = model.n_items
        self._history = model.history
        self._rng = rng
        chance = 0.5 ** ((split.at_s - baskets.timestamp_s) / RECENCY_HALF_LIFE_S)
        self._chance = chance / chance.sum()
        self.log_q = torch.from_numpy(np.log(self._item_chances())).float()

    def draw(self) -> tuple[Tensor, Tensor]:
        """Histories [orders, history] and targets [orders, targets]."""
        chosen = self._rng.choice(len(self._baskets), size=BASKETS_PER_STEP, p=self._chance)
        start, end = self._baskets.start[chosen], self._baskets.end[chosen]
        place = self._rng.random((len(chosen), TARGETS_PER_BASKET)) * (end - start)[:, None]
        targets = self._lines.item[start[:, None] + place.astype(np.int64)]
        windows = self._lines.windows(self._baskets.history_start[chosen], start, self._history, self._n_items)
        return torch.from_numpy(windows), torch.from_numpy(targets)

    def _item_chances(self) -> NDArray[np.float64]:
        sizes = self._baskets.end - self._baskets.start
        line = np.repeat(self._baskets.start - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
        weights = np.repeat(self._chance / sizes, sizes)
        chances = np.bincount(self._lines.item[line], weights=weights, minlength=self._n_items)
        # An item that is never drawn needs no exact value, only a logarithm.
        return np.asarray(np.maximum(chances, chances[chances > 0].min()))


def _model_scorer(model: TwoTower, split: Split) -> Scorer:
    def score(users: Index) -> NDArray[np.float32]:
        start, end = split.before.offsets[users], split.before.offsets[users + 1]
        windows = split.before.windows(start, end, model.history, model.n_items)
        with torch.inference_mode():
            scores: NDArray[np.float32] = model(torch.from_numpy(windows)).numpy()
            return scores

    return score


@contextmanager
def _one_thread() -> Iterator[None]:
    """One torch thread: the model is small, sums come out the same, and the sites keep their cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
