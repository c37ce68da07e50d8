"""The search of a shop: letters, meaning, filters, taste, bad input, and what is on disk."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.recommender import data_folder
from benchmarks.search import (
    AT_LEAST_KNOWN,
    AT_LEAST_PARAPHRASED,
    DROPPED,
    OURS,
    PARAPHRASED,
    SINGLE,
    TYPO,
    WORDS,
    Graph,
    Remembered,
    Size,
    questions,
    section,
    successes,
)
from benchmarks.search_queries import known_items
from serving.errors import CorruptArtefact, InvalidInput
from serving.recommender.evaluation.tracks import Interval
from serving.recommender.fitted import FittedModel
from serving.recommender.methods.popularity import Popularity
from serving.recommender.orders.data import load_orders
from serving.recommender.search.catalogue import Filter, Item
from serving.recommender.search.encoder import MiniLM
from serving.recommender.search.fusion import SILENCED, fused
from serving.recommender.search.index import SearchIndex
from serving.recommender.search.lexical import Evidence, Lexical
from serving.recommender.search.personal import Personal
from serving.recommender.search.semantic import Semantic, plain, unit
from serving.recommender.search.spelling import KNOWN_WORD, ONE_EDIT, TWO_EDITS, Speller, edits
from serving.recommender.search.storage import ITEMS, SEARCH, VECTORS
from serving.recommender.search.text import WORDS_READ, grams, words
from tests.support.shop_purchases import purchases
from tests.support.toy_encoder import ToyEncoder

ITEMS_LISTED = (
    Item("1", "RED SPOTTY MUG", category="kitchen", brand="Aldous", price=3.5, in_stock=True),
    Item("2", "BLUE SPOTTY MUG", category="kitchen", brand="Bray", price=4.0, in_stock=False),
    Item("3", "SET OF 12 RED PENCILS", category="paper", brand="Aldous", price=1.25, in_stock=True),
    Item("4", "WICKER PICNIC BASKET", category="garden", brand="Bray", price=19.95),
    Item("5", "PAPER LANTERN", category="garden", price=2.0, in_stock=True),
    Item("6", "CHILDREN'S CAFÉ PLAYSET", category="toys"),
    Item("7", "فانوس رمضان 🎁", category="garden", brand="نور", price=7.0),
    Item("8", "!!!"),
)


@pytest.fixture(scope="module")
def index() -> SearchIndex:
    return SearchIndex.build(ITEMS_LISTED, ToyEncoder())


def ids(index: SearchIndex, query: str, k: int = 10, **wanted: object) -> list[str]:
    return [hit.item_id for hit in index.search(query, k, **wanted)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CHILDREN'S Café, food/drink", ["childrens", "cafe", "food", "drink"]),
        ("T-LIGHT 12½cm", ["t", "light", "121", "2cm"]),
        ("straße STRASSE", ["strasse", "strasse"]),
        ("فَانُوس", ["فانوس"]),
        ("gift🎁 ❤️", ["gift", "🎁", "❤"]),
        ("कप्तान", ["कपतान"]),
        ("  !?\t", []),
        ("", []),
    ],
)
def test_words_are_plain_letters_of_any_script(text: str, expected: list[str]) -> None:
    """Case, accents, points and punctuation make no difference; letters of all scripts, and emoji, are kept."""
    assert words(text) == expected


def test_a_long_text_is_read_to_a_bound() -> None:
    """Ten thousand characters cost no more than the first words."""
    assert words("mug " * 2_500) == ["mug"] * WORDS_READ


def test_grams_span_the_words() -> None:
    """Words side by side share n-grams that words apart do not."""
    assert grams(["a", "mug"]) == [" a ", "a m", " mu", "mug", "ug "]
    assert grams([]) == []


@pytest.mark.parametrize(
    ("ours", "theirs", "apart"),
    [("mug", "mug", 0), ("mug", "mgu", 1), ("mug", "mu", 1), ("mug", "mugs", 1), ("mug", "jug", 1), ("mug", "gum", 2)],
)
def test_edits_are_counted(ours: str, theirs: str, apart: int) -> None:
    """A letter changed, added or left out, or two swapped, is one edit."""
    assert edits(ours, theirs, 2) == apart


@given(st.text("abc", max_size=7), st.text("abc", max_size=7), st.integers(0, 3))
def test_edits_are_a_distance_up_to_the_bound(ours: str, theirs: str, most: int) -> None:
    """The same both ways, zero for equals only, and never above one more than was asked for."""
    apart = edits(ours, theirs, most)
    assert apart == edits(theirs, ours, most) == min(edits(ours, theirs, 9), most + 1)
    assert (apart == 0) == (ours == theirs)


def test_a_typo_means_the_word_it_is_nearest_to() -> None:
    """One edit is surer than two, a known word surer than its neighbours, and short words allow less."""
    speller = Speller(("basket", "baskets", "lantern", "mug"))
    assert speller.meant("baskte").tolist() == pytest.approx([ONE_EDIT, TWO_EDITS, 0, 0])
    assert speller.meant("basket").tolist() == pytest.approx([1, KNOWN_WORD * ONE_EDIT, 0, 0])
    assert speller.meant("gum").tolist() == [0, 0, 0, 0]
    assert speller.meant("").tolist() == [0, 0, 0, 0]


def test_two_edits_need_two_long_words() -> None:
    """Of a word of five letters two edits leave too little: `cuddly` is not `candy`."""
    assert Speller(("candy",)).meant("cuddly").tolist() == [0]


def test_coverage_is_the_share_of_the_query_by_rarity() -> None:
    """All words make 1; of two, the one that fewer titles have counts more; unknown ones count too."""
    lexical = Lexical(["red mug", "red lamp", "red cup", "blue cup"])
    assert lexical.evidence(["red", "mug"]).coverage[0] == pytest.approx(1)
    red, mug = lexical.evidence(["red", "mug"]).coverage[1], 1 - lexical.evidence(["red", "mug"]).coverage[1]
    assert 0 < red < mug
    assert lexical.evidence(["mug", "zzzz"]).coverage[0] == pytest.approx(1 / 1.8, abs=0.02)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8), st.data())
def test_where_letters_say_all_meaning_is_silent_and_the_reverse(coverage: list[float], data: st.DataObject) -> None:
    """Without coverage the score is the meaning; a title with the whole query stands above all with nine tenths."""
    meaning = np.array(data.draw(st.lists(st.floats(-1, 1, width=32), min_size=len(coverage), max_size=len(coverage))))
    none = np.zeros(len(coverage), np.float32)
    assert fused(Evidence(none, none), meaning) == pytest.approx(meaning, abs=1e-6)
    whole = np.array([1.0, *(0.9 * share for share in coverage)], np.float32)
    scores = fused(Evidence(whole, np.append([0.0], none).astype(np.float32)), np.append([-1.0], meaning))
    assert scores[0] == pytest.approx(SILENCED)
    assert (scores[1:] < scores[0]).all()


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("red spotty mug", "1"),
        ("spotty mgu blue", "2"),
        ("wiker basket", "4"),
        ("childrens cafe", "6"),
        ("scarlet beaker", "1"),
        ("lamp", "5"),
        ("فانوس", "7"),
        ("🎁", "7"),
        ("set of", "3"),
        ("basket " * 2_000, "4"),
    ],
)
def test_what_is_meant_comes_first(index: SearchIndex, query: str, first: str) -> None:
    """By words, with typos, by meaning, in any script, from words that are everywhere, and from a very long query."""
    assert ids(index, query)[0] == first


@pytest.mark.parametrize("query", ["", "  ", "!!!", "\u200f", "\x00"])
def test_a_query_without_a_word_is_one_clear_error(index: SearchIndex, query: str) -> None:
    """There is nothing to look for."""
    with pytest.raises(InvalidInput, match="query: it has no word"):
        index.search(query)


def test_nothing_like_it_is_an_empty_list(index: SearchIndex) -> None:
    """A sign that no title has and that has no meaning finds nothing, rather than anything."""
    assert index.search("🦖") == []


@settings(max_examples=60)
@given(st.text(max_size=60), st.integers(1, 12))
def test_any_text_gets_a_list_or_one_error(text: str, k: int) -> None:
    """Different items, best first, not more than were asked for."""
    if not words(text):
        with pytest.raises(InvalidInput, match="query"):
            SHARED.search(text, k)
        return
    hits = SHARED.search(text, k)
    assert len({hit.item_id for hit in hits}) == len(hits) <= k
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


SHARED = SearchIndex.build(ITEMS_LISTED, ToyEncoder())


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(), {"1", "2", "3"}),
        (Filter(categories=frozenset({"kitchen"})), {"1", "2"}),
        (Filter(brands=frozenset({"Aldous", "nobody"})), {"1", "3"}),
        (Filter(min_price=2, max_price=3.5), {"1"}),
        (Filter(in_stock=True), {"1", "3"}),
        (Filter(categories=frozenset()), set()),
    ],
)
def test_filters_let_through_what_is_known_to_fit(index: SearchIndex, wanted: Filter, expected: set[str]) -> None:
    """Category, brand, price and stock; what has no brand, price or stock does not pass a filter on it."""
    found = {hit.item_id for hit in index.search("red mug", where=wanted) if hit.coverage > 0}
    assert found == expected


@given(
    st.sets(st.sampled_from(["kitchen", "paper", "garden", "toys", "none such"])),
    st.none() | st.floats(0, 20),
    st.none() | st.floats(0, 20),
    st.booleans(),
)
def test_no_hit_escapes_the_filter(categories: set[str], low: float | None, high: float | None, stock: bool) -> None:
    """Whatever the filter, all that is found passes it, item by item."""
    if low is not None and high is not None and low > high:
        low, high = high, low
    wanted = Filter(frozenset(categories), min_price=low, max_price=high, in_stock=stock)
    by_id = {item.item_id: item for item in ITEMS_LISTED}
    for hit in SHARED.search("red paper lantern", where=wanted):
        item = by_id[hit.item_id]
        assert item.category in categories
        assert low is None or (item.price is not None and item.price >= low)
        assert high is None or (item.price is not None and item.price <= high)
        assert not stock or item.in_stock is True


@pytest.mark.parametrize("prices", [(-1.0, None), (float("nan"), None), (None, float("inf")), (5.0, 4.0)])
def test_a_filter_that_lies_is_refused(prices: tuple[float | None, float | None]) -> None:
    """Prices are numbers from 0, the lowest first."""
    with pytest.raises(InvalidInput, match=r"min_price|max_price"):
        Filter(min_price=prices[0], max_price=prices[1])


@pytest.mark.parametrize("items", [(), (ITEMS_LISTED[0], ITEMS_LISTED[0])])
def test_a_catalogue_has_items_of_different_ids(items: tuple[Item, ...]) -> None:
    """None, or one twice, is one clear error."""
    with pytest.raises(InvalidInput, match=r"items|item_id"):
        SearchIndex.build(items, ToyEncoder())


def test_a_list_has_at_least_one_place(index: SearchIndex) -> None:
    """Asking for no item is an error of the one who asks."""
    with pytest.raises(InvalidInput, match="not at least 1"):
        index.search("mug", 0)


def test_an_index_with_new_items_is_the_index_of_all() -> None:
    """New ones are found, changed ones are found as they are now, and only new titles are encoded."""
    changed = Item("2", "GREEN TEAPOT", price=9.0)
    encoder = ToyEncoder()
    first = SearchIndex.build(ITEMS_LISTED[:5], encoder)
    encoder.encoded.clear()
    grown = first.with_items([*ITEMS_LISTED[5:], changed])
    assert sorted(encoder.encoded) == sorted(
        t for item in (*ITEMS_LISTED[5:], changed) for t in (item.title, plain(item.title))
    )
    whole = SearchIndex.build((ITEMS_LISTED[0], changed, *ITEMS_LISTED[2:]), ToyEncoder())
    for query in ("green teapot", "spotty mug", "cafe playset", "scarlet cup"):
        assert grown.search(query) == whole.search(query)
    assert first.with_items([]) is first


def test_titles_are_told_without_packaging() -> None:
    """How many are in a set is not what it is; a title of nothing else stays."""
    assert [plain(title) for title in ("SET OF 12 RED PENCILS", "S/4 MUGS", "SET OF 6")] == [
        "red pencils",
        "mugs",
        "SET OF 6",
    ]


def test_a_large_catalogue_is_searched_by_graph_to_the_same_end() -> None:
    """Neighbours by graph and all comparisons list the same, with a filter too."""
    items = [
        Item(str(n), f"{look} {thing} {n}", price=float(n))
        for n, (look, thing) in enumerate(
            (look, thing) for look in ("red", "blue", "wicker", "paper") * 30 for thing in ("mug", "lantern", "basket")
        )
    ]
    exact, graph = (SearchIndex.build(items, ToyEncoder(), exact_up_to=limit) for limit in (10_000, 50))
    few = Filter(max_price=20.0)
    for query in ("scarlet cup", "crimson lamp 7", "wicker basket", "blue mug 100"):
        assert set(ids(graph, query)) & set(ids(exact, query))
        assert graph.search(query)[0].score == pytest.approx(exact.search(query)[0].score)
        assert ids(graph, query, where=few) == ids(exact, query, where=few)


def test_the_crowd_loses_and_the_mean_is_taken_out() -> None:
    """Of two items equally near to a query, the one in a crowd is the worse; all pointing one way is no nearness."""
    rng = np.random.default_rng(0)
    crowd = np.array([0, 1, 0, 0]) + 0.05 * rng.normal(size=(30, 4))
    alone = np.array([[0, 0, 1, 0.0], [0, 0, 0, 1.0], [0, 0, 0, -1.0]])
    vectors = unit((np.concatenate([crowd, alone]) + np.array([5.0, 0, 0, 0])).astype(np.float32))
    near = Semantic(vectors)
    assert near.scores(vectors[0])[0] < near.scores(vectors[30])[30]
    assert abs(near.scores(vectors[31])[32]) > abs(float(vectors[31] @ vectors[32])) - 1


def test_taste_decides_among_what_fits() -> None:
    """The model's favourite of two equals comes first, what does not fit stays out; unknown users get the popular."""
    index = SearchIndex.build([Item("a", "red mug"), Item("b", "red mug"), Item("c", "basket")], ToyEncoder())
    shop = purchases([(0, 1, 1), (1, 1, 1), (0, 2, 1), (1, 2, 1), (2, 2, 2), (2, 0, 2)])
    named = type(shop)(shop.user, shop.item, shop.day, shop.user_ids, ("a", "b", "c"))
    model = FittedModel.fit(Popularity(), named)
    assert ids(index, "red mug") == ["a", "b"]
    assert ids(index, "red mug", personal=Personal(model, "anybody")) == ["b", "a"]
    assert ids(index, "red mug", personal=Personal(model, "anybody", weight=0.0)) == ["a", "b"]
    assert ids(index, "red mug", 1, personal=Personal(model, [])) == ["b"]
    assert Personal(model, "anybody").ordered([]) == []


def test_a_saved_index_finds_the_same(index: SearchIndex, tmp_path: Path) -> None:
    """Scores are equal to the last bit, and no file of it can run code."""
    index.save(tmp_path)
    loaded = SearchIndex.load(tmp_path, ToyEncoder())
    for query in ("red mug", "scarlet beaker", "🎁"):
        assert loaded.search(query) == index.search(query)
    assert loaded.items == index.items
    assert sorted(path.name for path in tmp_path.iterdir()) == [ITEMS, SEARCH, VECTORS]


@pytest.mark.parametrize("name", [SEARCH, ITEMS, VECTORS])
@pytest.mark.parametrize("harm", ["missing", "truncated", "changed"])
def test_a_damaged_file_is_refused_by_its_name(index: SearchIndex, name: str, harm: str, tmp_path: Path) -> None:
    """Whatever happened to one file, the error names it."""
    index.save(tmp_path)
    path = tmp_path / name
    data = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if harm == "truncated" else data[:-3] + b"\xff" + data[-2:])
    with pytest.raises(CorruptArtefact, match=re.escape(name)):
        SearchIndex.load(tmp_path, ToyEncoder())


def test_vectors_of_another_encoder_are_refused(index: SearchIndex, tmp_path: Path) -> None:
    """They would be compared with what they have nothing to do with."""
    index.save(tmp_path)
    stored = json.loads((tmp_path / SEARCH).read_bytes())
    (tmp_path / SEARCH).write_text(json.dumps(stored | {"encoder": "another"}))
    with pytest.raises(CorruptArtefact, match="encoded by another, not by toy"):
        SearchIndex.load(tmp_path, ToyEncoder())


def test_minilm_finds_what_is_called_otherwise() -> None:
    """The real weights, offline: vectors of length 1, and the right one of six titles for words that it has not."""
    titles = ("COFFEE MUG", "CHRISTMAS WREATH", "TOOTHBRUSH", "PICNIC HAMPER", "ALARM CLOCK", "ROLLING PIN")
    index = SearchIndex.build([Item(title, title) for title in titles])
    assert np.linalg.norm(MiniLM().encode(["a lamp", ""]), axis=1) == pytest.approx([1, 1])
    assert MiniLM().encode([]).shape == (0, 384)
    assert ids(index, "oral hygiene")[0] == "TOOTHBRUSH"
    assert ids(index, "wakes me in the morning")[0] == "ALARM CLOCK"


def test_known_item_queries_are_words_of_the_title_with_one_slip() -> None:
    """Seeded; one word differs by one edit, or all are words of the title and one fewer than drawn."""
    titles = [item.title for item in ITEMS_LISTED[:5]]
    for question in known_items(titles, "dropped", 20, 1):
        (row,) = question.answers
        assert set(words(question.query)) <= set(words(titles[row]))
        assert len(words(question.query)) == 2
    for question in known_items(titles, "typo", 20, 1):
        (row,) = question.answers
        wrong = [word for word in question.query.split() if word not in words(titles[row])]
        assert all(min(edits(word, other, 2) for other in words(titles[row])) == 1 for word in wrong)
    assert known_items(titles, "typo", 9, 1) == known_items(titles, "typo", 9, 1) != known_items(titles, "typo", 9, 2)


@pytest.mark.shared
@pytest.mark.campaign
def test_the_real_shop_is_searched_as_promised() -> None:
    """Known items with a slip, and paraphrases, with the same settings: at least .965 and .50 among the first ten."""
    orders = load_orders(data_folder())
    items = [Item(name, title) for name, title in zip(orders.item_ids, orders.titles, strict=True)]
    index = SearchIndex.build(items, Remembered(MiniLM()))
    asked = questions(orders.titles, orders.item_ids, Size(known=1_000, timed=0, tasted=0, large=()))
    row = {item.item_id: place for place, item in enumerate(items)}
    found = {
        kind: successes(lambda query: [row[name] for name in ids(index, query)], some) for kind, some in asked.items()
    }
    assert np.concatenate([found[TYPO], found[DROPPED]]).mean() >= AT_LEAST_KNOWN
    assert found[PARAPHRASED].mean() >= AT_LEAST_PARAPHRASED


def test_the_benchmarks_table_is_what_was_measured() -> None:
    """One row per search with its successes, and the goals are about ours."""
    some = {kind: np.array([1.0, 0.0]) for kind in (TYPO, DROPPED, PARAPHRASED, SINGLE)}
    peer = {kind: np.zeros(2) for kind in some}
    made = section({OURS: some, WORDS: peer}, [1.0, 2.0], Interval(0.2, 0.1, 0.3), 3.0, [Graph(10, 2.0, 1.0, 0.9)])
    cells = {(figure.subject, figure.measure): figure.values for figure in made.figures}
    assert cells[OURS, f"success@10, {TYPO}"] == (0.5,)
    assert cells[WORDS, f"success@10, {PARAPHRASED}"] == (0.0,)
    assert cells[OURS, "p99 ms"] == (2.0,)
    goals = {goal.what: goal for goal in made.goals}
    assert not goals["search: success@10, known items"].holds
    assert goals["search: success@10, paraphrases"].values == (0.5,)
    assert goals["search: success@10 gained by taste, lower end of 95 %"].values == (0.1,)
    assert "0.900" in made.how
