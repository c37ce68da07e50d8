"""The recommender as a served model: each request on its own, and nothing unchecked from disk."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from serving.artefact import check_weights
from serving.errors import CorruptArtefact, InvalidInput
from serving.model import predict, to_answer
from serving.recommender.demo.app import Recommender
from serving.recommender.demo.artefact import ArtefactDescription, load, save
from serving.recommender.demo.train import train
from serving.recommender.generated.orders import generate_orders
from serving.registry import Registry


@pytest.fixture(scope="module")
def artefact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ArtefactDescription]:
    folder = tmp_path_factory.mktemp("artefact")
    orders = generate_orders(2, 60, 150, 60)
    return folder, save(train(orders, epochs=4, dim=16), folder)


@pytest.fixture(scope="module")
def recommender(artefact: tuple[Path, ArtefactDescription]) -> Recommender:
    folder, description = artefact
    return Recommender.load(folder, description.config)


def asking(body: Any, path: str = "/recommend", **query: str) -> Any:
    """One request as a replica would hand it over."""
    return {"path": path, "query": query, "body": body}


def ask(recommender: Recommender, body: Any) -> Any:
    """The answer to one request."""
    (answer,) = recommender.predict_batch([asking(body)])
    return answer


def ids(answer: Any) -> list[str]:
    """The items of an answer, best first."""
    return [item["id"] for item in answer["items"]]


def test_a_customer_gets_scored_items_with_their_names(recommender: Recommender) -> None:
    """A known user gets k items of the model, best first, each with id, title and price."""
    answer = ask(recommender, {"user_id": "U00003", "k": 7})
    assert answer["source"] == "model"
    assert len(set(ids(answer))) == 7
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    assert all(item["title"] and item["price"] > 0 for item in answer["items"])


def test_a_history_stands_for_a_customer(recommender: Recommender, artefact: Any) -> None:
    """The same purchases give the same answer, whether stored for a user or sent along."""
    items = json.loads((artefact[0] / "items.json").read_text())["ids"]
    shop = load_file(artefact[0] / "shop.safetensors")
    start, end = shop["history_offsets"][4:6].tolist()
    history = [items[index] for index in shop["history_items"][start:end].tolist()]
    assert ask(recommender, {"history": history}) == ask(recommender, {"user_id": "U00004"})


def test_answers_are_the_best_scores_of_the_model(recommender: Recommender, artefact: Any) -> None:
    """Padded in front, most recent last, as in training."""
    shop = load(artefact[0], **artefact[1].config)
    history = [3, 9, 27]
    row = [shop.model.n_items] * (shop.model.history - 3) + history
    with torch.inference_mode():
        best = shop.model(torch.tensor([row])).topk(5).indices[0].tolist()
    asked = {"history": [shop.item_ids[item] for item in history], "k": 5}
    assert ids(ask(recommender, asked)) == [shop.item_ids[item] for item in best]


def test_only_the_recent_part_of_a_long_history_counts(recommender: Recommender) -> None:
    """What lies before the model's window changes nothing."""
    long = [f"I{index % 150:05d}" for index in range(0, 3 * 400, 3)]
    assert ids(ask(recommender, {"history": long})) == ids(ask(recommender, {"history": long[-128:]}))


@pytest.mark.parametrize("body", [{"user_id": "nobody"}, {"history": []}, {"history": ["no such item"]}])
def test_without_a_history_the_popular_items_come(recommender: Recommender, body: Any) -> None:
    """New customers get what sells best."""
    answer = ask(recommender, body)
    assert answer["source"] == "popularity"
    assert len(answer["items"]) == 10
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)


def test_bought_items_can_be_left_out(recommender: Recommender) -> None:
    """With exclude_bought nothing of the history comes back; without it something does."""
    history = ids(ask(recommender, {"user_id": "U00001", "k": 40}))
    fresh = ask(recommender, {"history": history, "k": 100, "exclude_bought": True})
    again = ask(recommender, {"history": history, "k": 100})
    assert not set(ids(fresh)) & set(history)
    assert set(ids(again)) & set(history)


def test_more_than_the_catalogue_is_all_there_is(tmp_path: Path) -> None:
    """k beyond the catalogue, and exclusion of most of it, give fewer items and no padding."""
    save(train(generate_orders(2, 40, 12, 60), epochs=1, dim=4), tmp_path)
    small = Recommender.load(tmp_path, {"dim": 4, "history": 128})
    assert len(ask(small, {"user_id": "U00000", "k": 100})["items"]) == 12
    left = ask(small, {"history": [f"I{i:05d}" for i in range(10)], "k": 100, "exclude_bought": True})
    assert set(ids(left)) == {"I00010", "I00011"}


def test_the_query_works_as_well(recommender: Recommender) -> None:
    """A GET with parameters asks the same as the body."""
    (answer,) = recommender.predict_batch([asking(None, user_id="U00003", k="4")])
    assert answer == ask(recommender, {"user_id": "U00003", "k": 4})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        pytest.param([], "not an object", id="list"),
        pytest.param("x", "not an object", id="string"),
        pytest.param({}, "either", id="empty"),
        pytest.param({"user_id": "a", "history": []}, "either", id="both"),
        pytest.param({"user_id": 3}, "user_id", id="user id is a number"),
        pytest.param({"user_id": None}, "user_id", id="user id is null"),
        pytest.param({"history": "I00001"}, "history", id="history is a string"),
        pytest.param({"history": [1]}, "history", id="item id is a number"),
        pytest.param({"history": ["x"] * 1_001}, "history", id="history too long"),
        pytest.param({"history": [], "k": 0}, "k", id="k is 0"),
        pytest.param({"history": [], "k": 101}, "k", id="k too large"),
        pytest.param({"history": [], "k": True}, "k", id="k is true"),
        pytest.param({"history": [], "k": 5.0}, "k", id="k is a float"),
        pytest.param({"history": [], "exclude_bought": 1}, "exclude_bought", id="flag is a number"),
        pytest.param({"history": [], "limit": 3}, "limit", id="unknown field"),
    ],
)
def test_a_wrong_request_is_answered_400_with_its_reason(recommender: Recommender, body: Any, says: str) -> None:
    """What is wrong is named; the neighbours in the batch get their items."""
    good = asking({"user_id": "U00002"})
    before, wrong, after = predict(recommender, [good, asking(body), good])
    assert isinstance(wrong, InvalidInput)
    assert says in wrong.one_line()
    assert before == after
    assert ids(before) == ids(ask(recommender, {"user_id": "U00002"}))


@pytest.mark.parametrize("query", [{"k": "x"}, {"k": "٣"}, {"user_id": "a", "page": "2"}, {}])
def test_a_wrong_query_is_refused(recommender: Recommender, query: dict[str, str]) -> None:
    """Parameters are held to the same rules."""
    (answer,) = recommender.predict_batch([asking(None, **query)])
    assert isinstance(answer, InvalidInput)


def test_another_path_is_404(recommender: Recommender) -> None:
    """Only the declared route answers."""
    (answer,) = recommender.predict_batch([asking({"user_id": "U00001"}, path="/admin")])
    assert to_answer(answer).status == 404


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
bodies = json_values | st.fixed_dictionaries(
    {}, optional={"user_id": json_values, "history": json_values, "k": json_values, "exclude_bought": json_values}
)


@given(st.lists(bodies, min_size=1, max_size=6))
def test_any_json_is_answered_and_batching_changes_nothing(recommender: Recommender, asked: list[Any]) -> None:
    """A request gets the same answer alone and among any neighbours, to rounding."""
    together = recommender.predict_batch([asking(body) for body in asked])
    for body, answer in zip(asked, together, strict=True):
        alone = ask(recommender, body)
        if isinstance(answer, InvalidInput):
            assert alone.one_line() == answer.one_line()
        else:
            to_answer(answer)
            assert ids(answer) == ids(alone)


def test_the_registry_takes_the_artefact(artefact: tuple[Path, ArtefactDescription], tmp_path: Path) -> None:
    """Its files are of the kinds a registry keeps, and the description fills a manifest."""
    folder, description = artefact
    registry = Registry(tmp_path / "registry")
    manifest = registry.push(
        folder,
        name="shop",
        config=description.config,
        metrics=description.metrics,
        schema=description.schema,
        provenance={},
        at_s=1.0,
    )
    loaded = Recommender.load(registry.directory(manifest.version), manifest.config)
    assert ask(loaded, {"user_id": "U00001"})["source"] == "model"
    assert manifest.metrics["model.recall_at_10"] > 0
    for name in ("model.safetensors", "shop.safetensors"):
        with (folder / name).open("rb") as file:
            check_weights(name, file)


def test_training_again_gives_the_same_bytes(tmp_path: Path) -> None:
    """The artefact is named by its content, so the same seed must give the same version."""
    orders = generate_orders(2, 40, 60, 60)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save(train(orders, epochs=1, dim=4), tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def edit_tensor(name: str, file: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / file)
        tensors[name] = change(tensors[name]).contiguous()
        save_file(tensors, folder / file)

    return edit


def swap_inner(offsets: torch.Tensor) -> torch.Tensor:
    changed = offsets.clone()
    changed[1], changed[2] = offsets[2], offsets[1]
    return changed


def without_tensor(name: str, file: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        tensors = load_file(folder / file)
        del tensors[name]
        save_file(tensors, folder / file)

    return edit


def edit_json(file: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        value = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(change(value)))

    return edit


SHOP, MODEL = "shop.safetensors", "model.safetensors"


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        pytest.param(SHOP, edit_tensor("history_items", SHOP, lambda t: t + 10_000), id="item out of range"),
        pytest.param(SHOP, edit_tensor("history_items", SHOP, lambda t: -t - 1), id="negative item"),
        pytest.param(SHOP, edit_tensor("history_items", SHOP, lambda t: t[:-1]), id="histories cut"),
        pytest.param(SHOP, edit_tensor("history_items", SHOP, lambda t: t.float()), id="items as floats"),
        pytest.param(SHOP, edit_tensor("history_offsets", SHOP, lambda t: t.flip(0)), id="offsets backwards"),
        pytest.param(SHOP, edit_tensor("history_offsets", SHOP, swap_inner), id="offsets out of order"),
        pytest.param(SHOP, edit_tensor("popularity", SHOP, lambda t: t / 0), id="infinite popularity"),
        pytest.param(SHOP, edit_tensor("popularity", SHOP, lambda t: t[1:]), id="popularity too short"),
        pytest.param(MODEL, edit_tensor("items.weight", MODEL, lambda t: t * torch.nan), id="NaN weights"),
        pytest.param(MODEL, edit_tensor("items.weight", MODEL, lambda t: t[:-1]), id="an embedding missing"),
        pytest.param(MODEL, edit_tensor("recency", MODEL, lambda t: t.half()), id="another precision"),
        pytest.param(MODEL, without_tensor("recency", MODEL), id="tensor missing"),
        pytest.param(MODEL, lambda folder: (folder / MODEL).write_bytes(b"x" * 99), id="no safetensors"),
        pytest.param("items.json", lambda folder: (folder / "items.json").unlink(), id="file missing"),
        pytest.param("items.json", edit_json("items.json", lambda v: v | {"ids": v["ids"][:-1]}), id="ids too short"),
        pytest.param("items.json", edit_json("items.json", lambda v: v | {"prices": v["titles"]}), id="text prices"),
        pytest.param("items.json", edit_json("items.json", list), id="items no object"),
        pytest.param("users.json", edit_json("users.json", lambda v: {"ids": [7, *v["ids"][1:]]}), id="number as id"),
        pytest.param("users.json", edit_json("users.json", lambda v: {"ids": []}), id="no users"),
    ],
)
def test_a_damaged_artefact_is_refused_by_its_file(
    artefact: tuple[Path, ArtefactDescription], tmp_path: Path, file: str, damage: Callable[[Path], None]
) -> None:
    """Every tensor and list is checked before it is used, and the error names the file."""
    folder = tmp_path / "copy"
    shutil.copytree(artefact[0], folder)
    damage(folder)
    with pytest.raises(CorruptArtefact) as caught:
        Recommender.load(folder, artefact[1].config)
    assert caught.value.where == file


def test_settings_must_fit_the_artefact(artefact: tuple[Path, ArtefactDescription]) -> None:
    """Another width than the one trained is a corrupt pair, an unknown or senseless setting bad input."""
    folder, description = artefact
    with pytest.raises(CorruptArtefact):
        Recommender.load(folder, description.config | {"dim": 32})
    for bad in ({"layers": 2}, {"dim": 0}, {"dim": 10**9}, {"dim": "16"}, {"history": True}):
        with pytest.raises(InvalidInput, match=next(iter(bad))):
            Recommender.load(folder, description.config | bad)
