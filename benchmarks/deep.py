"""What augmentation and a warm start bring to networks, and from which size a graph finds neighbours sooner.

`python -m benchmarks deep`; the orders are those of `python -m benchmarks recommender`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.figures import Figure, Goal, Section, quantile
from benchmarks.recommender import NDCG, SASREC, TEST_FROM, TOWERS, TUNE_FROM, data_folder, told
from serving.recommender.evaluation.tracks import Evaluation, bootstrap, evaluate
from serving.recommender.evaluation.tuning import score_of
from serving.recommender.fitted import FittedModel
from serving.recommender.method import Arrays
from serving.recommender.methods.retrieval import ExactIndex, GraphIndex, VectorTable
from serving.recommender.methods.sasrec import Sasrec
from serving.recommender.methods.towers import Towers
from serving.recommender.metrics import NO_ITEM
from serving.recommender.orders.data import load_orders
from serving.recommender.orders.purchases import Purchases
from serving.recommender.orders.splits import Split, Splits, splits_by_date, tracks
from serving.recommender.training.augment import Augmentation
from serving.recommender.training.fit import train, trained
from serving.recommender.training.how import HERE, How
from serving.recommender.training.judge import Judge
from serving.recommender.training.team import ALONE
from serving.recommender.training.weights import weights_of

PLAIN, USUAL = "nothing", "mask 0.3"
AUGMENTATIONS = {
    PLAIN: Augmentation(),
    USUAL: Augmentation(mask=0.3),
    "crop 0.3": Augmentation(crop=0.3),
    "reorder 0.3": Augmentation(reorder=0.3),
}
FEW = {1: "1 epoch", 3: "3 epochs"}
"""Short trainings."""
SIZES = (3_000, 10_000, 30_000, 100_000)
DIM, NEAREST, USERS = 64, 100, 200
PATIENCE = 3
SEEDS = (0,)

HOW = """\
Online Retail, split as in the section above; one seed. Augmentation: networks learn on what came before October, with
one kind of augmentation of the histories that they read, and stop after 3 epochs without gain on October; the weights
of the best epoch are judged from November on. Warm start: October is added to the fit, and a few epochs begin from
random weights (cold) or from those with mask 0.3 above (warm). Differences are over the same users, with a paired
bootstrap of 10,000 samples. Neighbours: 64 numbers per item, drawn around 200 centres, the 100 nearest items of one
user, one thread; the graph is usearch's with the settings of `retrieval.py`."""

Network = Towers | Sasrec
Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Judged:
    """What a training is worth from November on, in tracks a and b."""

    learned: Arrays
    tracks: tuple[Evaluation, ...]
    best_epoch: int | None = None


Trainings = Mapping[str, Sequence[Judged]]
"""By what is different, one for each seed."""


def run(*, quick: bool, say: Say) -> Section:
    """Measure all three."""
    splits = splits_by_date(Purchases.of(load_orders(data_folder())), tune_from=TUNE_FROM, test_from=TEST_FROM)
    networks: dict[str, Network] = {"two towers": TOWERS} if quick else {"two towers": TOWERS, "SASRec": SASREC}
    kinds = [PLAIN, USUAL] if quick else list(AUGMENTATIONS)
    noisy: dict[str, dict[str, list[Judged]]] = {name: {} for name in networks}
    started: dict[str, dict[str, list[Judged]]] = {name: {} for name in networks}
    for seed in SEEDS[: 1 if quick else None]:
        for name, method in networks.items():
            plan = method.plan.model_copy(update={"seed": seed})
            seeded = method.model_copy(update={"plan": plan})
            for label in kinds:
                one = augmented(seeded, AUGMENTATIONS[label], splits)
                say(f"{name}, {label}, seed {seed}: {summary(one)}, best epoch {one.best_epoch}")
                noisy[name].setdefault(label, []).append(one)
            for label, one in warmed(seeded, noisy[name][USUAL][-1].learned, splits).items():
                say(f"{name}, {label}, seed {seed}: {summary(one)}")
                started[name].setdefault(label, []).append(one)
    figures, gains = [], []
    for name in networks:
        figures += [*figures_of(name, noisy[name]), *figures_of(name, started[name])]
        gains += [gain(name, noisy[name], label, PLAIN) for label in kinds if label != PLAIN]
        gains += [gain(name, started[name], f"warm, {few}", f"cold, {few}") for few in FEW.values()]
    found, goals = neighbours(SIZES[:2] if quick else SIZES, say)
    how = "\n\n".join([HOW, "\n".join(gains)])
    return Section("deep", "Networks of the recommender", how, tuple(figures + found), tuple(goals))


def augmented(method: Network, augmentation: Augmentation, splits: Splits) -> Judged:
    """A training with a kind of augmentation, stopped early by October."""
    plan = method.plan.model_copy(update={"patience": PATIENCE})
    changed = method.model_copy(update={"augment": augmentation, "plan": plan})
    network, course = trained(changed, splits.tune.past, HERE, ALONE, Judge(splits.tune))
    return judged(changed, weights_of(network), splits.test, course.best_epoch)


def warmed(method: Network, learned: Arrays, splits: Splits) -> dict[str, Judged]:
    """The same few epochs on all of the past, from random weights and from those of a month before."""
    past, found = splits.test_refitted.past, {}
    starts = {"cold": HERE, "warm": How(start=(learned, splits.tune.past.item_ids))}
    for epochs, few in FEW.items():
        short = method.model_copy(update={"plan": method.plan.model_copy(update={"epochs": epochs})})
        for start, how in starts.items():
            found[f"{start}, {few}"] = judged(short, train(short, past, how), splits.test_refitted)
    return found


def judged(method: Network, learned: Arrays, split: Split, best_epoch: int | None = None) -> Judged:
    """Both tracks of a split."""
    score = score_of(FittedModel(method, split.past, learned))
    return Judged(learned, tuple(evaluate(score, track, (10,)) for track in tracks(split)), best_epoch)


def figures_of(name: str, found: Trainings) -> list[Figure]:
    """A row for each kind of training of a network, a value for each seed."""
    figures = []
    for label, seeds in found.items():
        row = f"{name}, {label}"
        for place, track in enumerate("ab"):
            figures.append(Figure(row, f"NDCG@10 {track}", tuple(one.tracks[place].mean(NDCG) for one in seeds)))
        if epochs := tuple(float(one.best_epoch) for one in seeds if one.best_epoch is not None):
            figures.append(Figure(row, "best epoch", epochs))
    return figures


def gain(name: str, found: Trainings, label: str, other: str) -> str:
    """How much better one kind of training is than another, in both tracks, as a line of a list."""
    gains = []
    for place, track in enumerate("ab"):
        ours, theirs = ([one.tracks[place].per_user[NDCG] for one in found[kind]] for kind in (label, other))
        gains.append(f"{told(bootstrap(np.mean(ours, axis=0) - np.mean(theirs, axis=0)))} in track {track}")
    return f"- {name}, {label} over {other}: {', '.join(gains)} NDCG@10"


def summary(one: Judged) -> str:
    """NDCG@10 in both tracks, to be told."""
    return " and ".join(f"{track.mean(NDCG):.4f} in {track.track.name}" for track in one.tracks)


def neighbours(sizes: Sequence[int], say: Callable[[str], None]) -> tuple[list[Figure], list[Goal]]:
    """Time and recall of both indexes."""
    figures, recalls = [], []
    for size in sizes:
        items, users = vectors(size, seed=1), vectors(USERS, seed=2)
        began_s = time.perf_counter()
        graph = GraphIndex(items)
        built_s = time.perf_counter() - began_s
        exact_ms, wanted = timed(ExactIndex(items), users)
        graph_ms, found = timed(graph, users)
        recall = float(
            np.mean([len(set(a) & set(b) - {NO_ITEM}) / NEAREST for a, b in zip(wanted, found, strict=True)])
        )
        recalls.append(recall)
        row = f"{size:,} items"
        say(f"{row}: exact {exact_ms:.2f} ms, graph {graph_ms:.2f} ms, recall {recall:.3f}, built in {built_s:.1f} s")
        figures += [
            Figure(row, "exact, p50 ms", (exact_ms,)),
            Figure(row, "graph, p50 ms", (graph_ms,)),
            Figure(row, "graph, recall@100", (recall,)),
            Figure(row, "graph, built in s", (built_s,)),
        ]
    return figures, [Goal("recall of the graph index, at worst", "", 0.95, "at least", (min(recalls),))]


def vectors(count: int, seed: int) -> VectorTable:
    """Unit vectors about common centres, as networks learn them."""
    centres = np.random.default_rng(0).normal(size=(200, DIM))
    rng = np.random.default_rng(seed)
    found = centres[rng.integers(len(centres), size=count)] + rng.normal(size=(count, DIM))
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), dtype=np.float32)


def timed(index: ExactIndex | GraphIndex, users: VectorTable) -> tuple[float, list[list[int]]]:
    """Median milliseconds for one user, and what was found for each."""
    taken, found = [], []
    for user in users:
        began_s = time.perf_counter()
        found.append(index.nearest(user[None], NEAREST)[0].tolist())
        taken.append(1e3 * (time.perf_counter() - began_s))
    return quantile(sorted(taken), 0.5), found
