"""Pictures, their alignment with texts, and taste for features: who and what is new from the first request."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from serving.errors import CorruptArtefact, InvalidInput
from serving.recommender.ingest import pictures as pictures_module
from serving.recommender.ingest.pictures import SIDE, read_pictures
from serving.recommender.interface import Bought
from serving.recommender.multimodal.alignment import Alignment, align, telling_apart
from serving.recommender.multimodal.features import joined, main_directions
from serving.recommender.multimodal.taste import ARRAYS, MODEL, PEOPLE, Lesson, Shown, Taste, TasteModel, Told
from serving.recommender.orders.purchases import Purchases
from serving.recommender.storage import IDS, PURCHASES
from tests.support.shop_purchases import purchases
from tests.support.small_networks import one_thread

QUICK = Taste(epochs=40, batch=4_096, learning_rate=0.1, l2=1e-4)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """So small a network is slower on several."""
    with one_thread():
        yield


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_read_small(kind: str, tmp_path: Path) -> None:
    """Any size and mode becomes the same array of red, green and blue."""
    Image.new("RGB", (90, 45), (255, 0, 0)).save(tmp_path / "red", kind)
    Image.new("L", (8, 8), 0).save(tmp_path / "black", kind)
    found = read_pictures([tmp_path / "red", tmp_path / "black"])
    assert found.shape == (2, SIDE, SIDE, 3)
    assert found[0].mean(axis=(0, 1)) == pytest.approx([255, 0, 0], abs=3)
    assert not found[1].any()
    assert read_pictures([]).shape == (0, SIDE, SIDE, 3)


@pytest.mark.parametrize("harm", ["missing", "text", "empty", "truncated", "folder", "gif", "large", "bomb"])
def test_a_picture_that_is_none_is_one_clear_error(harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is instead, the error names the file."""
    path = tmp_path / "item.png"
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path, "GIF" if harm == "gif" else "PNG")
    if harm == "missing":
        path.unlink()
    elif harm == "folder":
        path.unlink()
        path.mkdir()
    elif harm in {"text", "empty"}:
        path.write_bytes(b"no picture" if harm == "text" else b"")
    elif harm == "truncated":
        path.write_bytes(path.read_bytes()[:2_000])
    elif harm == "large":
        monkeypatch.setattr(pictures_module, "MAX_FILE_BYTES", 100)
    elif harm == "bomb":
        monkeypatch.setattr(pictures_module, "MAX_PIXELS", 100)
    with pytest.raises(InvalidInput, match=r"item\.png"):
        read_pictures([path])


def coloured(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of four colours, and texts that say which."""
    rng = np.random.default_rng(0)
    colours = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250], [240, 240, 20]])
    kind = np.arange(count) % 4
    pictures = (colours[kind][:, None, None, :] + rng.integers(-15, 6, size=(count, SIDE, SIDE, 3))).clip(0, 255)
    texts = np.eye(4)[kind] + 0.02 * rng.normal(size=(count, 4))
    return pictures.astype(np.uint8), texts.astype(np.float32)


def test_pictures_and_texts_come_to_lie_in_one_space() -> None:
    """For items that were not trained on, the nearest text of a picture says its colour; vectors have length 1."""
    pictures, texts = coloured(40)
    towers = align(Alignment(width=8, epochs=8, batch=16, learning_rate=0.01), pictures[:32], texts[:32])
    seen, read = towers.see(pictures[32:]), towers.read(texts[32:])
    assert np.linalg.norm(seen, axis=1) == pytest.approx(np.ones(8), abs=1e-5)
    assert ((seen @ read.T).argmax(axis=1) % 4 == np.arange(8) % 4).mean() > 0.9


def test_the_same_pairs_and_seed_give_the_same_towers() -> None:
    """To the last bit, and the caller's chance is not touched."""
    pictures, texts = coloured(8)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one, other = (align(Alignment(width=4, epochs=1, seed=3), pictures, texts).see(pictures) for _ in range(2))
    assert (one == other).all()
    assert torch.rand(1) == expected


@pytest.mark.parametrize("texts", [0, 1, 3])
def test_pairs_are_needed(texts: int) -> None:
    """As many texts as pictures, and something to tell apart."""
    pictures, vectors = coloured(4)
    with pytest.raises(InvalidInput, match="nothing to align"):
        align(Alignment(), pictures[: min(texts + 1, 1) if texts == 1 else 4], vectors[:texts])


def test_telling_apart_is_the_entropy_of_the_partner() -> None:
    """With all alike it is the log of how many there are; with partners far from others about 0."""
    assert float(telling_apart(torch.ones(4, 2), torch.ones(4, 2), 1.0)) == pytest.approx(np.log(4))
    assert float(telling_apart(torch.eye(4), torch.eye(4), 0.01)) == pytest.approx(0, abs=1e-6)


def test_features_are_brought_to_one_size() -> None:
    """Blocks weigh alike whatever their unit; the main directions keep what varies most."""
    rng = np.random.default_rng(0)
    small, large = rng.normal(size=(50, 3)), 1_000 + 100 * rng.normal(size=(50, 2))
    both = joined(small.astype(np.float32), large.astype(np.float32))
    assert both.shape == (50, 5)
    assert both.mean(axis=0) == pytest.approx(np.zeros(5), abs=1e-4)
    assert (both[:, :3].std(), both[:, 3:].std()) == pytest.approx((1, 1), abs=1e-4)
    line = np.outer(rng.normal(size=50), [3, 4]).astype(np.float32)
    assert np.abs(main_directions(line, 1)[:, 0]) == pytest.approx(
        np.linalg.norm(line - line.mean(0), axis=1), abs=1e-3
    )


ITEMS = tuple(f"i{item}" for item in range(20))
"""Even ones are of one kind, odd ones of the other; the last four are new."""


def shop(seed: int = 0) -> tuple[Lesson, Purchases]:
    """Users u0 to u39 of two kinds, who told which, shown old items at random; they click on their own kind."""
    rng = np.random.default_rng(seed)
    kind = np.where(np.arange(20) % 2 == 0, 1.0, -1.0)
    features = joined(np.stack([kind + 0.1 * rng.normal(size=20), rng.normal(size=20)], axis=1).astype(np.float32))
    user = np.repeat(np.arange(40), 24)
    item = rng.integers(16, size=len(user))
    likes = np.where(user % 2 == 0, 1.0, -1.0) * kind[item] > 0
    clicked = rng.random(len(user)) < np.where(likes, 0.6, 0.05)
    people = {f"u{n}": [f"kind={n % 2}"] for n in (*range(40), 100, 101)}
    rows = sorted({(int(u), int(i), n) for n, (u, i, c) in enumerate(zip(user, item, clicked, strict=True)) if c})
    names = tuple(f"u{n}" for n in range(40))
    return Lesson(Told(ITEMS, features, people), Shown(user, item, clicked, names), QUICK), purchases(rows, users=40)


@pytest.fixture(scope="module")
def model() -> TasteModel:
    return TasteModel.fit(*shop())


def kinds(model: TasteModel, user: object, k: int = 6) -> set[int]:
    return {int(offer.item_id[1:]) % 2 for offer in model.recommend(user, k)}  # type: ignore[arg-type]


def test_new_users_are_served_by_what_they_told(model: TasteModel) -> None:
    """From the first request, and differently from each other; one who told nothing gets a list too."""
    assert kinds(model, "u100") == {0}
    assert kinds(model, "u101") == {1}
    assert len(model.recommend("nobody", 30)) == 20
    assert len(model.recommend([], 5)) == 5


def test_a_history_says_what_was_not_told(model: TasteModel) -> None:
    """Somebody unknown with two clicks gets their kind; unknown items and an endless history do no harm."""
    assert kinds(model, [Bought("i0", 3), Bought("i2", 4)], 3) == {0}
    assert kinds(model, [Bought("i1", 3), Bought("i3", 4), Bought("gone", 4)] * 3_000, 3) == {1}


def test_new_items_are_ranked_by_their_features(model: TasteModel) -> None:
    """Items that nobody was ever shown: those of the user's kind come before the others."""
    new = {"i16", "i17", "i18", "i19"}
    ranked = [offer.item_id for offer in model.recommend("u0", 20) if offer.item_id in new]
    assert set(ranked[:2]) == {"i16", "i18"}


def test_the_same_lesson_gives_the_same_model(model: TasteModel) -> None:
    """To the last bit."""
    assert (TasteModel.fit(*shop()).score(["u0", "u100"]) == model.score(["u0", "u100"])).all()


def test_an_update_knows_the_new_history(model: TasteModel) -> None:
    """A new user's purchases count at once, without training; popularity moves as well."""
    later = purchases([(41, 1, 500), (41, 3, 500)], users=42, items=20)
    updated = model.update(later)
    assert kinds(updated, "u41", 3) == {1}
    assert (updated.weights == model.weights).all()
    bought = {offer.item_id for offer in updated.recommend("u41", 30, exclude_bought=True)}
    assert len(bought) == 18


def test_nobody_clicked_is_one_clear_error() -> None:
    """There is nothing to learn from."""
    lesson, past = shop()
    nothing = Shown(lesson.shown.user, lesson.shown.item, np.zeros_like(lesson.shown.clicked), lesson.shown.user_ids)
    with pytest.raises(InvalidInput, match="nobody clicked"):
        TasteModel.fit(Lesson(lesson.told, nothing, QUICK), past)


@pytest.mark.parametrize("features", [np.zeros((3, 2)), np.zeros(2), np.array([[np.nan], [1.0]])])
def test_features_that_do_not_fit_are_refused(features: np.ndarray) -> None:
    """One finite vector for each item, or one clear error."""
    with pytest.raises(InvalidInput, match="features"):
        Told(("a", "b"), features.astype(np.float32), {})


def test_a_saved_model_scores_the_same(model: TasteModel, tmp_path: Path) -> None:
    """To the last bit, for known, told-of and unknown users; safetensors and JSON alone."""
    model.save(tmp_path)
    users = ["u0", "u100", "nobody", [Bought("i0", 3)]]
    assert (TasteModel.load(tmp_path).score(users) == model.score(users)).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([MODEL, IDS, PURCHASES, PEOPLE, ARRAYS])


@pytest.mark.parametrize("name", [MODEL, PEOPLE, ARRAYS])
def test_a_damaged_file_is_refused_by_its_name(model: TasteModel, name: str, tmp_path: Path) -> None:
    """Whatever happened to it."""
    model.save(tmp_path)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptArtefact, match=re.escape(name)):
        TasteModel.load(tmp_path)


def test_weights_of_another_width_are_refused(model: TasteModel) -> None:
    """They would be multiplied with what they have nothing to do with."""
    with pytest.raises(ValueError, match="weights"):
        TasteModel(model.told, model.taste, model.weights[:-1], model.past)
