"""What every recommendation model promises, whatever it has learned; see serving/recommender/interface.py."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from serving.errors import CorruptArtefact, InvalidInput
from serving.recommender.fitted import FittedModel
from serving.recommender.generated.orders import generate_orders
from serving.recommender.interface import Bought, Model
from serving.recommender.methods.als import Als
from serving.recommender.methods.ease import Ease
from serving.recommender.methods.ensemble import AnyMethod, Ensemble, Part
from serving.recommender.methods.nearest import Nearest
from serving.recommender.methods.neighbours import ItemKnn, TifuKnn, UserPopularity
from serving.recommender.methods.popularity import Popularity
from serving.recommender.methods.ranking import Ranked
from serving.recommender.methods.repeats import OwnFrequency
from serving.recommender.methods.sasrec import Sasrec
from serving.recommender.methods.towers import Towers
from serving.recommender.orders.purchases import Purchases
from serving.recommender.storage import IDS, LEARNED, MODEL, PURCHASES
from serving.recommender.training.plan import Plan

METHODS: dict[str, AnyMethod] = {
    "popularity": Popularity(window_days=14, half_life_days=7.0, damped=True),
    "own frequency": OwnFrequency(basket_decay=0.9, stock_power=0.25),
    "tifu-knn": TifuKnn(neighbours=20),
    "tifu-knn by cosine": TifuKnn(neighbours=20, similarity="cosine"),
    "user popularity": UserPopularity(recent_baskets=3),
    "item-knn": ItemKnn(neighbours=10),
    "ease": Ease(l2=10.0),
    "fading ease": Ease(l2=10.0, half_life_days=30.0),
    "als": Als(factors=8, iterations=3),
    "two towers": Towers(dim=8, history=16, plan=Plan(epochs=2, learning_rate=0.02)),
    "sasrec": Sasrec(dim=8, length=16, baskets=4, trend_days=(7,), plan=Plan(epochs=2, learning_rate=0.02)),
    "nearest": Nearest(model=Als(factors=8, iterations=3), count=30),
    "nearest by a graph": Nearest(
        model=Towers(dim=8, history=16, plan=Plan(epochs=2, learning_rate=0.02)), count=30, exact_below=0
    ),
    "ensemble": Ensemble(parts=(Part(method=OwnFrequency()), Part(method=Ease(l2=10.0), weight=0.5))),
    "ranked": Ranked(
        parts=(Ease(l2=10.0), OwnFrequency()), each=20, months=2, span_days=7, networks=2, plan=Plan(epochs=1)
    ),
}
PERSONAL = [name for name in METHODS if name != "popularity"]
STORED = (MODEL, IDS, PURCHASES, LEARNED)


@pytest.fixture(scope="module")
def shop() -> Purchases:
    return Purchases.of(generate_orders(2, 80, 60, 60))


@pytest.fixture(scope="module")
def models(shop: Purchases) -> dict[str, FittedModel]:
    return {name: FittedModel.fit(method, shop) for name, method in METHODS.items()}


@pytest.fixture(params=METHODS)
def model(request: pytest.FixtureRequest, models: dict[str, FittedModel]) -> Model[AnyMethod]:
    return models[request.param]


@pytest.fixture(params=PERSONAL)
def personal(request: pytest.FixtureRequest, models: dict[str, FittedModel]) -> Model[AnyMethod]:
    return models[request.param]


def before(shop: Purchases, day: int) -> tuple[Purchases, Purchases]:
    """The purchases before a day, and from it on."""
    earlier, later = shop.day < day, shop.day >= day
    first, second = (
        replace(shop, user=shop.user[rows], item=shop.item[rows], day=shop.day[rows]) for rows in (earlier, later)
    )
    return first, second


def test_a_list_is_ordered_and_names_items_once(model: Model[AnyMethod], shop: Purchases) -> None:
    """Ten different known items, best first."""
    offers = model.recommend(shop.user_ids[0], 10)
    assert len({offer.item_id for offer in offers}) == 10
    assert {offer.item_id for offer in offers} <= set(shop.item_ids)
    scores = [offer.score for offer in offers]
    assert scores == sorted(scores, reverse=True)


def test_scores_are_the_list(model: Model[AnyMethod], shop: Purchases) -> None:
    """The highest score of a user's row is the first of the list, alone or among others."""
    users = shop.user_ids[:5]
    scores = model.score(users)
    assert scores.shape == (5, len(model.item_ids))
    assert not np.isnan(scores).any()
    for row, user in zip(scores, users, strict=True):
        assert model.item_ids[row.argmax()] == model.recommend(user, 1)[0].item_id


def test_an_unknown_user_gets_what_is_popular(model: Model[AnyMethod], models: dict[str, FittedModel]) -> None:
    """Nobody is refused: an unknown id, an empty history and one of unknown items get the popular list."""
    popular = [offer.item_id for offer in model.recommend([], 10)]
    for nobody in ("nobody", "", "مستخدم", [Bought("no such item", 15_000)]):
        assert [offer.item_id for offer in model.recommend(nobody, 10)] == popular
    window = FittedModel.fit(Popularity(), models["popularity"].past)
    if model is not models["popularity"]:
        assert popular == [offer.item_id for offer in window.recommend([], 10)]


def test_unknown_items_of_a_history_say_nothing(model: Model[AnyMethod], shop: Purchases) -> None:
    """An item that left the catalogue changes no score, nor does a line that is there twice."""
    history = [Bought(shop.item_ids[3], shop.as_of_day - 3), Bought(shop.item_ids[7], shop.as_of_day - 2)]
    more = [*history, Bought("gone", shop.as_of_day - 2), history[0]]
    assert (model.score([history]) == model.score([more])).all()


def test_a_history_is_as_good_as_the_user_who_has_it(personal: Model[AnyMethod], shop: Purchases) -> None:
    """Somebody unknown gets a list by what they bought, and it is not the popular one."""
    history = [Bought(shop.item_ids[item], shop.as_of_day - 1) for item in (50, 41)]
    assert personal.recommend(history, 10) != personal.recommend([], 10)


def test_a_history_of_10_000_events_is_answered(model: Model[AnyMethod], shop: Purchases) -> None:
    """Length is no error, and neither are days that never were or are still to come."""
    days = [-(10**30), 10**30, *(shop.as_of_day - n for n in range(9_998))]
    history = [Bought(shop.item_ids[n % len(shop.item_ids)], day) for n, day in enumerate(days)]
    assert len(model.recommend(history, 10)) == 10


def test_bought_items_are_left_out_if_wanted(model: Model[AnyMethod], shop: Purchases) -> None:
    """Without them the list is what is left, in the same order, and may be shorter than wanted."""
    user = 0
    bought = {shop.item_ids[item] for item in shop.item[shop.user == user]}
    offers = model.recommend(shop.user_ids[user], 1_000, exclude_bought=True)
    assert bought
    assert not bought & {offer.item_id for offer in offers}
    rest = [offer for offer in model.recommend(shop.user_ids[user], 1_000) if offer.item_id not in bought]
    assert offers == rest


def test_items_that_nobody_bought_are_never_offered(shop: Purchases) -> None:
    """They have no score; the other items are all offered, if so many are wanted."""
    catalogue = replace(shop, item_ids=(*shop.item_ids, "never sold"))
    for method in METHODS.values():
        model = FittedModel.fit(method, catalogue)
        offers = model.recommend(shop.user_ids[1], 1_000)
        assert {offer.item_id for offer in offers} == {shop.item_ids[item] for item in shop.item}


@pytest.mark.parametrize("k", [0, -1])
def test_a_list_has_at_least_one_place(model: Model[AnyMethod], k: int) -> None:
    """Asking for no item is an error of the one who asks."""
    with pytest.raises(InvalidInput, match="not at least 1"):
        model.recommend("nobody", k)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_same_data_gives_the_same_model(method: AnyMethod, shop: Purchases) -> None:
    """Two fits score alike to the last bit."""
    first, second = FittedModel.fit(method, shop), FittedModel.fit(method, shop)
    assert (first.score(shop.user_ids) == second.score(shop.user_ids)).all()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_an_update_equals_a_fit_on_everything(method: AnyMethod, shop: Purchases) -> None:
    """What came later, told afterwards, makes the model of all of it."""
    past, later = before(shop, int(np.median(shop.day)))
    updated = FittedModel.fit(method, past).update(later)
    assert (updated.score(shop.user_ids) == FittedModel.fit(method, shop).score(shop.user_ids)).all()


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_an_update_brings_new_users_and_items(method: AnyMethod, shop: Purchases) -> None:
    """After it a new item can be offered, and a new user has a history."""
    one = np.array([0])
    day = np.array([shop.as_of_day])
    updated = FittedModel.fit(method, shop).update(Purchases(one, one, day, ("new user",), ("new item",)))
    assert "new item" in {offer.item_id for offer in updated.recommend("new user", 1_000)}
    offers = updated.recommend("new user", 1_000, exclude_bought=True)
    assert "new item" not in {offer.item_id for offer in offers}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_nothing_cannot_be_learned_from(method: AnyMethod, shop: Purchases) -> None:
    """A fit without purchases is one clear error."""
    with pytest.raises(InvalidInput, match="nothing to learn from"):
        FittedModel.fit(method, before(shop, 0)[0])


def test_a_saved_model_scores_the_same(model: Model[AnyMethod], shop: Purchases, tmp_path: Path) -> None:
    """To the last bit, for known and unknown users."""
    model.save(tmp_path)
    loaded = FittedModel.load(tmp_path)
    users = [*shop.user_ids, "nobody", [Bought(shop.item_ids[0], shop.as_of_day)]]
    assert (loaded.score(users) == model.score(users)).all()
    assert loaded.item_ids == model.item_ids


def test_a_model_is_safetensors_and_json(model: Model[AnyMethod], tmp_path: Path) -> None:
    """No file of it is of a format that can run code."""
    model.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(STORED)


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("harm", ["missing", "truncated", "changed", "link"])
def test_a_damaged_file_is_refused_by_its_name(
    models: dict[str, FittedModel], name: str, harm: str, tmp_path: Path
) -> None:
    """Whatever happened to one file, the error names it."""
    models["ensemble"].save(tmp_path)
    path = tmp_path / name
    data = path.read_bytes()
    if harm == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif harm == "changed":
        path.write_bytes(data[:-3] + b"\xff" + data[-2:])
    else:
        path.unlink()
    if harm == "link":
        path.symlink_to("/dev/null")
    with pytest.raises(CorruptArtefact, match=re.escape(name)):
        FittedModel.load(tmp_path)


def test_arrays_of_another_method_are_refused(models: dict[str, FittedModel], tmp_path: Path) -> None:
    """Settings that lie about what was learned are found out, not scored with."""
    models["ease"].save(tmp_path)
    path = tmp_path / MODEL
    stored = json.loads(path.read_bytes())
    stored["method"] = {"kind": "item_knn"}
    path.write_text(json.dumps(stored))
    with pytest.raises(CorruptArtefact, match=re.escape(LEARNED)):
        FittedModel.load(tmp_path)


def test_arrays_of_another_shop_are_refused(models: dict[str, FittedModel], shop: Purchases, tmp_path: Path) -> None:
    """Weights of 60 items do not score 61."""
    larger = replace(shop, item_ids=(*shop.item_ids, "one more"))
    learned = {"weights": np.zeros((60, 60), dtype=np.float32)}
    with pytest.raises(ValueError, match=r"\(60, 60\)"):
        FittedModel(Ease(), larger, learned)


def test_unknown_settings_are_refused(models: dict[str, FittedModel], tmp_path: Path) -> None:
    """A model of a kind or with a setting that this version does not know is not guessed at."""
    models["popularity"].save(tmp_path)
    path = tmp_path / MODEL
    stored = json.loads(path.read_bytes())
    for method in ({"kind": "oracle"}, {"kind": "popularity", "window_days": 0}, {"kind": "popularity", "more": 1}):
        path.write_text(json.dumps(stored | {"method": method}))
        with pytest.raises(CorruptArtefact, match=re.escape(MODEL)):
            FittedModel.load(tmp_path)
