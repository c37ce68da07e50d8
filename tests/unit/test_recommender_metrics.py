"""Metrics of ranked lists: worked examples, and what holds for any list."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

from serving.recommender import metrics
from serving.recommender.metrics import NO_ITEM

LISTS = np.array([[4, 1, 3], [0, 2, NO_ITEM], [1, 2, 3]])
"""Five items; the three users want {1, 2}, {0} and {4}."""
RELEVANT = sparse.csr_matrix(np.array([[0, 1, 1, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 1]]))
COUNTS = np.array([2, 1, 1])


@pytest.fixture
def hit() -> metrics.Hits:
    return metrics.hits(LISTS, RELEVANT)


def test_hits_are_the_relevant_places(hit: metrics.Hits) -> None:
    """The first user's second item is wanted, the second user's first; a place without an item is none."""
    assert hit.tolist() == [[False, True, False], [True, False, False], [False, False, False]]


@pytest.mark.parametrize(
    ("measured", "by_hand"),
    [
        pytest.param(metrics.precision, [1 / 3, 1 / 3, 0], id="precision"),
        pytest.param(lambda hit: metrics.recall(hit, COUNTS), [1 / 2, 1, 0], id="recall"),
        pytest.param(lambda hit: metrics.f1(hit, COUNTS), [2 / 5, 2 / 4, 0], id="f1"),
        pytest.param(lambda hit: metrics.accuracy(hit, COUNTS, 5), [2 / 5, 3 / 5, 1 / 5], id="accuracy"),
        pytest.param(metrics.hit_rate, [1, 1, 0], id="hit rate"),
        pytest.param(metrics.mrr, [1 / 2, 1, 0], id="mrr"),
        pytest.param(
            lambda hit: metrics.ndcg(hit, COUNTS),
            [(1 / math.log2(3)) / (1 + 1 / math.log2(3)), 1, 0],  # the best list has both wanted items in front
            id="ndcg",
        ),
    ],
)
def test_worked_examples(hit: metrics.Hits, measured, by_hand: list[float]) -> None:
    """Each metric of the three lists is what pencil and paper say."""
    assert measured(hit) == pytest.approx(by_hand)


def test_auc_counts_the_pairs_in_order() -> None:
    """Of the pairs (wanted, other) .9 is above both, .5 equals one and is above none; a row without pairs has none."""
    scores = np.array([[0.9, 0.5, 0.5, 0.6], [1.0, -np.inf, -np.inf, -np.inf]])
    wanted = sparse.csr_matrix(np.array([[1, 1, 0, 0], [1, 0, 0, 0]]))
    found = metrics.auc(scores, wanted)
    assert found[0] == pytest.approx((1 + 1 + 0.5 + 0) / 4)
    assert math.isnan(found[1])


def test_coverage_counts_items_once() -> None:
    """The three lists hold all of the five items, the last two of them four."""
    assert metrics.coverage(LISTS, 5) == 1.0
    assert metrics.coverage(LISTS[1:], 5) == pytest.approx(4 / 5)


def test_diversity_is_what_items_do_not_share() -> None:
    """Items 0 and 1 have the same buyers, item 2 has none in common with them; one item has no pair."""
    vectors = sparse.csr_matrix(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    lists = np.array([[0, 1, 2], [0, 1, NO_ITEM], [2, NO_ITEM, NO_ITEM]])
    assert metrics.diversity(lists, vectors) == pytest.approx([2 / 3, 0, 0], abs=1e-12)


def test_novelty_is_surprise_in_bits() -> None:
    """An item that a quarter of four users bought has two bits, one that all bought none."""
    lists = np.array([[0, 1], [0, NO_ITEM], [NO_ITEM, NO_ITEM]])
    assert metrics.novelty(lists, np.array([1, 4]), 4).tolist() == [1.0, 2.0, 0.0]


SCORES = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 12)),
    elements=st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 1.0]),
)


@given(SCORES, st.integers(1, 15))
def test_top_is_a_stable_sort(scores: np.ndarray, k: int) -> None:
    """The best k are the first of a stable sort of all, without those that are never listed."""
    for line, found in zip(scores, metrics.top(scores, k), strict=True):
        wanted = [item for item in np.argsort(-line, kind="stable") if line[item] > -np.inf][:k]
        assert found.tolist() == wanted + [NO_ITEM] * (k - len(wanted))


@st.composite
def judged_lists(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Hits of some lists, and counts of relevant items that allow them."""
    hit = draw(arrays.arrays(np.bool_, st.tuples(st.integers(1, 4), st.integers(1, 8))))
    more = draw(arrays.arrays(np.int64, len(hit), elements=st.integers(0, 5)))
    return hit, np.maximum(hit.sum(axis=1) + more, 1)


@given(judged_lists())
def test_metrics_are_between_0_and_1(judged: tuple[np.ndarray, np.ndarray]) -> None:
    """No list is worse than nothing or better than the best."""
    hit, relevant = judged
    items = int(relevant.max()) + hit.shape[1]
    for values in (
        metrics.precision(hit),
        metrics.recall(hit, relevant),
        metrics.f1(hit, relevant),
        metrics.accuracy(hit, relevant, items),
        metrics.hit_rate(hit),
        metrics.mrr(hit),
        metrics.ndcg(hit, relevant),
    ):
        assert ((values >= 0) & (values <= 1 + 1e-12)).all()


@given(judged_lists(), st.data())
def test_a_hit_further_up_is_never_worse(judged: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    """Moving a hit up past a miss raises NDCG, and lowers no metric."""
    hit, relevant = judged
    swaps = [(row, at) for row, at in np.argwhere(hit) if at and not hit[row, at - 1]]
    if not swaps:
        assert (np.diff(hit.astype(int), axis=1) <= 0).all()  # all hits are in front already
        return
    row, at = data.draw(st.sampled_from(swaps))
    better = hit.copy()
    better[row, [at - 1, at]] = True, False
    assert metrics.ndcg(better, relevant)[row] > metrics.ndcg(hit, relevant)[row]
    assert metrics.mrr(better)[row] >= metrics.mrr(hit)[row]
    assert metrics.precision(better)[row] == metrics.precision(hit)[row]


@given(judged_lists(), st.data())
def test_one_more_hit_is_always_better(judged: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    """With a hit instead of a miss precision, recall, F1 and NDCG rise."""
    hit, relevant = judged
    relevant = relevant + 1
    misses = np.argwhere(~hit).tolist()
    if not misses:
        assert metrics.precision(hit).min() == 1.0
        return
    row, at = data.draw(st.sampled_from(misses))
    better = hit.copy()
    better[row, at] = True
    assert metrics.precision(better)[row] > metrics.precision(hit)[row]
    for metric in (metrics.recall, metrics.f1, metrics.ndcg):
        assert metric(better, relevant)[row] > metric(hit, relevant)[row]
