"""Retrieval, candidates and the ranker's loss, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from serving.errors import InvalidInput
from serving.recommender.fitted import FittedModel
from serving.recommender.generated.orders import generate_orders
from serving.recommender.methods.als import Als
from serving.recommender.methods.candidates import OF_PART, OTHERS, Catalogue, candidates
from serving.recommender.methods.ease import Ease
from serving.recommender.methods.nearest import Nearest
from serving.recommender.methods.popularity import Popularity
from serving.recommender.methods.ranking import Ranked
from serving.recommender.methods.repeats import OwnFrequency
from serving.recommender.methods.retrieval import ExactIndex, GraphIndex, index
from serving.recommender.metrics import NO_ITEM
from serving.recommender.orders.purchases import Purchases
from serving.recommender.training.plan import Plan
from serving.recommender.training.ranks import listwise_loss
from tests.support.shop_purchases import purchases

PAST = purchases([(0, 0, 1), (0, 0, 11), (0, 1, 11), (1, 2, 5), (1, 0, 5), (2, 3, 12)], items=6)


def vectors(count: int, seed: int) -> np.ndarray:
    """Unit vectors."""
    found = np.random.default_rng(seed).normal(size=(count, 16))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def test_candidates_are_the_best_of_each_and_all_that_was_bought() -> None:
    """Of a scorer that likes the last items best, two; and what the user bought, once each, with whether it was."""

    def scorer(asked: object) -> np.ndarray:
        return np.tile(np.arange(6.0), (3, 1))

    found = candidates(PAST.histories(), [scorer], Catalogue(PAST), each=2)
    assert list(zip(found.row.tolist(), found.item.tolist(), found.bought.tolist(), strict=True)) == [
        (0, 0, True),
        (0, 1, True),
        (0, 4, False),
        (0, 5, False),
        (1, 0, True),
        (1, 2, True),
        (1, 4, False),
        (1, 5, False),
        (2, 3, True),
        (2, 4, False),
        (2, 5, False),
    ]
    assert found.known.shape == (11, OF_PART + OTHERS)
    assert np.isfinite(found.known).all()
    score, logged, place = found.known[3, :OF_PART]
    assert (score, logged, place) == pytest.approx((1.0, np.log(1.001), 0.0), abs=1e-6)
    times, ever, since, due = found.known[0, OF_PART : OF_PART + 4]
    assert (times, ever, since) == pytest.approx((np.log(3), 1.0, np.log(3)))  # twice; as of day 13, two days ago
    assert due == pytest.approx(np.log(3 / 11))  # ten days apart, two days since


def test_what_is_known_of_items_is_of_the_past_alone() -> None:
    """Sales of windows, age and share of repeats, as of the day after the last purchase."""
    numbers = Catalogue(PAST).numbers
    assert numbers[0, 0] == pytest.approx(np.log(2))  # one purchase of item 0 in the last seven days
    assert numbers[0, 2] == pytest.approx(np.log(4))  # three in 30
    assert numbers[0, -1] == pytest.approx(1 / 3)  # one of three was a repeat
    assert np.isfinite(numbers).all()


def test_the_loss_is_the_cross_entropy_over_each_users_candidates() -> None:
    """Two users by hand; one who wanted nothing costs nothing."""
    value = torch.tensor([0.0, float(np.log(3)), 5.0, 5.0])
    wanted, user = torch.tensor([0.0, 1.0, 0.0, 0.0]), torch.tensor([0, 0, 1, 1])
    expected = np.log(2) * -np.log(3 / 4) / 2  # weight log(1 + 1), mean over two users
    assert float(listwise_loss(value, wanted, user, 2)) == pytest.approx(expected, rel=1e-5)


def test_a_ranker_learns_which_candidates_are_bought() -> None:
    """In a shop with habits it puts what is bought again above what is merely popular."""
    shop = Purchases.of(generate_orders(2, 80, 60, 60))
    plan = Plan(epochs=10, learning_rate=0.01)
    method = Ranked(parts=(Popularity(), OwnFrequency()), each=20, months=2, span_days=7, networks=1, plan=plan)
    model = FittedModel.fit(method, shop)
    counts = np.bincount(shop.user)
    habits = [shop.user_ids[user] for user in np.argsort(-counts)[:10]]
    own = [set(np.array(shop.item_ids)[shop.item[shop.user == shop.user_ids.index(user)]].tolist()) for user in habits]
    lists = [{offer.item_id for offer in model.recommend(user, 5)} for user in habits]
    assert sum(len(mine & listed) for mine, listed in zip(own, lists, strict=True)) >= 40


def test_a_past_too_short_to_cut_is_one_clear_error() -> None:
    """There is nothing to learn from before the last span."""
    method = Ranked(parts=(Popularity(),), months=1, span_days=30)
    with pytest.raises(InvalidInput, match="longer span"):
        FittedModel.fit(method, PAST)


def test_the_exact_index_is_exact_and_the_graph_nearly() -> None:
    """Against all products by numpy; rows that ask for more than there is are filled up."""
    items, users = vectors(2_000, 1), vectors(20, 2)
    wanted = np.argsort(-(users @ items.T), axis=1)[:, :50]
    assert (ExactIndex(items).nearest(users, 50) == wanted).all()
    found = GraphIndex(items).nearest(users, 50)
    recall = np.mean([len(set(a) & set(b)) / 50 for a, b in zip(wanted.tolist(), found.tolist(), strict=True)])
    assert recall > 0.95
    for kind in (ExactIndex, GraphIndex):
        assert (kind(items[:3]).nearest(users[:1], 5)[0, 3:] == NO_ITEM).all()


def test_the_index_is_chosen_by_the_size_of_the_catalogue() -> None:
    """Exact below the bound, a graph from it on."""
    assert isinstance(index(vectors(99, 1), exact_below=100), ExactIndex)
    assert isinstance(index(vectors(100, 1), exact_below=100), GraphIndex)


def test_the_nearest_items_keep_the_order_of_their_products() -> None:
    """The first of the full model is the first of the nearest, and no more than wanted have a score."""
    shop = Purchases.of(generate_orders(2, 80, 60, 60))
    full = Als(factors=8, iterations=3)
    learned = full.learn(shop)
    scores = Nearest(model=full, count=7).scorer(shop, learned)(shop.histories())
    assert ((scores > 0).sum(axis=1) <= 7).all()
    everything = full.scorer(shop, learned)(shop.histories())
    assert (scores.argmax(axis=1) == everything.argmax(axis=1)).all()


def test_als_solves_users_as_the_library_does() -> None:
    """A user's vector from their history is the one that implicit computes for it."""
    from implicit.cpu.als import AlternatingLeastSquares

    shop = Purchases.of(generate_orders(2, 80, 60, 60))
    method = Als(factors=8, iterations=3)
    learned = method.learn(shop)
    library = AlternatingLeastSquares(factors=8, regularization=method.l2, num_threads=1)
    library.item_factors = learned["item_factors"]
    histories = shop.histories()
    counts = histories.table(np.ones(len(histories.row)))
    counts.data = 1 + method.alpha * counts.data
    expected = library.recalculate_user(np.arange(5), counts[:5].tocsr().astype(np.float32))
    assert method.vectors(shop, learned).users(histories.of(np.arange(5))) == pytest.approx(expected, abs=1e-4)


def test_the_parts_of_a_ranker_may_be_retrieval() -> None:
    """Nearest items as candidates, ordered by the ranker."""
    shop = Purchases.of(generate_orders(2, 80, 60, 60))
    parts = (Nearest(model=Als(factors=8, iterations=3), count=20), Ease(l2=10.0))
    model = FittedModel.fit(Ranked(parts=parts, each=20, months=1, span_days=7, plan=Plan(epochs=1)), shop)
    assert len(model.recommend(shop.user_ids[0], 10)) == 10
