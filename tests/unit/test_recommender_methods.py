"""The formulas of the closed-form methods, by hand on shops of a few rows."""

from __future__ import annotations

import numpy as np
import pytest

from serving.errors import InvalidInput
from serving.recommender.evaluation.trials import Space, Span, Tried, search
from serving.recommender.evaluation.tuning import fit_weights, worth_in
from serving.recommender.fitted import FittedModel
from serving.recommender.methods import neighbours
from serving.recommender.methods.ease import Ease
from serving.recommender.methods.ensemble import AnyMethod, Ensemble, Part
from serving.recommender.methods.neighbours import ItemKnn, TifuKnn, UserKnn, UserPopularity
from serving.recommender.methods.popularity import Popularity
from serving.recommender.methods.repeats import OwnFrequency
from serving.recommender.methods.towers import Towers
from serving.recommender.orders.purchases import Matrix, Purchases
from serving.recommender.orders.splits import Split
from serving.recommender.training.plan import Plan
from tests.support.shop_purchases import purchases


def raw(method: AnyMethod, past: Purchases) -> Matrix:
    """The method's own scores of all users, before they are scaled."""
    return method.scorer(past, method.learn(past))(past.histories())


def test_popularity_halves_with_age_inside_its_window() -> None:
    """Item 0 sold on the last day (age 1), item 1 twice two half-lives earlier, item 2 before the window."""
    past = purchases([(0, 2, 0), (0, 1, 95), (1, 1, 95), (0, 0, 99)])
    found = raw(Popularity(window_days=10, half_life_days=2.0), past)
    assert found[0] == pytest.approx([0.5**0.5, 2 * 0.5**2.5, 0.0])
    assert raw(Popularity(window_days=10, damped=True), past)[1] == pytest.approx(np.log([2, 3, 1]))


def test_own_frequency_adds_what_is_left_of_each_purchase() -> None:
    """Bought at ages 11 and 1 with a half-life of 10 days; the older one is one basket back."""
    past = purchases([(0, 0, 0), (0, 0, 10), (0, 1, 10), (1, 2, 10)])
    found = raw(OwnFrequency(half_life_days=10.0, basket_decay=0.5), past)
    assert found[0] == pytest.approx([0.5 * 0.5**1.1 + 0.5**0.1, 0.5**0.1, 0])
    assert found[1] == pytest.approx([0, 0, 0.5**0.1])


def test_what_is_sold_no_longer_is_not_offered_again() -> None:
    """With `stock_power` an item that others still buy passes one that the user bought as often."""
    past = purchases([(0, 0, 0), (0, 1, 0), (1, 1, 40), (2, 1, 40)])
    assert raw(OwnFrequency(half_life_days=None), past)[0, :2].tolist() == [1.0, 1.0]
    stocked = OwnFrequency(half_life_days=None, stock_power=1.0)
    assert raw(stocked, past)[0, :2].tolist() == [1.0, 3.0]


def test_tifu_weighs_baskets_and_groups() -> None:
    """Three baskets in groups of two, the first group not full: eq. 1 to 3 of the paper, alone and with a neighbour."""
    past = purchases([(0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 0, 2)])
    own = TifuKnn(group_size=2, within_decay=0.9, group_decay=0.7, neighbours=1, own_share=1.0)
    by_hand = [0.7 * 1 / 2, 0.9 / 2 / 2, 1 / 2 / 2]
    assert raw(own, past)[0] == pytest.approx(by_hand)
    mixed = own.model_copy(update={"own_share": 0.6})
    assert raw(mixed, past)[0] == pytest.approx([0.6 * by_hand[0] + 0.4, 0.6 * by_hand[1], 0.6 * by_hand[2]])


def test_tifu_takes_the_nearest() -> None:
    """Of two others the one with the same basket is the neighbour, by either measure."""
    past = purchases([(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0), (1, 2, 0), (2, 3, 0)])
    for similarity in ("euclidean", "cosine"):
        found = raw(TifuKnn(neighbours=1, own_share=0.0, similarity=similarity), past)
        assert found[0].tolist() == [1.0, 1.0, 1.0, 0.0]


def test_users_are_alike_by_jaccard() -> None:
    """User 0 has {0, 1}; of {1, 2} it is a third, of {0, 1, 3} two thirds, of {4} nothing; only the nearest count."""
    past = purchases(
        [(0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 2, 1), (2, 0, 0), (2, 1, 1), (2, 1, 2), (2, 3, 2), (3, 4, 0)]
    )
    assert raw(UserKnn(), past)[0] == pytest.approx([2 / 3, 1, 1 / 3, 2 / 3, 0])
    assert raw(UserKnn(neighbours=1), past)[0] == pytest.approx([2 / 3, 2 / 3, 0, 2 / 3, 0])


def test_user_popularity_sums_the_shares_of_like_users() -> None:
    """User 1 has one of two items in common with user 0 (cosine 1/2), squared; each share is per basket."""
    past = purchases([(0, 0, 0), (0, 1, 1), (1, 1, 0), (1, 2, 1), (1, 2, 2)])
    found = raw(UserPopularity(locality=2.0), past)
    assert found[0] == pytest.approx([1 / 2, 1 / 2 + 1 / 4 * 1 / 3, 1 / 4 * 2 / 3])
    last = raw(UserPopularity(locality=2.0, recent_baskets=1), past)
    assert last[0] == pytest.approx([0, 1, 1 / 4])


@pytest.mark.parametrize("further", [0, 7, 100, 500])
def test_of_level_neighbours_the_first_count_whoever_else_is_there(further: int) -> None:
    """Forty are as near, five count: the first five, also with any number of users who bought something else."""
    level = [(0, 0, 0), *((user, item, 0) for user in range(1, 41) for item in (0, user))]
    past = purchases([*level, *((41 + user, 41, 0) for user in range(further))])
    found = raw(TifuKnn(neighbours=5), past)[0]
    assert np.flatnonzero(found).tolist() == [0, 1, 2, 3, 4, 5]


def test_item_neighbours_are_by_bm25() -> None:
    """Two users with one item each and one with both: the similarity is the sum over buyers of the two weights.

    Items 2 and 3 are bought by somebody else, and a fifth one, by nobody, changes nothing.
    """
    past = purchases([(0, 0, 0), (1, 1, 0), (2, 0, 0), (2, 1, 0), (3, 2, 0), (3, 3, 0)], items=5)
    method = ItemKnn(neighbours=4, k1=1.0, b=0.0)
    learned = method.learn(past)
    rarity = {1: np.log(5 / 2), 2: np.log(5 / 3)}  # a user of one of the four items, and of two
    weight = {items: 2 / 2 * value for items, value in rarity.items()}
    wanted = [[weight[1] ** 2 + weight[2] ** 2, weight[2] ** 2], [weight[2] ** 2, weight[1] ** 2 + weight[2] ** 2]]
    assert learned["similarities"][:2, :2] == pytest.approx(np.array(wanted), rel=1e-6)


def test_ease_solves_its_equation() -> None:
    """No weight on oneself, and elsewhere the gradient of the ridge regression is zero."""
    rng = np.random.default_rng(0)
    rows = np.argwhere(rng.random((30, 6)) < 0.4)
    past = purchases([(user, item, 0) for user, item in rows.tolist()])
    bought = past.histories().bought().toarray()
    weights = Ease(l2=5.0).learn(past)["weights"].astype(np.float64)
    assert np.diag(weights).tolist() == [0.0] * 6
    gradient = bought.T @ (bought @ weights - bought) + 5.0 * weights
    np.fill_diagonal(gradient, 0.0)
    assert gradient == pytest.approx(np.zeros((6, 6)), abs=1e-4)


def test_fading_ease_forgets_what_went_together_long_ago() -> None:
    """Item 0 went with 1 a year ago and goes with 2 now."""
    old = [(user, item, 0) for user in range(5) for item in (0, 1)]
    new = [(user, item, 365) for user in range(5, 10) for item in (0, 2)]
    past = purchases(old + new)
    plain, fading = (Ease(l2=1.0, half_life_days=days).learn(past)["weights"] for days in (None, 60.0))
    assert plain[0, 1] == pytest.approx(plain[0, 2])
    assert fading[0, 2] > 5 * fading[0, 1]


def test_a_blend_is_the_weighted_sum_on_one_scale() -> None:
    """Each part's best item counts 1, however large its scores are."""
    past = purchases([(0, 0, 0), (0, 1, 1), (1, 1, 1), (2, 1, 1)])
    popular, own = Popularity(), OwnFrequency(half_life_days=None)
    blend = Ensemble(parts=(Part(method=popular, weight=2.0), Part(method=own, weight=0.5)))
    assert raw(blend, past)[0] == pytest.approx([2.0 / 3 + 0.5, 2.0 + 0.5])


def test_too_many_items_for_a_square_matrix_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how many there are and how many can be."""
    monkeypatch.setattr("serving.recommender.methods.ease.MAX_ITEMS", 3)
    monkeypatch.setattr(neighbours, "MAX_ITEMS", 3)
    for method in (Ease(), ItemKnn()):
        with pytest.raises(InvalidInput, match="items: 4"):
            FittedModel.fit(method, purchases([(0, 3, 0)]))


@pytest.fixture
def habits() -> Split:
    """Twenty users who each buy their own item again and again, in a shop where others sell better."""
    past = [(user, user, day) for user in range(20) for day in range(5)]
    past += [(user, item, user % 5) for user in range(20, 30) for item in range(20, 30)]
    later = [(user, user, 20) for user in range(20)] + [(user, (user + 1) % 20, 20) for user in range(20)]
    whole, before = purchases(past + later), purchases(past, users=30, items=30)
    rows = whole.day >= 20
    return Split(before, Purchases(whole.user[rows], whole.item[rows], whole.day[rows], whole.user_ids, whole.item_ids))


def test_weights_are_fitted_to_what_came_later(habits: Split) -> None:
    """Repeat purchase gets the weight that popularity, which misses it, cannot earn."""
    blend = Ensemble(parts=(Part(method=Popularity()), Part(method=OwnFrequency(), weight=0.0)))
    fitted = fit_weights(blend, habits)
    assert fitted.parts[0].weight == 1.0
    assert fitted.parts[1].weight > 0
    assert fit_weights(blend, habits) == fitted


@pytest.mark.parametrize("trials", [2, 20])
def test_the_best_setting_is_searched(trials: int, habits: Split) -> None:
    """All points of a small space, some of a large one: what is found is worth the most of what was tried."""
    tried: list[Tried] = []
    space = {"own_share": (0.0, 0.5, 1.0), "within_decay": (0.5, 1.0)}
    found = search(TifuKnn(neighbours=1), space, habits, "a", trials=trials, tell=tried.append)
    assert len(tried) == min(trials, 6)
    assert worth_in(found, habits, "a") == max(trial.worth for trial in tried)
    assert found == search(TifuKnn(neighbours=1), space, habits, "a", trials=trials)


def test_numbers_are_searched_between_their_bounds(habits: Split) -> None:
    """Spans give numbers within them, whole ones where both ends are, and settings of settings have a dotted name."""
    tried: list[Tried] = []
    space = {"dim": Span(2, 4), "plan.learning_rate": Span(1e-3, 1e-2, log=True)}
    base = Towers(history=4, plan=Plan(epochs=1))
    found = search(base, space, habits, "a", trials=3, tell=tried.append)
    assert all(trial.settings["dim"] in {2, 3, 4} for trial in tried)
    assert 1e-3 <= found.plan.learning_rate <= 1e-2
    assert found.plan.epochs == 1


@pytest.mark.parametrize("space", [{"no_such": (1, 2)}, {"own_share": (7.0,)}, {"plan.epochs": (1,)}])
def test_a_space_of_other_settings_is_refused(space: Space, habits: Split) -> None:
    """The error names the setting."""
    with pytest.raises(InvalidInput, match=next(iter(space)).split(".", maxsplit=1)[0]):
        search(TifuKnn(), space, habits, "a")
