"""What every recommendation model promises, whatever it has learned; see serving/recommender/interface.py."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serving.errors import CorruptArtefact, InvalidInput
from serving.recommender.clicks.model import ClickModel
from serving.recommender.content import ContentModel
from serving.recommender.fitted import FittedModel
from serving.recommender.generated.orders import generate_orders
from serving.recommender.interface import Bought, Model
from serving.recommender.methods.als import Als
from serving.recommender.methods.ease import Ease
from serving.recommender.methods.ensemble import AnyMethod, Ensemble, Part
from serving.recommender.methods.nearest import Nearest
from serving.recommender.methods.neighbours import ItemKnn, TifuKnn, UserKnn, UserPopularity
from serving.recommender.methods.popularity import Popularity
from serving.recommender.methods.ranking import Ranked
from serving.recommender.methods.repeats import OwnFrequency
from serving.recommender.methods.sasrec import Sasrec
from serving.recommender.methods.towers import Towers
from serving.recommender.multimodal.taste import TasteModel
from serving.recommender.orders.purchases import Purchases
from serving.recommender.storage import IDS, LEARNED, MODEL, PURCHASES
from serving.recommender.training.plan import Plan
from tests.support import content_models

METHODS: dict[str, AnyMethod] = {
    "popularity": Popularity(window_days=14, half_life_days=7.0, damped=True),
    "own frequency": OwnFrequency(basket_decay=0.9, stock_power=0.25),
    "tifu-knn": TifuKnn(neighbours=20),
    "tifu-knn by cosine": TifuKnn(neighbours=20, similarity="cosine"),
    "user-knn": UserKnn(neighbours=20),
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
STORED = (MODEL, IDS, PURCHASES, LEARNED)


@dataclass(frozen=True)
class Kind:
    """A way to a model, and what it promises beyond the others, or less."""

    fit: Callable[[Purchases], Model[Any]]
    load: Callable[[Path], Model[Any]] = FittedModel.load
    stored: tuple[str, ...] = STORED
    by_content: bool = False
    """Whether it offers what nobody bought yet."""
    popular_first: bool = True
    """Whether somebody unknown gets the popular list; else what it thinks likely of anybody."""
    retrains: bool = True
    """Whether an update is a fit on everything."""


KINDS = {name: Kind(lambda past, method=method: FittedModel.fit(method, past)) for name, method in METHODS.items()} | {
    "content": Kind(
        lambda past: ContentModel.fit(content_models.content(past), past),
        ContentModel.load,
        (MODEL, IDS, PURCHASES, "attributes.json"),
        by_content=True,
    ),
    "taste": Kind(
        lambda past: TasteModel.fit(content_models.lesson(past), past),
        TasteModel.load,
        (MODEL, IDS, PURCHASES, "people.json", "taste.safetensors"),
        by_content=True,
        popular_first=False,
    ),
    "clicks": Kind(
        lambda past: ClickModel.fit(content_models.watched(past), past),
        ClickModel.load,
        (MODEL, IDS, PURCHASES, "known.json", "shop.json", LEARNED),
        by_content=True,
        popular_first=False,
        retrains=False,
    ),
}
PERSONAL = [name for name in KINDS if name != "popularity"]
DAMAGED = [(kind, name) for kind in ("ensemble", "content", "taste", "clicks") for name in KINDS[kind].stored]


@pytest.fixture(scope="module")
def shop() -> Purchases:
    return Purchases.of(generate_orders(2, 80, 60, 60))


@pytest.fixture(scope="module")
def models(shop: Purchases) -> dict[str, Model[Any]]:
    return {name: kind.fit(shop) for name, kind in KINDS.items()}


@pytest.fixture(params=KINDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def kind(name: str) -> Kind:
    return KINDS[name]


@pytest.fixture
def model(name: str, models: dict[str, Model[Any]]) -> Model[Any]:
    return models[name]


@pytest.fixture(params=PERSONAL)
def personal(request: pytest.FixtureRequest, models: dict[str, Model[Any]]) -> Model[Any]:
    return models[request.param]


def before(shop: Purchases, day: int) -> tuple[Purchases, Purchases]:
    """The purchases before a day, and from it on."""
    earlier, later = shop.day < day, shop.day >= day
    first, second = (
        replace(shop, user=shop.user[rows], item=shop.item[rows], day=shop.day[rows]) for rows in (earlier, later)
    )
    return first, second


def test_a_list_is_ordered_and_names_items_once(model: Model[Any], shop: Purchases) -> None:
    """Ten different known items, best first."""
    offers = model.recommend(shop.user_ids[0], 10)
    assert len({offer.item_id for offer in offers}) == 10
    assert {offer.item_id for offer in offers} <= set(shop.item_ids)
    scores = [offer.score for offer in offers]
    assert scores == sorted(scores, reverse=True)


def test_scores_are_the_list(model: Model[Any], shop: Purchases) -> None:
    """The highest score of a user's row is the first of the list, alone or among others."""
    users = shop.user_ids[:5]
    scores = model.score(users)
    assert scores.shape == (5, len(model.item_ids))
    assert not np.isnan(scores).any()
    for row, user in zip(scores, users, strict=True):
        assert model.item_ids[row.argmax()] == model.recommend(user, 1)[0].item_id


def test_an_unknown_user_gets_what_is_popular(name: str, kind: Kind, model: Model[Any], shop: Purchases) -> None:
    """Nobody is refused: an unknown id, an empty history and one of unknown items get one list, mostly the popular."""
    usual = [offer.item_id for offer in model.recommend([], 10)]
    assert len(usual) == 10
    for nobody in ("nobody", "", "مستخدم", [Bought("no such item", 15_000)]):
        assert [offer.item_id for offer in model.recommend(nobody, 10)] == usual
    if kind.popular_first and name != "popularity":  # which has a window of its own here
        window = FittedModel.fit(Popularity(), shop)
        assert usual == [offer.item_id for offer in window.recommend([], 10)]


def test_unknown_items_of_a_history_say_nothing(model: Model[Any], shop: Purchases) -> None:
    """An item that left the catalogue changes no score, nor does a line that is there twice."""
    history = [Bought(shop.item_ids[3], shop.as_of_day - 3), Bought(shop.item_ids[7], shop.as_of_day - 2)]
    more = [*history, Bought("gone", shop.as_of_day - 2), history[0]]
    assert (model.score([history]) == model.score([more])).all()


def test_a_history_is_as_good_as_the_user_who_has_it(personal: Model[Any], shop: Purchases) -> None:
    """Somebody unknown gets a list by what they bought, and it is not the popular one."""
    history = [Bought(shop.item_ids[item], shop.as_of_day - 1) for item in (50, 41)]
    assert personal.recommend(history, 10) != personal.recommend([], 10)


def test_a_history_of_10_000_events_is_answered(model: Model[Any], shop: Purchases) -> None:
    """Length is no error, and neither are days that never were or are still to come."""
    days = [-(10**30), 10**30, *(shop.as_of_day - n for n in range(9_998))]
    history = [Bought(shop.item_ids[n % len(shop.item_ids)], day) for n, day in enumerate(days)]
    assert len(model.recommend(history, 10)) == 10


def test_bought_items_are_left_out_if_wanted(model: Model[Any], shop: Purchases) -> None:
    """Without them the list is what is left, in the same order, and may be shorter than wanted."""
    user = 0
    bought = {shop.item_ids[item] for item in shop.item[shop.user == user]}
    offers = model.recommend(shop.user_ids[user], 1_000, exclude_bought=True)
    assert bought
    assert not bought & {offer.item_id for offer in offers}
    rest = [offer for offer in model.recommend(shop.user_ids[user], 1_000) if offer.item_id not in bought]
    assert offers == rest


def test_items_that_nobody_bought_are_offered_by_content_alone(kind: Kind, shop: Purchases) -> None:
    """Without it they have no score; the other items are all offered, if so many are wanted."""
    catalogue = replace(shop, item_ids=(*shop.item_ids, "never sold"))
    offers = kind.fit(catalogue).recommend(shop.user_ids[1], 1_000)
    sold = {shop.item_ids[item] for item in shop.item}
    assert {offer.item_id for offer in offers} == sold | (set(catalogue.item_ids) if kind.by_content else set())


@pytest.mark.parametrize("k", [0, -1])
def test_a_list_has_at_least_one_place(model: Model[Any], k: int) -> None:
    """Asking for no item is an error of the one who asks."""
    with pytest.raises(InvalidInput, match="not at least 1"):
        model.recommend("nobody", k)


def test_the_same_data_gives_the_same_model(kind: Kind, model: Model[Any], shop: Purchases) -> None:
    """Two fits score alike to the last bit."""
    assert (kind.fit(shop).score(shop.user_ids) == model.score(shop.user_ids)).all()


@pytest.mark.parametrize("kind", [pytest.param(one, id=name) for name, one in KINDS.items() if one.retrains])
def test_an_update_equals_a_fit_on_everything(kind: Kind, shop: Purchases) -> None:
    """What came later, told afterwards, makes the model of all of it."""
    past, later = before(shop, int(np.median(shop.day)))
    updated = kind.fit(past).update(later)
    assert (updated.score(shop.user_ids) == kind.fit(shop).score(shop.user_ids)).all()


def test_an_update_brings_new_users_and_items(model: Model[Any], shop: Purchases) -> None:
    """After it a new item can be offered, and a new user has a history."""
    one = np.array([0])
    day = np.array([shop.as_of_day])
    updated = model.update(Purchases(one, one, day, ("new user",), ("new item",)))
    assert "new item" in {offer.item_id for offer in updated.recommend("new user", 1_000)}
    offers = updated.recommend("new user", 1_000, exclude_bought=True)
    assert "new item" not in {offer.item_id for offer in offers}


def test_nothing_cannot_be_learned_from(kind: Kind, shop: Purchases) -> None:
    """A fit without purchases is one clear error."""
    with pytest.raises(InvalidInput, match="nothing to learn from"):
        kind.fit(before(shop, 0)[0])


def test_a_saved_model_scores_the_same(kind: Kind, model: Model[Any], shop: Purchases, tmp_path: Path) -> None:
    """To the last bit, for known and unknown users; what it is made of is safetensors and JSON, and nothing else."""
    model.save(tmp_path)
    loaded = kind.load(tmp_path)
    users = [*shop.user_ids, "nobody", [Bought(shop.item_ids[0], shop.as_of_day)]]
    assert (loaded.score(users) == model.score(users)).all()
    assert loaded.item_ids == model.item_ids
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kind.stored)


@pytest.mark.parametrize(("damaged", "file"), DAMAGED)
@pytest.mark.parametrize("harm", ["missing", "truncated", "changed", "link"])
def test_a_damaged_file_is_refused_by_its_name(
    models: dict[str, Model[Any]], damaged: str, file: str, harm: str, tmp_path: Path
) -> None:
    """Whatever happened to one file, the error names it."""
    models[damaged].save(tmp_path)
    path = tmp_path / file
    data = path.read_bytes()
    if harm == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif harm == "changed":
        path.write_bytes(data[:-3] + b"\xff" + data[-2:])
    else:
        path.unlink()
    if harm == "link":
        path.symlink_to("/dev/null")
    with pytest.raises(CorruptArtefact, match=re.escape(file)):
        KINDS[damaged].load(tmp_path)


def test_arrays_of_another_method_are_refused(models: dict[str, Model[Any]], tmp_path: Path) -> None:
    """Settings that lie about what was learned are found out, not scored with."""
    models["ease"].save(tmp_path)
    path = tmp_path / MODEL
    stored = json.loads(path.read_bytes())
    stored["method"] = {"kind": "item_knn"}
    path.write_text(json.dumps(stored))
    with pytest.raises(CorruptArtefact, match=re.escape(LEARNED)):
        FittedModel.load(tmp_path)


def test_arrays_of_another_shop_are_refused(models: dict[str, Model[Any]], shop: Purchases, tmp_path: Path) -> None:
    """Weights of 60 items do not score 61."""
    larger = replace(shop, item_ids=(*shop.item_ids, "one more"))
    learned = {"weights": np.zeros((60, 60), dtype=np.float32)}
    with pytest.raises(ValueError, match=r"\(60, 60\)"):
        FittedModel(Ease(), larger, learned)


def test_unknown_settings_are_refused(models: dict[str, Model[Any]], tmp_path: Path) -> None:
    """A model of a kind or with a setting that this version does not know is not guessed at."""
    models["popularity"].save(tmp_path)
    path = tmp_path / MODEL
    stored = json.loads(path.read_bytes())
    for method in ({"kind": "oracle"}, {"kind": "popularity", "window_days": 0}, {"kind": "popularity", "more": 1}):
        path.write_text(json.dumps(stored | {"method": method}))
        with pytest.raises(CorruptArtefact, match=re.escape(MODEL)):
            FittedModel.load(tmp_path)
