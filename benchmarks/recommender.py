"""The recommender's models side by side on a real shop's orders: fitted, tuned on a month, tested on the next.

`python -m benchmarks recommender` reads the folder that HCCTL_DATA names, or the maintainers' beside the repository.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from benchmarks.child import ROOT
from benchmarks.figures import Figure, Goal, Section, quantile
from serving.recommender.evaluation.tracks import Evaluation, Interval, compare, evaluate
from serving.recommender.evaluation.trials import Space, Span, search
from serving.recommender.evaluation.tuning import fit_weights, score_of
from serving.recommender.fitted import FittedModel
from serving.recommender.methods.als import Als
from serving.recommender.methods.ease import Ease
from serving.recommender.methods.ensemble import AnyMethod, Ensemble, Part
from serving.recommender.methods.neighbours import ItemKnn, TifuKnn, UserPopularity
from serving.recommender.methods.popularity import Popularity
from serving.recommender.methods.ranking import Ranked
from serving.recommender.methods.repeats import OwnFrequency
from serving.recommender.methods.sasrec import Sasrec
from serving.recommender.methods.towers import Towers
from serving.recommender.orders.data import load_orders
from serving.recommender.orders.purchases import Purchases
from serving.recommender.orders.splits import Split, splits_by_date, tracks
from serving.recommender.training.fit import stopped_early
from serving.recommender.training.plan import Plan

RETRIEVERS = ("UP-CF", "item-kNN (BM25)")
TRIALS, PATIENCE = 24, 3
TOWERS = Towers(plan=Plan(epochs=12))
SASREC = Sasrec(plan=Plan(epochs=20, learning_rate=3e-3, weight_decay=0.01))
TUNE_FROM, TEST_FROM = date(2011, 10, 1), date(2011, 11, 1)
PIPELINE, BLEND, TIFU, EASE, FADING, REPEAT = (
    "pipeline",
    "weighted sum",
    "TIFU-KNN",
    "EASE",
    "fading EASE",
    "repeat purchase",
)
NDCG = "ndcg@10"
FIT_WITHIN_S, LIST_WITHIN_MS = 300.0, 10.0
ASKED_USERS = 1_000

HOW = """\
Online Retail: orders of a real shop from December 2010 to December 2011. A user, an item and a UTC day are one
purchase. Models are fitted before October 2011, their settings (by optuna, at most 24 trials) and the epochs of the
networks chosen on October, and tested from November on; the last two columns add October to the fit, with the same
settings. Judged by are users with at least 5 purchases in the fit; all items sold in the fit are ranked. Track a: all
that was bought. Track b: only what the user had not bought before, and bought items are left out of the lists. Settings
are chosen by NDCG@10 in the track that the model is for. The pipeline is retrieval by six closed-form models, then a
ranker that learned on the last three months of the fit (`ranking.py`). Differences are over the same users, with a
paired bootstrap of 10,000 samples. Not of this run, but measured before by the same protocol, NDCG@10 in a and b:
LightFM 0.214 and 0.075, a short LightGCN 0.206 and 0.078."""


@dataclass(frozen=True)
class Entrant:
    """A kind of model, what is tried of its settings, and the track they are chosen by."""

    name: str
    track: str
    base: AnyMethod
    space: Space = field(default_factory=dict)
    """Empty: nothing; of a network the epochs are chosen all the same."""


ENTRANTS = (
    Entrant("popularity", "b", Popularity(), {"window_days": (14, 30, 60)}),
    Entrant("own frequency", "a", OwnFrequency(), {"half_life_days": (60.0, 120.0, 240.0)}),
    Entrant(
        TIFU,
        "a",
        TifuKnn(),
        {
            "group_size": (3, 7, 100),
            "within_decay": (0.9, 0.95),
            "group_decay": (0.7, 0.9, 1.0),
            "own_share": (0.7, 0.9),
            "similarity": ("euclidean", "cosine"),
        },
    ),
    Entrant("UP-CF", "a", UserPopularity(), {"recent_baskets": (None, 10), "locality": (3.0, 4.0, 5.0, 8.0)}),
    Entrant("item-kNN (BM25)", "b", ItemKnn(), {"neighbours": (20, 50, 100), "k1": (0.6, 1.2)}),
    Entrant(EASE, "b", Ease(), {"l2": (100.0, 300.0, 600.0)}),
    Entrant(FADING, "b", Ease(), {"half_life_days": (30.0, 45.0, 90.0, 180.0), "l2": (50.0, 100.0)}),
    Entrant(
        REPEAT,
        "a",
        OwnFrequency(),
        {"half_life_days": (240.0, None), "basket_decay": (0.95, 1.0), "stock_power": (0.15, 0.25, 0.4)},
    ),
    Entrant(
        "ALS (implicit)",
        "b",
        Als(),
        {"factors": (32, 64, 128), "alpha": Span(1.0, 40.0, log=True), "half_life_days": (None, 90.0)},
    ),
    Entrant("two towers", "b", TOWERS),
    Entrant("SASRec", "b", SASREC),
)
QUICK = tuple(Entrant(entrant.name, entrant.track, entrant.base) for entrant in ENTRANTS[:-2])
"""With settings as they come, and without what is trained by gradient."""


@dataclass(frozen=True, eq=False)
class Judged:
    """How one model did in both tracks."""

    a: Evaluation
    b: Evaluation


def data_folder() -> Path:
    """Where the orders are."""
    return Path(os.environ.get("HCCTL_DATA", ROOT.parent / "shared" / "data" / "online-retail"))


def run(entrants: Sequence[Entrant], say: Callable[[str], None]) -> Section:
    """Tune on October, test from November on."""
    splits = splits_by_date(Purchases.of(load_orders(data_folder())), tune_from=TUNE_FROM, test_from=TEST_FROM)
    chosen: dict[str, AnyMethod] = {}
    for entrant in entrants:
        chosen[entrant.name] = chosen_by_october(entrant, splits.tune)
        say(f"{entrant.name}: {settings(chosen[entrant.name])}")
    chosen[BLEND] = fit_weights(blend(chosen), splits.tune)
    chosen[PIPELINE] = pipeline(chosen)
    began_s = time.perf_counter()
    model = FittedModel.fit(chosen[PIPELINE], splits.test_refitted.past)
    fit_s = time.perf_counter() - began_s
    say(f"{PIPELINE}: {settings(chosen[PIPELINE])}")
    tested = judged(chosen, splits.test, say)
    refitted = judged(chosen, splits.test_refitted, say)
    return section(chosen, tested, refitted, fit_s, list_ms(model))


def chosen_by_october(entrant: Entrant, split: Split) -> AnyMethod:
    """The settings, or the epochs, that do best on the split."""
    if isinstance(entrant.base, Towers | Sasrec):
        return stopped_early(entrant.base, split, PATIENCE)[0]
    return search(entrant.base, entrant.space, split, entrant.track, trials=TRIALS)


def pipeline(chosen: Mapping[str, AnyMethod]) -> Ranked:
    """Retrieval by the closed-form models, then the ranker."""
    methods = (chosen[name] for name in (FADING, REPEAT, *RETRIEVERS, TIFU))
    return Ranked.model_validate({"parts": (*methods, Popularity(window_days=14, damped=True))})


def blend(chosen: Mapping[str, AnyMethod]) -> Ensemble:
    """The weighted sum before its weights are fitted: it begins with fading EASE alone."""
    return Ensemble.model_validate(
        {
            "parts": (
                Part(method=chosen[FADING]),  # type: ignore[arg-type]  # no ensemble is among those chosen
                *(
                    Part(method=method, weight=0.0)
                    for method in (
                        chosen[REPEAT],
                        *(chosen[name] for name in RETRIEVERS),
                        Popularity(window_days=14, damped=True),
                        Popularity(window_days=14),
                    )
                ),
            )
        }
    )


def judged(chosen: Mapping[str, AnyMethod], split: Split, say: Callable[[str], None]) -> dict[str, Judged]:
    """Each model in both tracks of a split."""
    questions, found = tracks(split), {}
    for name, method in chosen.items():
        score = score_of(FittedModel.fit(method, split.past))
        found[name] = Judged(*(evaluate(score, track) for track in questions))
        say(f"{name}: {found[name].a.mean(NDCG):.4f} in track a, {found[name].b.mean(NDCG):.4f} in track b")
    return found


def list_ms(model: FittedModel) -> list[float]:
    """Milliseconds for the list of one user, user by user, in this process; sorted."""
    taken = []
    for user in model.past.user_ids[:ASKED_USERS]:
        began_s = time.perf_counter()
        model.recommend(user, 10)
        taken.append(1e3 * (time.perf_counter() - began_s))
    return sorted(taken)


def section(
    chosen: Mapping[str, AnyMethod],
    tested: Mapping[str, Judged],
    refitted: Mapping[str, Judged],
    fit_s: float,
    lists_ms: Sequence[float],
) -> Section:
    """The table, the two comparisons and what was promised of them."""
    figures = [
        Figure(name, f"{label} {track}", (value,))
        for name, found in tested.items()
        for label, metric in (("NDCG@10", NDCG), ("Recall@20", "recall@20"), ("HitRate@10", "hit_rate@10"))
        for track, value in (("a", found.a.mean(metric)), ("b", found.b.mean(metric)))
    ]
    for name, found in tested.items():
        figures.append(Figure(name, "coverage@10 a", (found.a.coverage[10],)))
        figures.append(Figure(name, "coverage@10 b", (found.b.coverage[10],)))
        figures.append(Figure(name, "NDCG@10 a, with October", (refitted[name].a.mean(NDCG),)))
        figures.append(Figure(name, "NDCG@10 b, with October", (refitted[name].b.mean(NDCG),)))
    goals, lines = [], []
    for title, row in (("", tested), (", with October", refitted)):
        for track, peer in (("a", TIFU), ("b", EASE)):
            ours, theirs = (getattr(row[name], track) for name in (PIPELINE, peer))
            gain = compare(ours, theirs, NDCG)
            what = f"{PIPELINE} over {peer} in track {track}{title}"
            lines.append(f"- {what}: {told(gain)} NDCG@10")
            goals.append(Goal(f"{what}: NDCG@10, lower end of 95 %", "", 0.0, "at least", (gain.low,)))
            relative = 100 * gain.mean / theirs.mean(NDCG)
            goals.append(Goal(f"{what}: NDCG@10", "%", 0.0, "at least", (relative,), reach=5.0))
    goals.append(Goal("fit of the whole pipeline", "s", FIT_WITHIN_S, "at most", (fit_s,)))
    goals.append(Goal("one user's list, p99", "ms", LIST_WITHIN_MS, "at most", (quantile(lists_ms, 0.99),)))
    settled = [f"- {name}: {settings(method)}" for name, method in chosen.items()]
    how = "\n\n".join([HOW, "\n".join(lines), "Settings chosen on October:", "\n".join(settled)])
    return Section("recommender", "Recommender", how, tuple(figures), tuple(goals))


def told(interval: Interval) -> str:
    """A mean with its interval."""
    return f"{interval.mean:+.4f} ({interval.low:+.4f} to {interval.high:+.4f})"


def settings(method: AnyMethod) -> str:
    """The settings of a method on one line."""
    if isinstance(method, Ensemble):
        return ", ".join(f"{part.weight:g} x {part.method.kind}" for part in method.parts if part.weight)
    if isinstance(method, Ranked):
        return f"{', '.join(part.kind for part in method.parts)}, {method.each} candidates of each, ranked"
    values = method.model_dump(exclude={"kind"})
    return ", ".join(f"{name} {value}" for name, value in values.items())
