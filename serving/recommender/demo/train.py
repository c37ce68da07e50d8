"""Train the model that the demo serves, and judge it next to two baselines."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from serving.errors import InvalidInput
from serving.recommender.demo.quality import Quality, Scorer, Split, measure, popularity, repeats_scorer, split_by_time
from serving.recommender.networks.two_tower import TwoTower
from serving.recommender.orders.data import Orders
from serving.recommender.orders.lines import Baskets, Index
from serving.recommender.training.augment import Augmentation
from serving.recommender.training.baskets import Batches, TowerTask
from serving.recommender.training.loop import one_thread, run
from serving.recommender.training.plan import Plan

TEST_SHARE = TUNE_SHARE = 0.1
"""Of the orders, the last; and of those before, the last, by which the weight of the towers is settled."""
TOWER_SHARES = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05)
"""Of the weight with which the towers were trained. They learn some of their orders by heart, so in new ones they are
too sure and drown a customer's own habits."""
AUGMENTATION = Augmentation(mask=0.3)
"""Of the histories in each step: the user tower must not learn whole histories by heart."""


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
    """Train on the first eight tenths of the orders, settle the towers' weight on the next, measure on the last.

    On one core. An epoch draws as many orders as there are. The same seed gives the same model, unless
    `max_seconds` cuts it short.

    Raises:
        InvalidInput: no customer came back, so there is nothing to learn from.
    """
    began_s = clock()
    split = split_by_time(orders, TEST_SHARE)
    tuning = split_by_time(orders, TUNE_SHARE, split.at_s) if split else None
    baskets = Baskets.of(tuning.before) if tuning else None
    if split is None or tuning is None or baskets is None or len(baskets) == 0:
        raise InvalidInput(
            "cannot train the recommender",
            where="orders",
            why="no customer has orders before and after the split in time",
            next_step="give it a longer span of orders",
        )
    with one_thread(), torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = TwoTower(len(orders.item_ids), dim)
        task = TowerTask(model, Batches(tuning.before, baskets, model, at_s=tuning.at_s), AUGMENTATION)
        course = run(task, Plan(seed=seed, epochs=epochs), time_left=lambda: clock() - began_s < max_seconds)
        settle(model, tuning)
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
        steps=len(course.losses) * task.steps + (course.cut_steps or 0),
        train_s=clock() - began_s,
    )


def settle(model: TwoTower, tuning: Split) -> None:
    """Give the towers the share of their weight whose lists are best on what followed, in place."""
    trained = model.log_scale.detach().clone()

    def worth(share: float) -> float:
        with torch.no_grad():
            model.log_scale.copy_(trained + math.log(share))
        return measure(tuning, model.n_items, _model_scorer(model, tuning)).recall_at_10

    best = max(TOWER_SHARES, key=worth)
    with torch.no_grad():
        model.log_scale.copy_(trained + math.log(best))


def _model_scorer(model: TwoTower, split: Split) -> Scorer:
    def score(users: Index) -> NDArray[np.float32]:
        start, end = split.before.offsets[users], split.before.offsets[users + 1]
        windows = split.before.windows(start, end, model.history, model.n_items)
        with torch.inference_mode():
            scores: NDArray[np.float32] = model(torch.from_numpy(windows)).numpy()
            return scores

    return score
