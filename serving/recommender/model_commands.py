"""What `hcctl model train`, `list`, `index` and `evaluate` do: folders in, plain figures out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from serving.errors import InvalidInput
from serving.files import disk_errors
from serving.recommender import models, told
from serving.recommender.evaluation.feedback import AS_SHOWN, FIRST, feedback
from serving.recommender.evaluation.newcomers import answered, new_items, new_users
from serving.recommender.evaluation.segments import by_history, by_label, by_popularity, by_segment
from serving.recommender.evaluation.tracks import METRICS, Evaluation, Interval, bootstrap, compare, evaluate
from serving.recommender.evaluation.tuning import score_on
from serving.recommender.evaluation.verdict import verdict
from serving.recommender.ingest.dataset import Dataset
from serving.recommender.models import EPOCH, AnyModel, Catalogue, Trained
from serving.recommender.orders.purchases import DAY_S, Vector, epoch_day
from serving.recommender.orders.splits import MIN_ROWS, Split, Track, tracks
from serving.recommender.search.index import SearchIndex
from serving.recommender.training.how import How, Progress, not_in_steps, unheard

Rows = list[dict[str, Any]]
NEWCOMERS_BY = "ndcg@10"


def model_names() -> dict[str, str]:
    """The models that can be trained, and what each is."""
    return {name: entry.what for name, entry in models.MODELS.items()}


def train(
    data_folder: Path,
    name: str,
    folder: Path,
    *,
    settings: Mapping[str, Any],
    before: date | None,
    workers: int = 1,
    checkpoints: Path | None = None,
    warm_start: Path | None = None,
    tell: Callable[[Progress], None] = unheard,
) -> dict[str, Any]:
    """Fit a model on what was bought before a day, and write it into `folder`, which is made.

    Args:
        data_folder: clean data.
        name: of the model.
        folder: for the model; must not hold anything yet.
        settings: of the model, where they differ from its usual ones.
        before: the first day that it is not to know; None: it knows everything.
        workers: of Ray Train, for a model that is trained in steps; 1: this process.
        checkpoints: a folder from which such a training goes on if it is killed; None: none are kept.
        warm_start: folder of a model of the same kind with which training begins; None: it begins anew.
        tell: called after each epoch of such a training, if this process is the only worker.

    Raises:
        InvalidInput: the data, the name, a setting or the folder cannot be used, or there is too little to learn from.
        HcctlError: the disk is full, read-only or failing.
    """
    entry, data = models.named(name), Dataset.open(data_folder)
    with disk_errors("the model cannot be written", folder):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InvalidInput("the folder is not empty", where=str(folder), next_step="name a new one")
    start = None if warm_start is None else models.learned_by(warm_start, name)
    # Workers have another working directory.
    how = How(None if checkpoints is None else checkpoints.absolute(), workers, start, tell)
    if how.in_steps() and not entry.in_steps:
        steps = ", ".join(name for name, other in models.MODELS.items() if other.in_steps)
        raise not_in_steps(how, f"leave it out, or choose one of {steps}")
    past = data.purchases().between(None, before)
    model = entry.fit(entry.settings(settings), past, data, how)
    trained = Trained(
        model=name,
        settings=dict(settings),
        generated=data.report.generated,
        purchases=len(past),
        users=len(np.unique(past.user)),
        items=len(np.unique(past.item)),
        until_day=past.as_of_day,
    )
    items = data.items()
    shown = Catalogue(ids=items["item_id"].to_list(), titles=items["title"].to_list(), prices=items["price"].to_list())
    with disk_errors("the model cannot be written", folder):
        folder.mkdir(parents=True, exist_ok=True)
        models.save(folder, trained, model, shown)
    return {"folder": str(folder), **trained.model_dump(exclude={"format", "until_day"}), "until": trained.until}


def index(data_folder: Path, folder: Path) -> dict[str, Any]:
    """Make the shop's items searchable: an index in `folder`, which is that of a trained model.

    Raises:
        InvalidInput: the data cannot be used, or no item has a title.
        CorruptArtefact: `folder` is not that of a trained model.
        HcctlError: the disk is full, read-only or failing.
    """
    trained, _, _ = models.load(folder)
    found = SearchIndex.build(told.searchable(Dataset.open(data_folder).items()))
    with disk_errors("the index cannot be written", folder):
        found.save(folder)
    return {"folder": str(folder), "model": trained.model, "generated": trained.generated, "items": len(found.items)}


def judge(
    data_folder: Path,
    version: Path,
    against: Path | None,
    *,
    start: date | None,
    metric: str,
    tolerance: float,
    min_rows: int = MIN_ROWS,
) -> dict[str, Any]:
    """How good a trained model is on what was bought from `start` on, and whether it may replace another one.

    Args:
        data_folder: clean data that reaches beyond what the models know.
        version: folder of the model.
        against: folder of the one to compare with; None for figures alone.
        start: the first day to judge by; the first one that neither model knows, if unset.
        metric: what the verdict goes by.
        tolerance: share of the other's mean that may be lost.
        min_rows: users with fewer purchases before `start` are not judged by.

    Raises:
        InvalidInput: the data or a model cannot be used for this, or a model knows what it would be judged by.
        CorruptArtefact: a file of a model is damaged.
    """
    if metric not in METRICS:
        raise InvalidInput(
            "no such metric", where=f"--metric {metric[:80]}", next_step=f"use one of {', '.join(METRICS)}"
        )
    known = [_Known(*models.load(folder)[:2]) for folder in (version, against) if folder is not None]
    data = Dataset.open(data_folder)
    until = max(one.trained.until for one in known)
    if start is not None and start < until:
        raise InvalidInput(
            "a model knows what it would be judged by",
            where=f"--from {start}",
            why=f"it was fitted on purchases until {until}",
            next_step=f"choose {until} or later, or train with --before {start}",
        )
    start = start or until
    purchases = data.purchases()
    split = Split(purchases.between(None, start), purchases.between(start, None))
    if not len(split.later):
        last = EPOCH if not len(purchases) else models.day(int(purchases.day[-1]))
        raise InvalidInput(
            "there is nothing to judge by",
            where=f"--from {start}",
            why=f"the last purchase is of {last}",
            next_step="train with an earlier --before, or ingest later data",
        )
    asked = tracks(split, min_rows)
    judged = [[evaluate(score_on(one.model, split.past), track) for track in asked] for one in known]
    found: dict[str, Any] = {
        "generated": data.report.generated,
        "from": start,
        "model": known[0].trained.model,
        "against": known[1].trained.model if against else None,
        "users": {track.name: len(track.users) for track in asked},
        "metrics": _table(judged),
        "segments": [row for one in judged[0] for row in _segments(one, metric, data.labels())],
        "items": [row for one in judged[0] for row in _bands(one)],
        "newcomers": _newcomers([one.model for one in known], data, start, min_rows),
        "feedback": _feedback([one.model for one in known], data, start),
        "verdict": None,
    }
    if against:
        found["verdict"] = asdict(verdict(judged[0], judged[1], metric=metric, tolerance=tolerance))
    return found


@dataclass(frozen=True)
class _Known:
    """A loaded model."""

    trained: Trained
    model: AnyModel


def _table(judged: list[list[Evaluation]]) -> Rows:
    """A row for each track and metric; with the difference and its interval if two were judged."""
    rows: Rows = []
    for place, ours in enumerate(judged[0]):
        theirs = judged[1][place] if len(judged) > 1 else None
        summary = ours.summary()
        for metric, value in summary.items():
            row = {"track": ours.track.name, "metric": metric, "value": value}
            if theirs is not None:
                gain = compare(ours, theirs, metric) if metric in ours.per_user else None
                row |= _beside(value, theirs.summary()[metric], gain)
            rows.append(row)
    return rows


def _beside(value: float | None, other: float | None, gain: Interval | None) -> dict[str, float | None]:
    """The other model's figure, and the difference with its interval, where it has one."""
    low, high = (gain.low, gain.high) if gain else (None, None)
    difference = None if value is None or other is None else value - other
    return {"against": other, "difference": difference, "low": low, "high": high}


def _newcomers(asked: Sequence[AnyModel], data: Dataset, start: date, min_rows: int) -> Rows:
    """NDCG@10 for items, and for users, that nobody knew on the day; a row where there are any."""
    events, items, at_s = data.events(), data.items().lazy(), epoch_day(start) * DAY_S
    rows: Rows = []
    kinds = {"new items": new_items(events, items, at_s, min_rows), "new users": new_users(events, items, at_s)}
    for kind, questions in kinds.items():
        if questions.questions:
            ours, *others = (answered(questions, model) for model in asked)
            row = {"newcomers": kind, "users": len(ours), "metric": NEWCOMERS_BY, "value": float(ours.mean())}
            for theirs in others:
                row |= _beside(float(ours.mean()), float(theirs.mean()), bootstrap(ours - theirs))
            rows.append(row)
    return rows


def _feedback(asked: Sequence[AnyModel], data: Dataset, start: date) -> Rows:
    """Click-through and conversion of the lists that were shown from `start` on; nothing where none were."""
    shown = feedback(data.events(), epoch_day(start) * DAY_S)
    if shown is None:
        return []
    rows: Rows = [
        {"items": AS_SHOWN, "metric": metric, "value": _mean(values)}
        for metric, values in shown.rates(np.arange(len(shown))).items()
    ]
    ours, *others = (shown.rates(shown.first_by(model)) for model in asked)
    for metric, values in ours.items():
        row = {"items": FIRST, "metric": metric, "value": _mean(values)}
        for theirs in others:
            difference = values - theirs[metric]
            gain = bootstrap(difference) if not np.isnan(difference).all() else None
            row |= _beside(_mean(values), _mean(theirs[metric]), gain)
        rows.append(row)
    return rows


def _mean(values: Vector) -> float | None:
    """Over the users for whom it is defined; None if for none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None


def _segments(one: Evaluation, metric: str, labels: Mapping[str, Mapping[str, str]]) -> Rows:
    """By how much users bought, and by each label of theirs."""
    track: Track = one.track
    segments = by_history(track)
    for label, values in labels.items():
        segments |= {f"{label}={value}": chosen for value, chosen in by_label(track, values).items()}
    rows = by_segment(one, segments, [metric])
    return [
        {"track": track.name, "segment": row.segment, "users": row.users, metric: row.metrics[metric]} for row in rows
    ]


def _bands(one: Evaluation) -> Rows:
    """By how well items sell."""
    return [
        {"track": one.track.name, "items": row.segment, "users": row.users, **row.metrics} for row in by_popularity(one)
    ]
