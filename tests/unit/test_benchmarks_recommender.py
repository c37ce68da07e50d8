"""The recommender's benchmark: what its table says of a small shop, and what it promises on the real one."""

from __future__ import annotations

from datetime import date

import pytest

from benchmarks.recommender import (
    EASE,
    FADING,
    NDCG,
    PIPELINE,
    QUICK,
    REPEAT,
    TEST_FROM,
    TIFU,
    TUNE_FROM,
    blend,
    data_folder,
    judged,
    pipeline,
    section,
    settings,
)
from serving.recommender.evaluation.tracks import compare, evaluate
from serving.recommender.evaluation.tuning import score_of
from serving.recommender.fitted import FittedModel
from serving.recommender.generated.orders import generate_orders
from serving.recommender.methods.ease import Ease
from serving.recommender.methods.ensemble import AnyMethod, Ensemble, Part
from serving.recommender.methods.neighbours import ItemKnn, TifuKnn, UserPopularity
from serving.recommender.methods.popularity import Popularity
from serving.recommender.methods.repeats import OwnFrequency
from serving.recommender.orders.data import load_orders
from serving.recommender.orders.purchases import Purchases
from serving.recommender.orders.splits import splits_by_date, tracks


def test_the_table_is_what_was_measured() -> None:
    """One row per model with the means of its lists, and the goals are about the paired differences."""
    shop = Purchases.of(generate_orders(1, 100, 80, 120))
    splits = splits_by_date(shop, tune_from=date(2024, 3, 1), test_from=date(2024, 4, 1))
    chosen: dict[str, AnyMethod] = {entrant.name: entrant.base for entrant in QUICK}
    chosen[PIPELINE] = blend(chosen)
    found = judged(chosen, splits.test, lambda _: None)
    made = section(chosen, found, found, 12.0, [1.0, 2.0])
    cells = {(figure.subject, figure.measure): figure.values for figure in made.figures}
    assert {subject for subject, _ in cells} == set(chosen)
    assert cells[TIFU, "NDCG@10 a"] == (found[TIFU].a.mean(NDCG),)
    assert cells[EASE, "coverage@10 b"] == (found[EASE].b.coverage[10],)
    goals = {goal.what: goal for goal in made.goals}
    gain = compare(found[PIPELINE].b, found[EASE].b, NDCG)
    assert goals["pipeline over EASE in track b: NDCG@10, lower end of 95 %"].values == (gain.low,)
    assert goals["one user's list, p99"].values == (2.0,)
    assert "track a" in made.how
    assert settings(chosen[TIFU]) in made.how


def test_the_blend_begins_with_fading_ease_alone() -> None:
    """Every other part has to earn its weight on the tuning month."""
    parts = blend({entrant.name: entrant.base for entrant in QUICK}).parts
    assert [part.method.kind for part in parts if part.weight] == ["ease"]
    assert settings(Ensemble(parts=parts)) == "1 x ease"


@pytest.mark.shared
@pytest.mark.campaign
@pytest.mark.timeout(1_800)
def test_the_ranker_reaches_five_percent_over_both_peers_on_the_real_shop() -> None:
    """With the settings chosen on October: lower ends above zero, and 5 % over TIFU-KNN in a and EASE in b."""
    splits = splits_by_date(Purchases.of(load_orders(data_folder())), tune_from=TUNE_FROM, test_from=TEST_FROM)
    tifu = TifuKnn(group_size=100, within_decay=0.95, group_decay=1.0, own_share=0.7, similarity="cosine")
    chosen: dict[str, AnyMethod] = {
        FADING: Ease(l2=100.0, half_life_days=45.0),
        REPEAT: OwnFrequency(half_life_days=None, basket_decay=0.95, stock_power=0.25),
        "UP-CF": UserPopularity(recent_baskets=10, locality=4.0),
        "item-kNN (BM25)": ItemKnn(neighbours=20, k1=0.6),
        TIFU: tifu,
    }
    ours = score_of(FittedModel.fit(pipeline(chosen), splits.test.past))
    for track, peer in zip(tracks(splits.test), (tifu, Ease(l2=300.0)), strict=True):
        theirs = evaluate(score_of(FittedModel.fit(peer, splits.test.past)), track)
        gain = compare(evaluate(ours, track), theirs, NDCG)
        assert gain.low > 0
        assert gain.mean >= 0.05 * theirs.mean(NDCG)


@pytest.mark.campaign
@pytest.mark.shared
def test_one_pipeline_is_above_tifu_knn_and_ease_on_the_real_shop() -> None:
    """With settings chosen on October: both lower ends above zero, and the peers where others measured them."""
    splits = splits_by_date(Purchases.of(load_orders(data_folder())), tune_from=TUNE_FROM, test_from=TEST_FROM)
    repeat = OwnFrequency(half_life_days=None, basket_decay=0.95, stock_power=0.25)
    blended = Ensemble(
        parts=(
            Part(method=Ease(l2=100.0, half_life_days=90.0)),
            Part(method=repeat, weight=4.0),
            Part(method=Popularity(window_days=14, damped=True), weight=0.2),
        )
    )
    everything, fresh = tracks(splits.test)
    assert (len(everything.users), len(fresh.users)) == (1_396, 1_325)
    scores = {
        name: score_of(FittedModel.fit(method, splits.test.past))
        for name, method in ((PIPELINE, blended), (TIFU, TifuKnn(neighbours=300)), (EASE, Ease(l2=300.0)))
    }
    ours = [evaluate(scores[PIPELINE], track) for track in (everything, fresh)]
    tifu, ease = evaluate(scores[TIFU], everything), evaluate(scores[EASE], fresh)
    assert tifu.mean(NDCG) == pytest.approx(0.335, abs=0.01)
    assert ease.mean(NDCG) == pytest.approx(0.096, abs=0.002)
    assert compare(ours[0], tifu, NDCG).low > 0
    assert compare(ours[1], ease, NDCG).low > 0
