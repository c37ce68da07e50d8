"""Content-based recommendation: the first document's worked figures, and lists for items that nobody bought."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import CorruptArtefact, InvalidInput
from serving.recommender.content import ATTRIBUTES, Attributes, Content, ContentModel, Likeness, interests, likeness
from serving.recommender.interface import Bought
from tests.support.shop_purchases import purchases

SHELF: Attributes = {
    "A": ("price=100", "brand=1", "category=electronics"),
    "B": ("price=200", "brand=2", "category=clothes"),
    "C": ("price=300", "brand=1", "category=electronics"),
    "D": ("price=400", "brand=3", "category=jewellery"),
    "E": ("price=500", "brand=2", "category=clothes"),
}
"""The document's table."""


def test_five_items_rated_alike_interest_alike() -> None:
    """The document: five items rated 4 have an interest of 0.2 each."""
    assert interests(dict.fromkeys(SHELF, 4.0)) == pytest.approx(dict.fromkeys(SHELF, 0.2))
    assert interests({"A": 3, "B": 1, "C": 0}) == {"A": 0.75, "B": 0.25, "C": 0}
    assert interests({}) == {}


@pytest.mark.parametrize("ratings", [{"A": -1.0}, {"A": float("nan")}, {"A": float("inf")}, {"A": 0.0}])
def test_ratings_that_are_none_are_refused(ratings: dict[str, float]) -> None:
    """Negative, infinite or not a number, or nothing above zero: one clear error."""
    with pytest.raises(InvalidInput, match="ratings"):
        interests(ratings)


@pytest.mark.parametrize(("pair", "expected"), [("AC", 2 / 3), ("BE", 2 / 3), ("AD", 0), ("AA", 1)])
def test_the_documents_likeness(pair: str, expected: float) -> None:
    """Two of three attributes shared are 2/3. Its 1/3 for A and D, which share nothing in its table, is an error."""
    assert likeness(SHELF[pair[0]], SHELF[pair[1]]) == pytest.approx(expected)


@pytest.mark.parametrize(("how", "expected"), [("overlap", 2 / 3), ("jaccard", 2 / 4), ("cosine", 2 / 3)])
def test_the_three_measures(how: Likeness, expected: float) -> None:
    """Shared attributes over the larger count, over those of either, over the geometric mean."""
    assert likeness(SHELF["A"], SHELF["C"], how) == pytest.approx(expected)


TRAITS = st.sets(st.sampled_from("abcdef"), max_size=5)


@given(TRAITS, TRAITS, st.sampled_from(["overlap", "jaccard", "cosine"]))
def test_likeness_is_the_same_both_ways_and_one_for_equals(ours: set[str], theirs: set[str], how: Likeness) -> None:
    """Between 0 and 1; 1 exactly for equals that have something; 0 exactly for nothing in common."""
    alike = likeness(ours, theirs, how)
    assert alike == pytest.approx(likeness(theirs, ours, how))
    assert 0 <= alike <= 1 + 1e-12
    assert (alike == pytest.approx(1)) == (ours == theirs and bool(ours))
    assert (alike == 0) == (not ours & theirs)


def test_a_score_is_likeness_to_what_was_bought_by_interest() -> None:
    """Bought u0 twice and u1 once: interests of 2/3 and 1/3."""
    shop = purchases([(0, 0, 1), (0, 0, 2), (0, 1, 3), (1, 2, 3)])
    attributes = {"i0": ["x", "y"], "i1": ["z"], "i2": ["x", "z"], "new": ["y"]}
    model = ContentModel.fit(Content(attributes, "jaccard"), shop)
    assert model.item_ids == ("i0", "i1", "i2", "new")
    expected = [2 / 3, 1 / 3, 2 / 3 / 3 + 1 / 3 / 2, 2 / 3 / 2]
    assert model.score(["u0"])[0] == pytest.approx(expected, abs=1e-8)


def test_new_items_are_offered_and_undescribed_ones_only_if_sold() -> None:
    """An item that nobody bought is listed by its attributes; without either it never is."""
    shop = purchases([(0, 0, 1), (1, 1, 1)], items=3)
    model = ContentModel.fit(Content({"i0": ["x"], "new": ["x"]}), shop)
    assert [offer.item_id for offer in model.recommend("u0", 9)] == ["i0", "new", "i1"]
    assert [offer.item_id for offer in model.recommend("u0", 9, exclude_bought=True)] == ["new", "i1"]


def test_who_bought_nothing_gets_what_is_popular() -> None:
    """An unknown user, or one with unknown items only."""
    model = ContentModel.fit(Content({"new": ["x"]}), purchases([(0, 1, 1), (1, 1, 1), (1, 0, 1)]))
    for nobody in ("nobody", [], [Bought("gone", 3)]):
        assert [offer.item_id for offer in model.recommend(nobody, 2)] == ["i1", "i0"]


def test_an_update_equals_a_fit_on_everything() -> None:
    """New users and items included."""
    early, late = purchases([(0, 0, 1), (1, 1, 2)]), purchases([(2, 2, 5), (0, 1, 6)])
    settings = Content({"i0": ["x"], "i2": ["x"], "new": ["x", "y"]})
    updated, whole = ContentModel.fit(settings, early).update(late), ContentModel.fit(settings, early.joined(late))
    for user in ("u0", "u1", "u2", "nobody"):
        one, other = ({offer.item_id: offer.score for offer in model.recommend(user, 9)} for model in (updated, whole))
        assert one == other


def test_a_saved_model_scores_the_same_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    """To the last bit; attributes that do not fit the other files are named."""
    model = ContentModel.fit(Content({"i0": ["x"], "new": ["x", "y"]}, "overlap"), purchases([(0, 0, 1), (1, 1, 2)]))
    model.save(tmp_path)
    loaded = ContentModel.load(tmp_path)
    assert (loaded.score(["u0", "u1", "nobody"]) == model.score(["u0", "u1", "nobody"])).all()
    assert loaded.item_ids == model.item_ids
    (tmp_path / ATTRIBUTES).write_bytes(b"{}")
    with pytest.raises(CorruptArtefact, match=re.escape(ATTRIBUTES)):
        ContentModel.load(tmp_path)


def test_many_bought_items_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of memory changes no score."""
    shop = purchases([(user, item, item) for user in range(3) for item in range(7)])
    settings = Content({f"i{item}": [f"x{item % 3}", f"y{item % 2}"] for item in range(7)})
    whole = ContentModel.fit(settings, shop).score(["u0", "u2"])
    monkeypatch.setattr("serving.recommender.content.AT_ONCE", 2)
    assert ContentModel.fit(settings, shop).score(["u0", "u2"]) == pytest.approx(whole)
    assert np.isfinite(whole).all()
