"""The click-through ranker on a generated shop, beside the chances that were planted: `python -m benchmarks clicks`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure, Goal, Section
from serving.recommender.clicks.impressions import Impressions, Items
from serving.recommender.clicks.quality import area, log_loss
from serving.recommender.clicks.ranker import ClickRanker, ClickSettings
from serving.recommender.generated.events import World
from serving.recommender.generated.frames import event_frames, item_frame
from serving.recommender.generated.shop import Shop

SHOP = Shop(seed=5, users=5_000, items=400, days=365, visits_per_user=40.0)
QUICK_SHOP = Shop(seed=5, users=500, items=100, days=365, visits_per_user=10.0)
SETTINGS = ClickSettings()
HELD_OUT = 0.2
WITHIN = 0.01
DAY_S = 86_400

HOW = """\
A generated shop with planted chances of each click (`serving/recommender/generated`): 5,000 users, 400 items, a year.
No figure here is of a real shop. AUC is compared with that of the planted chances on the same impressions, which
nothing can beat but by luck. Held-out days, which the goal is about: the last fifth by time, with items and users that
were never seen before, and the ranker told each evening what was clicked on that day, without another training.
Held-out lists: a fifth of all lists, drawn by seed, which tells what the future adds to the difficulty."""


@dataclass(frozen=True, eq=False)
class Generated:
    """Impressions with their planted chances."""

    shown: Impressions
    truth: NDArray[np.float64]
    request: NDArray[np.int64]
    items: Items


def generated(shop: Shop) -> Generated:
    """A whole shop."""
    import polars as pl

    world = World(shop)
    frames = [event_frames(world, block) for block in range(shop.blocks)]
    events, truth = (pl.concat([pair[place] for pair in frames]) for place in (0, 1))
    planted = (
        events.filter(pl.col("type") == "impression")
        .join(truth, on="event_id")
        .sort("timestamp_s", "request_id", "position")
    )
    return Generated(
        Impressions.of(events),
        planted["p_click"].to_numpy(),
        planted["request_id"].to_numpy(),
        Items.of(item_frame(world)),
    )


def run(*, quick: bool, say: Callable[[str], None]) -> Section:
    """Fit twice, judge twice."""
    data = generated(QUICK_SHOP if quick else SHOP)
    say(f"{len(data.shown):,} impressions, {data.shown.clicked.mean():.3f} clicked on")
    lists, fit_s = by_lists(data)
    say(f"held-out lists: {lists}, fitted in {fit_s:.0f} s")
    days = by_days(data)
    say(f"held-out days: {days}")
    figures = [
        Figure(name, measure, (value,))
        for name, found in (("held-out lists", lists), ("held-out days", days))
        for measure, value in found.items()
    ]
    figures.append(Figure("held-out lists", "fit, s", (fit_s,)))
    gap = days["AUC, planted"] - days["AUC, ranker"]
    what = "generated shop: AUC of the planted chances over the ranker's, held-out days"
    goal = Goal(what, "", WITHIN, "at most", (gap,))
    return Section("clicks", "Click-through ranker (generated shop)", HOW, tuple(figures), (goal,))


def by_lists(data: Generated) -> tuple[dict[str, float], float]:
    """Judged on lists drawn by seed; and seconds of the fit."""
    requests = np.unique(data.request)
    out = np.random.default_rng(0).random(len(requests)) < HELD_OUT
    later = out[np.searchsorted(requests, data.request)]
    began_s = time.perf_counter()
    ranker = ClickRanker.fit(SETTINGS, data.shown.where(~later), data.items)
    fit_s = time.perf_counter() - began_s
    held = data.shown.where(later)
    return measures(ranker.chances(held), data.truth[later], held.clicked), fit_s


def by_days(data: Generated) -> dict[str, float]:
    """Judged on the last days, each evening told what was clicked on."""
    day = data.shown.timestamp_s // DAY_S
    later = day >= np.quantile(day, 1 - HELD_OUT)
    ranker = ClickRanker.fit(SETTINGS, data.shown.where(~later), data.items)
    chances = np.zeros(len(day))
    for one in np.unique(day[later]):
        shown = data.shown.where(day == one)
        chances[day == one] = ranker.chances(shown)
        ranker = ranker.update(shown)
    return measures(chances[later], data.truth[later], data.shown.clicked[later])


def measures(chances: NDArray[np.float64], truth: NDArray[np.float64], clicked: NDArray[np.bool_]) -> dict[str, float]:
    """AUC and mean surprise of both."""
    return {
        "AUC, planted": area(truth, clicked),
        "AUC, ranker": area(chances, clicked),
        "log loss, planted": log_loss(truth, clicked),
        "log loss, ranker": log_loss(chances, clicked),
        "log loss, share of clicks": log_loss(np.full(len(clicked), clicked.mean()), clicked),
    }
