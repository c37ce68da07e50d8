"""`hcctl model`: from a shop's files to a trained model, and the verdict on it."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import model_tables, output
from cli.options import Number
from serving.errors import HcctlError, InvalidInput

if TYPE_CHECKING:
    from datetime import datetime
    from types import ModuleType

MODELS, DATA = "serving.recommender.model_commands", "serving.recommender.data_commands"
TUNE = "serving.recommender.tune_command"
SERVED = "serving.recommender.lists"
"""The workload enters by its import path alone: nothing of hcctl needs it."""

FOLDER = click.Path(path_type=Path)
DAY = click.DateTime(["%Y-%m-%d"])
_data_option = click.option(
    "--data", type=FOLDER, required=True, metavar="DIR", help="Clean data, as `hcctl model ingest` writes it."
)


@click.group("model")
def command() -> None:
    """Train and judge the recommender's models. Needs the extra `hcctl[recommender]`.

    What is trained is a folder; `hcctl version push` makes a version of it, and
    `serving.recommender.lists:Lists` serves it.
    """


@command.command("generate")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--users", type=click.IntRange(1, 100_000_000), default=2_000, show_default=True)
@click.option("--items", type=click.IntRange(1, 2_000_000), default=1_200, show_default=True)
@click.option("--days", type=click.IntRange(1, 3_650), default=120, show_default=True)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@click.option("--format", "file_format", type=click.Choice(["parquet", "csv"]), default="parquet", show_default=True)
@click.option("--images/--no-images", default=True, show_default=True, help="A small picture of each item.")
@output.output_option
def generate(folder: Path, file_format: str, images: bool, output_format: output.Output, **size: int) -> None:
    """Write a generated shop into DIR, with the truth beside it.

    Its schema is DIR/data.yaml. What is measured on it is labelled as generated.
    """
    found = _recommender(DATA).generate_shop(folder, file_format=file_format, images=images, **size)
    output.emit(found, output_format)


@command.command("ingest")
@click.argument("schema", metavar="SCHEMA", type=FOLDER)
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--ray", "on_ray", is_flag=True, help="As tasks of Ray Data; needs the extra `hcctl[train]`.")
@output.output_option
def ingest(schema: Path, folder: Path, on_ray: bool, output_format: output.Output) -> None:
    """Clean the data that the file SCHEMA declares into DIR.

    Every row that breaks a rule is in DIR/rejected.csv with its reason, and counted. Nothing is
    written if a file cannot be used, or if so many rows are bad that the schema must be wrong.
    """
    found = _recommender(DATA).ingest_shop(schema, folder, on_ray=on_ray)
    if output_format == "table":
        model_tables.ingested(found)
    else:
        output.emit(found, output_format)


@command.command("features")
@click.argument("folder", metavar="DIR", type=FOLDER)
@_data_option
@click.option("--at", type=DAY, metavar="DAY", help="Only what came before this UTC day.  [default: everything]")
@output.output_option
def features(folder: Path, data: Path, at: datetime | None, output_format: output.Output) -> None:
    """Write features of items and users, for models of your own, into DIR.

    Counts by kind of event, rates drawn towards the mean, ages, and prices as levels within their
    category, as items.parquet and users.parquet. Nothing that happened later enters.
    """
    output.emit(_recommender(DATA).write_features(data, folder, at=at and at.date()), output_format)


@command.command("train")
@_data_option
@click.option("--model", "name", default="ensemble", show_default=True, help="By name; `hcctl model list` has them.")
@click.option("--out", type=FOLDER, required=True, metavar="DIR", help="A new folder for the model.")
@click.option("--before", type=DAY, metavar="DAY", help="Learn from what came before this UTC day.  [default: all]")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="A setting of the model; may be repeated.")
@click.option(
    "--workers",
    type=click.IntRange(1, 1_000),
    default=1,
    show_default=True,
    help="Of Ray Train, from 2 on; of networks.",
)
@click.option("--checkpoints", type=FOLDER, metavar="DIR", help="A killed training goes on from here; of networks.")
@click.option("--warm-start", type=FOLDER, metavar="MODEL", help="Begin with what this one learned; of networks.")
@output.output_option
def train(
    data: Path,
    name: str,
    out: Path,
    before: datetime | None,
    settings: tuple[str, ...],
    workers: int,
    checkpoints: Path | None,
    warm_start: Path | None,
    output_format: output.Output,
) -> None:
    """Train a model, ready for `hcctl version push`.

    Networks tell each epoch. With --checkpoints the same command goes on where a killed one was, to
    the same model. Several workers need the extra `hcctl[train]` and a folder that all of them see,
    and tell nothing; they run in the cluster that RAY_ADDRESS names, or here. A warm start is from
    the folder of a model of the same kind, of other items and days perhaps.
    """
    found = _recommender(MODELS).train(
        data,
        name,
        out,
        settings=dict(map(_setting, settings)),
        before=before and before.date(),
        workers=workers,
        checkpoints=checkpoints,
        warm_start=warm_start,
        tell=lambda it: output.progress(f"epoch {it.epoch} of {it.epochs}: loss {it.loss:.4f}"),
    )
    output.emit(found, output_format)


@command.command("tune")
@_data_option
@click.option("--model", "name", default="ensemble", show_default=True, help="By name; `hcctl model list` has them.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="As in train; may be repeated.")
@click.option(
    "--try", "space", metavar="KEY=VALUES", multiple=True, help="What is tried: 10,20,null or 0.1..10; may be repeated."
)
@click.option("--before", type=DAY, metavar="DAY", help="Leave out this UTC day and later ones.")
@click.option("--folds", type=click.IntRange(1, 100), default=3, show_default=True, help="Spans that are predicted.")
@click.option("--days", "span_days", type=click.IntRange(1, 3_650), default=28, show_default=True, help="Of a span.")
@click.option("--trials", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most so many.")
@click.option("--metric", default="ndcg@10", show_default=True, help="What settings are chosen by.")
@click.option(
    "--track",
    type=click.Choice(["a", "b", "both"]),
    default="both",
    show_default=True,
    help="All purchases (a), those that were new to the user (b), or the mean.",
)
@click.option(
    "--min-purchases",
    "min_rows",
    type=click.IntRange(1, 10_000),
    default=5,
    show_default=True,
    help="Of users judged by.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True, help="Of the search.")
@output.output_option
def tune(
    data: Path,
    name: str,
    settings: tuple[str, ...],
    space: tuple[str, ...],
    before: datetime | None,
    trials: int,
    seed: int,
    output_format: output.Output,
    **question: Any,
) -> None:
    """Cross-validate a model over time, and search the settings that do best.

    The last spans of days are predicted, each by a model of what came before it; settings are worth
    the mean of all spans. Without --try the model is judged as it is. Listed values are tried in full
    if --trials allows; else optuna draws, as it does from LOW..HIGH (in the logarithm, if HIGH is ten
    times LOW or more). Train with what is best, and judge that on days that no trial has seen: leave
    them out here by --before.
    """
    module = _recommender(TUNE)
    found = module.tune(
        data,
        name,
        settings=dict(map(_setting, settings)),
        space=dict(_pair(text, "--try") for text in space),
        before=before and before.date(),
        question=module.Question(**question),
        trials=trials,
        seed=seed,
        tell=lambda trial: output.progress(f"{model_tables.flags(trial.settings) or name}: {trial.value:.4f}"),
    )
    if output_format == "table":
        model_tables.tuned(found)
    else:
        output.emit(found, output_format)


@command.command("list")
@output.output_option
def show(output_format: output.Output) -> None:
    """List the models that can be trained."""
    rows = [{"model": name, "what": what} for name, what in _recommender(MODELS).model_names().items()]
    output.emit(rows, output_format)


@command.command("index")
@click.argument("folder", metavar="MODEL", type=FOLDER)
@_data_option
@output.output_option
def index(folder: Path, data: Path, output_format: output.Output) -> None:
    """Make the shop's items searchable, in the folder of the trained MODEL.

    The version that is pushed from it answers `/search` beside `/recommend`, in the order of the
    model's taste where a request names a user.
    """
    output.emit(_recommender(MODELS).index(data, folder), output_format)


@command.command("ask")
@click.argument("version", metavar="VERSION")
@click.option("--user", metavar="ID", help="For whom.")
@click.option("--bought", metavar="ITEM", multiple=True, help="For somebody who bought this; may be repeated.")
@click.option("--search", "query", metavar="WORDS", help="Search instead; needs `hcctl model index`.")
@click.option("--category", metavar="NAME", multiple=True, help="Of a search: only these; may be repeated.")
@click.option("--brand", metavar="NAME", multiple=True, help="Of a search: only these; may be repeated.")
@click.option("--min-price", type=Number(0, 1e12), help="Of a search.")
@click.option("--max-price", type=Number(0, 1e12), help="Of a search.")
@click.option("--new", is_flag=True, help="Of a list: leave out what the user bought.")
@click.option("-k", "count", type=click.IntRange(1, 100), default=10, show_default=True, help="How many items.")
@output.output_option
def ask(
    version: str,
    user: str | None,
    bought: tuple[str, ...],
    query: str | None,
    category: tuple[str, ...],
    brand: tuple[str, ...],
    min_price: float | None,
    max_price: float | None,
    new: bool,
    count: int,
    output_format: output.Output,
) -> None:
    """Ask VERSION in this process, as a request would: a list for somebody, or a search.

    A version is an id of the registry, the beginning of one, `latest`, or the folder of a trained
    model. Without --user and --bought a list is for somebody unknown.
    """
    who: dict[str, Any] = {"user_id": user} if user is not None else {"history": list(bought)}
    filters = {"categories": list(category), "brands": list(brand), "min_price": min_price, "max_price": max_price}
    wanted = {name: value for name, value in filters.items() if value not in (None, [])}
    _check_question(user, bought, query, bool(wanted), new)
    path, body = "/recommend", who | {"exclude_bought": new}
    if query is not None:
        path, body = "/search", wanted | {"query": query} | (who if user is not None or bought else {})
    lists = _recommender(SERVED).Lists.opened(_folder(version), searched=query is not None)
    (answer,) = lists.predict_batch([{"path": path, "query": {}, "body": body | {"k": count}}])
    if isinstance(answer, InvalidInput):
        raise answer
    if "items" not in answer:
        raise InvalidInput("the version cannot be searched", where=version, next_step="run `hcctl model index` on it")
    output.emit(answer["items"], output_format)


@command.command("evaluate")
@click.argument("version", metavar="VERSION")
@click.option("--against", metavar="VERSION", help="Give a verdict: may VERSION replace this one?")
@_data_option
@click.option("--from", "start", type=DAY, metavar="DAY", help="Judge by this UTC day and later ones.")
@click.option("--metric", default="ndcg@10", show_default=True, help="What the verdict goes by.")
@click.option(
    "--tolerance", type=Number(0, 1), default=0.02, show_default=True, help="Share of the metric that may be lost."
)
@click.option(
    "--min-purchases", type=click.IntRange(1, 10_000), default=5, show_default=True, help="Of users judged by."
)
@click.option("--plot", type=FOLDER, metavar="FILE.png", help="Draw the figures.")
@output.output_option
def evaluate(
    version: str,
    against: str | None,
    data: Path,
    start: datetime | None,
    metric: str,
    tolerance: float,
    min_purchases: int,
    plot: Path | None,
    output_format: output.Output,
) -> int:
    """Judge VERSION by what people bought after it was trained.

    A version is an id of the registry, the beginning of one, `latest`, or the folder of a trained
    model. Users, their purchases and the items are those of the data; both versions are asked the
    same. With --against the exit code is 0 if VERSION is better or as good in each track, and 1 if
    it is worse or it cannot be said.
    """
    if plot is not None and plot.suffix != ".png":
        raise InvalidInput("the picture is a PNG", where=f"--plot {plot}", next_step="name a file that ends in .png")
    folders = [_folder(version), None if against is None else _folder(against)]
    found = _recommender(MODELS).judge(
        data, *folders, start=start and start.date(), metric=metric, tolerance=tolerance, min_rows=min_purchases
    )
    if plot is not None:
        from cli import model_chart

        model_chart.write(plot, found, metric)
    if output_format == "table":
        model_tables.judged(found)
    else:
        output.emit(found, output_format)
    return 0 if found["verdict"] is None or found["verdict"]["passes"] else 1


def _check_question(user: str | None, bought: Sequence[str], query: str | None, filtered: bool, new: bool) -> None:
    """Refuse options that say nothing together."""
    if user is not None and bought:
        raise InvalidInput("whom is it for?", where="--user, --bought", next_step="give one of them")
    if query is None and filtered:
        raise InvalidInput("a list has no filters", where="--search", next_step="give it, or leave them out")
    if query is not None and new:
        raise InvalidInput("a search leaves nothing out", where="--new", next_step="leave it out")


def _recommender(module: str) -> ModuleType:
    """The recommender's commands.

    Raises:
        HcctlError: a package that it needs is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as problem:
        raise HcctlError(
            "the recommender is not installed",
            why=f"there is no package {problem.name}",
            next_step="install hcctl with its extra: hcctl[recommender]",
        ) from problem


def _folder(ref: str) -> Path:
    """The folder of a trained model, or of a version's files."""
    path = Path(ref)
    with contextlib.suppress(OSError):  # a name that no file system takes is no folder
        if path.is_dir():
            return path
    from cli import wiring
    from cli.context import load_service, open_project
    from serving.registry import LATEST

    project = open_project()
    registry = wiring.registry(project.paths)
    name = load_service(None, project).name if ref == LATEST else ""
    return registry.directory(registry.resolve(ref, name).version)


def _pair(text: str, flag: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise InvalidInput(
            "the setting is not KEY=VALUE", where=f"{flag} {text[:80]}", next_step=f"as in {flag} l2=300"
        )
    return key, value


def _setting(text: str) -> tuple[str, Any]:
    key, value = _pair(text, "--set")
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        return key, value  # a text needs no quotes
