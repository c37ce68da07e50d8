"""The models that `hcctl model train --model NAME` knows: one line each in `MODELS`, which is all there is to add.

What is trained is a folder, which `hcctl version push` takes as it is: the model's own files, `trained.json` that says
what it is, and `catalogue.json` with what is shown of each item.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.artefact import first_problem
from serving.errors import CorruptArtefact, InvalidInput
from serving.files import disk_errors, open_plain, write_atomic
from serving.recommender import told
from serving.recommender.clicks.model import ClickModel, Watched
from serving.recommender.clicks.ranker import ClickSettings
from serving.recommender.content import Content, ContentModel, Likeness
from serving.recommender.evaluation.tuning import fit_weights
from serving.recommender.fitted import FittedModel
from serving.recommender.ingest.dataset import Dataset
from serving.recommender.interface import Model
from serving.recommender.method import Settings
from serving.recommender.methods.als import Als
from serving.recommender.methods.ease import Ease
from serving.recommender.methods.ensemble import Ensemble, Part
from serving.recommender.methods.nearest import Nearest
from serving.recommender.methods.neighbours import ItemKnn, TifuKnn, UserKnn, UserPopularity
from serving.recommender.methods.popularity import Popularity
from serving.recommender.methods.ranking import Ranked
from serving.recommender.methods.repeats import OwnFrequency
from serving.recommender.methods.sasrec import Sasrec
from serving.recommender.methods.towers import Towers
from serving.recommender.multimodal.looks import Looks, looks
from serving.recommender.multimodal.taste import Lesson, Taste, TasteModel, Told
from serving.recommender.orders.purchases import Purchases
from serving.recommender.orders.splits import Split
from serving.recommender.training.how import How

TRAINED, CATALOGUE = "trained.json", "catalogue.json"
FILE_LIMIT_BYTES = 1 << 30
TUNE_DAYS = 28
"""The last days of the fit, by which the weights of an ensemble are chosen."""
EPOCH = date(1970, 1, 1)
"""Day 0."""

AnyModel = Model[Any]


class Fit(Protocol):
    """Fits a model on the purchases up to some day; `data` has the items and all events, also later ones.

    `how` counts where the `Entry` says that it does.
    """

    def __call__(self, settings: Mapping[str, Any], past: Purchases, data: Dataset, how: How, /) -> AnyModel:
        """Raises InvalidInput if a setting is wrong or there is too little to learn from."""


@dataclass(frozen=True)
class Entry:
    """A model by name."""

    what: str
    """In a few words, for the help."""
    fit: Fit
    load: Callable[[Path], AnyModel] = FittedModel.load
    in_steps: bool = False
    """Whether it is trained step by step: by several workers, with checkpoints, if wanted."""


class Trained(BaseModel):
    """`trained.json`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal[1] = 1
    model: str
    settings: dict[str, Any]
    generated: bool
    """Whether the shop was made up."""
    purchases: int = Field(ge=0)
    users: int = Field(ge=0)
    items: int = Field(ge=0)
    until_day: int = Field(ge=0, le=(date.max - EPOCH).days)
    """The first UTC day since the epoch that it does not know."""

    @property
    def until(self) -> date:
        """`until_day` as a date."""
        return day(self.until_day)


class Catalogue(BaseModel):
    """`catalogue.json`: equally long lists."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    ids: list[str]
    titles: list[str | None]
    prices: list[float | None]


def method(kind: type[Settings], **usual: Any) -> Fit:
    """The fit of a method with one set of settings; `usual` are those that differ from the method's own defaults."""

    def fit(settings: Mapping[str, Any], past: Purchases, _: Dataset, how: How, /) -> AnyModel:
        chosen = checked(kind, {**usual, **settings})
        if isinstance(chosen, Towers | Sasrec):
            from serving.recommender.training.fit import train

            return FittedModel(chosen, past, train(chosen, past, how))
        return FittedModel.fit(chosen, past)  # type: ignore[arg-type]  # is one of them

    return fit


_Chosen = TypeVar("_Chosen", bound=Settings)


def checked(kind: type[_Chosen], settings: Mapping[str, Any]) -> _Chosen:
    """The settings.

    Raises:
        InvalidInput: one is unknown or out of its range; names it.
    """
    try:
        return kind.model_validate_json(json.dumps(dict(settings)))
    except ValidationError as problem:
        field, why = first_problem(problem)
        known = ", ".join(name for name in kind.model_fields if name != "kind")
        raise InvalidInput(
            "the model has no such setting", where=f"--set {field}", why=why, next_step=f"settings are {known}"
        ) from None


def _ensemble(settings: Mapping[str, Any], past: Purchases, _: Dataset, __: How, /) -> AnyModel:
    """Parts with their usual settings, blended by weights that do best in the last days."""
    if settings:
        raise InvalidInput(
            "the ensemble has no settings", where=f"--set {next(iter(settings))}", next_step="leave it out"
        )
    tune_from = day(past.as_of_day - TUNE_DAYS)
    split = Split(past.between(None, tune_from), past.between(tune_from, None))
    return FittedModel.fit(fit_weights(BLEND, split), past)


class _ByContent(Settings):
    """Settings of `content`."""

    likeness: Likeness = "cosine"
    by: tuple[told.Attribute, ...] = Field(default=told.ATTRIBUTES, min_length=1)


class _ByTaste(Taste):
    """Settings of `taste`."""

    looks: Looks = Looks()


def _content(settings: Mapping[str, Any], past: Purchases, data: Dataset, _: How, /) -> AnyModel:
    """By the attributes of all items of the shop."""
    chosen = checked(_ByContent, settings)
    return ContentModel.fit(Content(told.attributes(data.items(), chosen.by), chosen.likeness), past)


def _taste(settings: Mapping[str, Any], past: Purchases, data: Dataset, _: How, /) -> AnyModel:
    """By the texts and pictures of all items, what was shown before the end of `past`, and what users told."""
    chosen, items, until = checked(_ByTaste, settings), data.items(), past.as_of_day
    seen = told.impressions(data, until)
    features = looks(items, told.there(data, items, until), chosen.looks)
    known = Told(tuple(items["item_id"]), features, told.people(data.labels()))
    taste = Taste.model_validate(chosen.model_dump(include=set(Taste.model_fields)))
    return TasteModel.fit(Lesson(known, told.shown(seen, known.item_ids), taste), told.likes(data, until))


def _clicks(settings: Mapping[str, Any], past: Purchases, data: Dataset, _: How, /) -> AnyModel:
    """By what was shown before the end of `past`."""
    chosen = checked(ClickSettings, settings)
    seen = told.impressions(data, past.as_of_day)
    return ClickModel.fit(Watched(chosen, seen, told.listed(data.items())), past)


def day(number: int) -> date:
    """The date of a UTC day since the epoch."""
    return EPOCH + timedelta(days=number)


def named(name: str) -> Entry:
    """The model of that name.

    Raises:
        InvalidInput: there is none.
    """
    entry = MODELS.get(name)
    if entry is None:
        raise InvalidInput("no such model", where=f"--model {name[:80]}", next_step=f"use one of {', '.join(MODELS)}")
    return entry


def save(folder: Path, trained: Trained, model: AnyModel, items: Catalogue) -> None:
    """Write a trained model into `folder`, which exists; `trained.json` last.

    Raises:
        HcctlError: the disk is full, read-only or failing.
    """
    model.save(folder)
    write_atomic(folder / CATALOGUE, items.model_dump_json().encode())
    write_atomic(folder / TRAINED, trained.model_dump_json(indent=2).encode() + b"\n")


def load(folder: Path) -> tuple[Trained, AnyModel, Catalogue]:
    """What `save` wrote.

    Raises:
        CorruptArtefact: a file is missing, damaged or does not fit the others; `where` is its name.
    """
    trained = _read(folder, TRAINED, Trained)
    if trained.model not in MODELS:
        raise _corrupt(TRAINED, f"there is no model {trained.model[:80]!r} in this version of hcctl")
    items = _read(folder, CATALOGUE, Catalogue)
    if not len(items.ids) == len(items.titles) == len(items.prices):
        raise _corrupt(CATALOGUE, "its lists differ in length")
    return trained, MODELS[trained.model].load(folder), items


_Kind = TypeVar("_Kind", bound=BaseModel)


def _read(folder: Path, name: str, kind: type[_Kind]) -> _Kind:
    with disk_errors("the model cannot be read", folder / name):
        file = open_plain(folder / name)
        if file is None:
            raise _corrupt(name, "it is missing, or no plain file")
        with file:
            content = file.read(FILE_LIMIT_BYTES)
    try:
        return kind.model_validate_json(content)
    except ValidationError as problem:
        raise _corrupt(name, ": ".join(filter(None, first_problem(problem)))) from problem


def _corrupt(name: str, why: str) -> CorruptArtefact:
    return CorruptArtefact("the model cannot be loaded", where=name, why=why[:200], next_step="train and push it again")


FADING = Ease(l2=100.0, half_life_days=45.0)
REPEATS = OwnFrequency(half_life_days=None, basket_decay=0.95, stock_power=0.25)
BLEND = Ensemble(
    parts=(
        Part(method=FADING),
        Part(method=REPEATS, weight=0.0),
        Part(method=UserPopularity(recent_baskets=10, locality=4.0), weight=0.0),
        Part(method=ItemKnn(neighbours=20, k1=0.6), weight=0.0),
        Part(method=Popularity(window_days=14, damped=True), weight=0.0),
        Part(method=Popularity(window_days=14), weight=0.0),
    )
)
RANKED = (
    FADING,
    REPEATS,
    UserPopularity(recent_baskets=10, locality=4.0),
    ItemKnn(neighbours=20, k1=0.6),
    TifuKnn(group_size=100, within_decay=0.95, group_decay=1.0, similarity="cosine"),
    Popularity(window_days=14, damped=True),
)

MODELS: dict[str, Entry] = {
    "popularity": Entry("what everybody bought lately", method(Popularity)),
    "repeats": Entry(
        "what the user bought often, while the shop still sells it",
        method(OwnFrequency, **REPEATS.model_dump(exclude={"kind"})),
    ),
    "tifu": Entry("next basket by own habits and those of alike users (TIFU-KNN)", method(TifuKnn)),
    "user-neighbours": Entry(
        "what alike users bought lately (UP-CF)", method(UserPopularity, recent_baskets=10, locality=4.0)
    ),
    "user-jaccard": Entry("what alike users bought, by the share of items in common (user-kNN)", method(UserKnn)),
    "item-neighbours": Entry(
        "what is bought by those who bought the same (BM25 item-kNN)", method(ItemKnn, neighbours=20, k1=0.6)
    ),
    "ease": Entry(
        "which items belong together, old purchases fading (EASE)", method(Ease, **FADING.model_dump(exclude={"kind"}))
    ),
    "als": Entry("factors of users and items by alternating least squares", method(Als)),
    "towers": Entry("two towers of a neural network", method(Towers), in_steps=True),
    "sasrec": Entry("a Transformer over the sequence of purchases", method(Sasrec), in_steps=True),
    "ranked": Entry(
        "candidates of the closed-form ones, in the order of a trained ranker", method(Ranked, parts=RANKED)
    ),
    "nearest": Entry("the nearest items of the two towers, found by a graph in large catalogues", method(Nearest)),
    "content": Entry(
        "what is like what the user bought, by category, brand, price and words", _content, ContentModel.load
    ),
    "taste": Entry("a learned taste for texts and pictures, also of who and what is new", _taste, TasteModel.load),
    "clicks": Entry("how likely a click is, learned from the lists that were shown", _clicks, ClickModel.load),
    "ensemble": Entry("the closed-form ones, blended by what does best in the last four weeks", _ensemble),
}
"""Every model by name. A new one needs a line here, and nothing else: `Entry.load` where it is no `FittedModel`."""
