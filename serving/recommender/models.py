"""The models that `hcctl model train --model NAME` knows: one line each in `MODELS`, which is all there is to add.

What is trained is a folder, which `hcctl version push` takes as it is: the model's own files, `trained.json` that says
what it is, and `catalogue.json` with what is shown of each item.
"""

from __future__ import annotations

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
from serving.recommender.method import Arrays, Settings, changed
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

    def __call__(self, chosen: Any, past: Purchases, data: Dataset, how: How, /) -> AnyModel:
        """By settings of the entry's kind. Raises InvalidInput if there is too little to learn from."""


def _by_purchases(chosen: Any, past: Purchases, _: Dataset, how: How, /) -> AnyModel:
    """A method of one kind or another."""
    if isinstance(chosen, Towers | Sasrec) and chosen.plan.patience is not None:
        from serving.recommender.training.fit import last_days, stopped_early

        if how.start is not None:
            raise InvalidInput(
                "cannot stop early",
                where="plan.patience",
                why="the model that training starts from may know the days that are held out",
                next_step="set plan.epochs",
            )
        chosen, _course = stopped_early(chosen, last_days(past, TUNE_DAYS), chosen.plan.patience, how.part("held-out"))
    if isinstance(chosen, Towers | Sasrec | Nearest | Ranked):
        return FittedModel(chosen, past, chosen.learn(past, how))
    return FittedModel.fit(chosen, past)


@dataclass(frozen=True)
class Entry:
    """A model by name."""

    what: str
    """In a few words, for the help."""
    usual: Settings
    fit: Fit = _by_purchases
    load: Callable[[Path], AnyModel] = FittedModel.load

    @property
    def in_steps(self) -> bool:
        """Whether it is trained step by step: by several workers, with checkpoints, if wanted."""
        return isinstance(self.usual, Towers | Sasrec | Nearest | Ranked | _ByTaste | ClickSettings)

    @property
    def warm(self) -> bool:
        """Whether its training can begin with what another model of its kind has learned."""
        return isinstance(self.usual, Towers | Sasrec | Nearest)

    def settings(self, given: Mapping[str, Any]) -> Settings:
        """The usual ones, changed by those given.

        Raises:
            InvalidInput: one is unknown or out of its range; names it.
        """
        return changed(self.usual, given)


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


class _Nothing(Settings):
    """Settings of a model that has none."""


def _ensemble(_: _Nothing, past: Purchases, __: Dataset, ___: How, /) -> AnyModel:
    """Parts with their usual settings, blended by weights that do best in the last days."""
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


def _content(chosen: _ByContent, past: Purchases, data: Dataset, _: How, /) -> AnyModel:
    """By the attributes of all items of the shop."""
    return ContentModel.fit(Content(told.attributes(data.items(), chosen.by), chosen.likeness), past)


def _taste(chosen: _ByTaste, past: Purchases, data: Dataset, how: How, /) -> AnyModel:
    """By the texts and pictures of all items, what was shown before the end of `past`, and what users told."""
    items, until = data.items(), past.as_of_day
    seen = told.impressions(data, until)
    features = looks(items, told.there(data, items, until), chosen.looks, how.part("pictures"))
    known = Told(tuple(items["item_id"]), features, told.people(data.labels()))
    taste = Taste.model_validate(chosen.model_dump(include=set(Taste.model_fields)))
    lesson = Lesson(known, told.shown(seen, known.item_ids), taste, how.part("taste"))
    return TasteModel.fit(lesson, told.likes(data, until))


def _clicks(chosen: ClickSettings, past: Purchases, data: Dataset, how: How, /) -> AnyModel:
    """By what was shown before the end of `past`."""
    seen = told.impressions(data, past.as_of_day)
    return ClickModel.fit(Watched(chosen, seen, told.listed(data.items()), how), past)


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


def learned_by(folder: Path, name: str) -> tuple[Arrays, tuple[str, ...]]:
    """What the model of that name in `folder` has learned, and its item ids: where another training may begin.

    Raises:
        InvalidInput: it is another model, or one whose training begins anew.
        CorruptArtefact: a file is missing or damaged.
    """
    trained, model, _ = load(folder)
    if trained.model != name or not named(name).warm or not isinstance(model, FittedModel):
        warm = ", ".join(other for other, entry in MODELS.items() if entry.warm)
        raise InvalidInput(
            "cannot start from this model",
            where=f"--warm-start {folder}",
            why=f"it is of kind {trained.model}, and {name} is to be trained",
            next_step=f"start {warm} from a model of the same kind",
        )
    return model.learned, model.item_ids


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
ALIKE = UserPopularity(recent_baskets=10, locality=4.0)
TOGETHER = ItemKnn(neighbours=20, k1=0.6)
BLEND = Ensemble(
    parts=(
        Part(method=FADING),
        Part(method=REPEATS, weight=0.0),
        Part(method=ALIKE, weight=0.0),
        Part(method=TOGETHER, weight=0.0),
        Part(method=Popularity(window_days=14, damped=True), weight=0.0),
        Part(method=Popularity(window_days=14), weight=0.0),
    )
)
RANKED = Ranked(
    parts=(
        FADING,
        REPEATS,
        ALIKE,
        TOGETHER,
        TifuKnn(group_size=100, within_decay=0.95, group_decay=1.0, similarity="cosine"),
        Popularity(window_days=14, damped=True),
    )
)

MODELS: dict[str, Entry] = {
    "popularity": Entry("what everybody bought lately", Popularity()),
    "repeats": Entry("what the user bought often, while the shop still sells it", REPEATS),
    "tifu": Entry("next basket by own habits and those of alike users (TIFU-KNN)", TifuKnn()),
    "user-neighbours": Entry("what alike users bought lately (UP-CF)", ALIKE),
    "user-jaccard": Entry("what alike users bought, by the share of items in common (user-kNN)", UserKnn()),
    "item-neighbours": Entry("what is bought by those who bought the same (BM25 item-kNN)", TOGETHER),
    "ease": Entry("which items belong together, old purchases fading (EASE)", FADING),
    "als": Entry("factors of users and items by alternating least squares", Als()),
    "towers": Entry("two towers of a neural network", Towers()),
    "sasrec": Entry("a Transformer over the sequence of purchases", Sasrec()),
    "ranked": Entry("candidates of the closed-form ones, in the order of a trained ranker", RANKED),
    "nearest": Entry("the nearest items of the two towers, found by a graph in large catalogues", Nearest()),
    "content": Entry(
        "what is like what the user bought, by category, brand, price and words",
        _ByContent(),
        _content,
        ContentModel.load,
    ),
    "taste": Entry(
        "a learned taste for texts and pictures, also of who and what is new", _ByTaste(), _taste, TasteModel.load
    ),
    "clicks": Entry(
        "how likely a click is, learned from the lists that were shown", ClickSettings(), _clicks, ClickModel.load
    ),
    "ensemble": Entry("the closed-form ones, blended by what does best in the last four weeks", _Nothing(), _ensemble),
}
"""Every model by name. A new one needs a line here, and nothing else: `fit` and `load` where it is no `FittedModel`."""
