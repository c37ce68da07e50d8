"""New users and new items of a generated shop: taste by text, by picture and by both, beside popularity.

`python -m benchmarks cold` needs no data; everything in it is generated.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.figures import Figure, Goal, Section
from benchmarks.recommender import told as as_text
from serving.recommender.evaluation.tracks import bootstrap
from serving.recommender.generated import words
from serving.recommender.generated.events import CLICK, IMPRESSION, World
from serving.recommender.generated.frames import item_id, user_id
from serving.recommender.generated.images import picture
from serving.recommender.generated.shop import DAY_S, FIRST_DAY_S, Shop
from serving.recommender.methods.popularity import Popularity
from serving.recommender.metrics import NO_ITEM, ndcg, top
from serving.recommender.multimodal.alignment import Alignment, align
from serving.recommender.multimodal.features import joined, main_directions
from serving.recommender.multimodal.taste import Lesson, Shown, Taste, TasteModel, Told
from serving.recommender.orders.purchases import Matrix, Purchases, Vector
from serving.recommender.search.encoder import MiniLM

TEXT, IMAGE, BOTH, POPULAR = "taste by text", "taste by picture", "taste by both", "popularity, 30 days"
NEW_ITEMS, NEW_USERS = "NDCG@10, new items", "NDCG@10, new users"
LISTED = 10
TEST_DAY = 80
WITHIN_S = 120.0
FULL, QUICK = Shop(seed=3, users=8_000), Shop(seed=3, users=500, items=300)

HOW = f"""\
Generated, not a real shop: 1,200 items whose look has eight sides, four told by the text alone and four by the picture
alone; 8,000 users of eight kinds of taste; 120 days of lists and clicks. Everything is fitted before day {TEST_DAY}.
New items: those that came later, ranked among themselves for known users, judged by what these click on; popularity
knows nothing of them. New users: those that nobody saw before, all items ranked by what they told at sign-up (region
and age band), judged by what they click on. The picture encoder is trained here, on pictures and texts of the items
that were there, without labels; texts are encoded by MiniLM. Differences are over the same users, with a paired
bootstrap."""


@dataclass(frozen=True)
class Case:
    """Users of one kind, what they clicked on later, and the items they may be offered."""

    users: tuple[str, ...]
    relevant: Matrix
    """[users, items], 1 where clicked."""
    offered: np.ndarray

    def judge(self, scores: Matrix) -> Vector:
        """NDCG@10 of each user."""
        ranked = np.where(self.offered, scores, -np.inf)
        listed = top(ranked, LISTED)
        hit = np.take_along_axis(self.relevant > 0, np.maximum(listed, 0), axis=1) & (listed != NO_ITEM)
        return ndcg(hit, self.relevant.sum(axis=1).astype(np.int64))


class History:
    """What happened in a generated shop, as arrays, and what is known on the test day."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.world = shop, World(shop)
        blocks = [self.world.events(block) for block in range(shop.blocks)]
        number = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
        columns = ("kind", "user", "item", "timestamp_s", "request")
        self.kind, self.user, self.item, self.time_s, request = (
            np.concatenate([getattr(block, name) for block in blocks]) for name in columns
        )
        self.list = number * 2**40 + request
        self.day = (self.time_s - FIRST_DAY_S) // DAY_S
        self.new_item = self.world.items.day >= TEST_DAY
        self.item_ids = tuple(item_id(item) for item in range(shop.items))
        self.people = {
            user_id(users.first + place): (
                f"region={words.REGIONS[users.region[place]]}",
                f"age={words.AGE_BANDS[users.age_band[place]]}",
            )
            for users in map(self.world.people, range(shop.blocks))
            for place in range(len(users))
        }

    def clicks(self) -> Purchases:
        """The clicks before the test day, as a history."""
        early = np.flatnonzero((self.kind == CLICK) & (self.day < TEST_DAY))
        day, user, item = np.unique(np.stack([self.day[early], self.user[early], self.item[early]]), axis=1)
        names, row = np.unique(user, return_inverse=True)
        return Purchases(row, item, day, tuple(map(user_id, names)), self.item_ids)

    def shown(self) -> Shown:
        """What was shown before the test day."""
        early = np.flatnonzero((self.kind == IMPRESSION) & (self.day < TEST_DAY))
        early = early[np.lexsort((self.time_s[early], self.user[early]))]
        key, clicked = self.list * self.shop.items + self.item, self.kind == CLICK
        names, row = np.unique(self.user[early], return_inverse=True)
        return Shown(row, self.item[early], np.isin(key[early], key[clicked]), tuple(map(user_id, names)))

    def case(self, known: frozenset[str], *, new_items: bool) -> Case:
        """Known users and new items, or new users and all items."""
        later = (self.kind == CLICK) & (self.day >= TEST_DAY)
        later &= self.new_item[self.item] if new_items else True
        asking = [user for user in np.unique(self.user[later]) if (user_id(user) in known) == new_items]
        rows = np.flatnonzero(later & np.isin(self.user, asking))
        relevant = np.zeros((len(asking), self.shop.items))
        relevant[np.searchsorted(asking, self.user[rows]), self.item[rows]] = 1
        offered = self.new_item if new_items else np.ones(self.shop.items, dtype=bool)
        return Case(tuple(map(user_id, asking)), relevant, offered)


def run(shop: Shop, say: Callable[[str], None]) -> Section:
    """Generate, train, and judge, in one thread."""
    torch.set_num_threads(1)
    history = History(shop)
    past, shown = history.clicks(), history.shown()
    cases = {
        NEW_ITEMS: history.case(frozenset(past.user_ids), new_items=True),
        NEW_USERS: history.case(frozenset(past.user_ids), new_items=False),
    }
    say(", ".join(f"{len(case.users)} users for {name}" for name, case in cases.items()))
    features, aligned_s = looks(history)
    say(f"pictures aligned with texts in {aligned_s:.0f} s of one core")
    popular = Popularity().counts(past)[None, :]
    found = {POPULAR: {name: case.judge(np.repeat(popular, len(case.users), axis=0)) for name, case in cases.items()}}
    fit_s = 0.0
    for name, own in features.items():
        began_s = time.process_time()
        model = TasteModel.fit(Lesson(Told(history.item_ids, own, history.people), shown, Taste()), past)
        fit_s = time.process_time() - began_s
        found[name] = {kind: case.judge(model.score(case.users)) for kind, case in cases.items()}
        say(f"{name}: " + ", ".join(f"{kind} {values.mean():.4f}" for kind, values in found[name].items()))
    return section(found, aligned_s, fit_s)


def looks(history: History) -> tuple[dict[str, np.ndarray], float]:
    """The items' features by text, picture and both; and the seconds of one core that the picture encoder trained."""
    items, count = history.world.items, history.shop.items
    texts = MiniLM().encode([f"{items.title(item)}. {items.description(item)}" for item in range(count)])
    pictures = np.stack([picture(history.shop, items, item) for item in range(count)])
    began_s = time.process_time()
    towers = align(Alignment(), pictures[~history.new_item], texts[~history.new_item])
    aligned_s = time.process_time() - began_s
    text, image = main_directions(texts), towers.see(pictures)
    return {TEXT: joined(text), IMAGE: joined(image), BOTH: joined(text, image)}, aligned_s


def section(found: dict[str, dict[str, Vector]], aligned_s: float, fit_s: float) -> Section:
    """The table and what was promised of it."""
    figures = [
        Figure(name, kind, (float(values.mean()),)) for name, kinds in found.items() for kind, values in kinds.items()
    ]
    pairs = ((NEW_ITEMS, TEXT), (NEW_ITEMS, IMAGE), (NEW_ITEMS, POPULAR), (NEW_USERS, POPULAR))
    goals, lines = [], []
    for kind, peer in pairs:
        gain = bootstrap(found[BOTH][kind] - found[peer][kind])
        lines.append(f"- {BOTH} over {peer}: {as_text(gain)} {kind}")
        what = f"generated shop: {BOTH} over {peer}: {kind}, lower end of 95 %"
        goals.append(Goal(what, "", 0.0, "at least", (gain.low,)))
    goals.append(
        Goal(
            "generated shop: training of pictures and taste", "s of one core", WITHIN_S, "at most", (aligned_s + fit_s,)
        )
    )
    how = "\n\n".join([HOW, "\n".join(lines)])
    return Section("cold", "New users and new items (generated)", how, tuple(figures), tuple(goals))
