"""Verdicts, segments and cross-validation over time, on tracks made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from serving.errors import InvalidInput
from serving.recommender.evaluation.rolling import cross_validate, rolling_origins, spread
from serving.recommender.evaluation.segments import by_history, by_label, by_popularity, by_segment, item_bands
from serving.recommender.evaluation.tracks import Evaluation, evaluate
from serving.recommender.evaluation.tuning import score_of
from serving.recommender.evaluation.verdict import verdict
from serving.recommender.fitted import FittedModel
from serving.recommender.generated.orders import generate_orders
from serving.recommender.methods.popularity import Popularity
from serving.recommender.methods.repeats import OwnFrequency
from serving.recommender.orders.purchases import Purchases
from serving.recommender.orders.splits import Split, Track, tracks
from tests.support.shop_purchases import purchases

USERS = 400


def evaluation(values: np.ndarray, track: str = "a") -> Evaluation:
    """One with these values of NDCG@10."""
    past = purchases([(user, 0, 1) for user in range(len(values))])
    relevant = sparse.csr_matrix(np.ones((len(values), 1)))
    asked = Track(track, past, np.arange(len(values)), relevant, None)
    return Evaluation(asked, {"ndcg@10": values}, {10: 1.0}, np.zeros((len(values), 10), dtype=np.int64))


@pytest.mark.parametrize(
    ("gain", "noise", "outcome", "passes"),
    [
        (0.02, 0.02, "better", True),
        (0.0, 0.02, "as good", True),
        (-0.03, 0.02, "worse", False),
        (0.0, 0.9, "undecided", False),
    ],
)
def test_a_candidate_is_judged_by_the_interval(gain: float, noise: float, outcome: str, passes: bool) -> None:
    """Better and as good pass; worse does not, and neither does what too few users can tell."""
    rng = np.random.default_rng(2)
    before = 0.3 + 0.1 * rng.random(USERS)
    offset = rng.normal(0, noise, USERS)
    found = verdict([evaluation(before + gain + offset - offset.mean())], [evaluation(before)])
    assert found.tracks[0].outcome == outcome
    assert found.passes is passes
    assert f"track a: {outcome}" in found.reason


def test_one_bad_track_is_enough_to_fail() -> None:
    """A gain in one track does not pay for a loss in the other."""
    before = np.full(USERS, 0.3)
    better, worse = evaluation(before + 0.1), evaluation(before - 0.1, "b")
    found = verdict([better, worse], [evaluation(before), evaluation(before, "b")])
    assert [track.outcome for track in found.tracks] == ["better", "worse"]
    assert not found.passes


def test_what_cannot_be_compared_is_refused() -> None:
    """Another number of tracks, another metric, other users, a tolerance that is no share."""
    one = evaluation(np.full(USERS, 0.3))
    with pytest.raises(InvalidInput, match="tracks"):
        verdict([one], [])
    with pytest.raises(InvalidInput, match="no such metric"):
        verdict([one], [one], metric="ndgc")
    with pytest.raises(InvalidInput, match="different users"):
        verdict([one], [evaluation(np.full(USERS - 1, 0.3))])
    with pytest.raises(InvalidInput, match="tolerance"):
        verdict([one], [one], tolerance=1.5)


@pytest.fixture(scope="module")
def shop() -> Purchases:
    return Purchases.of(generate_orders(2, 80, 60, 60))


@pytest.fixture(scope="module")
def judged(shop: Purchases) -> Evaluation:
    cut = shop.as_of_day - 14
    split = Split(shop.from_day(0, cut), shop.from_day(cut, shop.as_of_day))
    everything, _ = tracks(split, min_rows=1)
    return evaluate(score_of(FittedModel.fit(OwnFrequency(), split.past)), everything)


def test_segments_of_users_make_up_the_whole(judged: Evaluation) -> None:
    """By history and by label every user is in one segment, and the weighted means give the mean of all."""
    labels = {f"U{n:05d}": "here" if n % 2 else "there" for n in range(70)}
    for segments in (by_history(judged.track), by_label(judged.track, labels, at_least=5)):
        rows = by_segment(judged, segments, ["recall@10"])
        assert sum(row.users for row in rows) == len(judged.track.users)
        parts = [row.users * row.metrics["recall@10"] for row in rows if row.users]
        assert sum(parts) / len(judged.track.users) == pytest.approx(judged.mean("recall@10"))


def test_rare_labels_are_one_segment(judged: Evaluation) -> None:
    """A country of two users says nothing by itself."""
    ids = judged.track.past.user_ids
    labels = {ids[user]: "large" for user in judged.track.users} | {ids[judged.track.users[0]]: "tiny"}
    assert list(by_label(judged.track, labels, at_least=5)) == ["large", "others"]
    called = {ids[user]: "others" for user in judged.track.users} | {ids[judged.track.users[0]]: "tiny"}
    (everybody,) = by_label(judged.track, called, at_least=5).values()
    assert everybody.all()


def test_bands_of_items_are_cut_by_their_share_of_purchases(judged: Evaluation) -> None:
    """The first half of all purchases is the head; shares of lists sum to 1."""
    assert item_bands(np.array([50, 30, 15, 5])).tolist() == [0, 1, 2, 2]
    rows = by_popularity(judged)
    assert [row.segment for row in rows] == ["head", "middle", "tail"]
    assert sum(row.metrics["share@10"] for row in rows) == pytest.approx(1.0)
    assert all(0 <= row.metrics["recall@10"] <= 1 for row in rows)


def test_each_fold_is_predicted_from_what_came_before_it(shop: Purchases) -> None:
    """Origins are one span apart, and no past reaches into its span."""
    splits = rolling_origins(shop, folds=3, span_days=7)
    for split, later in zip(splits, [*splits[1:], None], strict=True):
        assert int(split.past.day[-1]) < int(split.later.day[0])
        assert int(split.later.day[-1]) - int(split.later.day[0]) < 7
        if later is not None:
            assert len(later.past) == len(split.past) + len(split.later)
    folds = cross_validate(lambda past: score_of(FittedModel.fit(Popularity(), past)), splits)
    mean, deviation = spread(folds, "a", "ndcg@10")
    assert mean == pytest.approx(np.mean([fold.tracks["a"].mean("ndcg@10") for fold in folds]))
    assert deviation >= 0


def test_more_folds_than_there_is_time_for_are_refused(shop: Purchases) -> None:
    """The error says what does not fit."""
    with pytest.raises(InvalidInput, match="fit into"):
        rolling_origins(shop, folds=20, span_days=7)
