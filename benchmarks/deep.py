"""What augmentation and a warm start bring to networks, and from which size a graph finds neighbours sooner.

`python -m benchmarks deep`; the orders are those of `python -m benchmarks recommender`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.figures import Figure, Goal, Section, quantile
from benchmarks.recommender import SASREC, TEST_FROM, TOWERS, TUNE_FROM, data_folder
from serving.recommender.methods.retrieval import ExactIndex, GraphIndex, VectorTable
from serving.recommender.methods.sasrec import Sasrec
from serving.recommender.methods.towers import Towers
from serving.recommender.metrics import NO_ITEM
from serving.recommender.orders.data import load_orders
from serving.recommender.orders.purchases import Purchases
from serving.recommender.orders.splits import Split, splits_by_date
from serving.recommender.training.augment import Augmentation
from serving.recommender.training.fit import stopped_early, train
from serving.recommender.training.how import How
from serving.recommender.training.judge import Judge

AUGMENTATIONS = {
    "nothing": Augmentation(),
    "mask 0.3": Augmentation(mask=0.3),
    "crop 0.3": Augmentation(crop=0.3),
    "reorder 0.3": Augmentation(reorder=0.3),
}
SIZES = (3_000, 10_000, 30_000, 100_000)
DIM, NEAREST, USERS = 64, 100, 200
PATIENCE = 3

HOW = """\
Online Retail, split as in the section above. Augmentation: networks learn on what came before October, with one kind
of augmentation, and stop after 3 epochs without gain on October; shown is the best epoch, by the mean of NDCG@10 in
tracks a and b. Warm start: October is added to the fit, and a few epochs begin from random weights or from what was
learned before October; judged from November on. Neighbours: 64 numbers per item, drawn around 200 centres, the 100
nearest items of one user, one thread; the graph is usearch's with the settings of `retrieval.py`."""


def run(*, quick: bool, say: Callable[[str], None]) -> Section:
    """Measure all three."""
    splits = splits_by_date(Purchases.of(load_orders(data_folder())), tune_from=TUNE_FROM, test_from=TEST_FROM)
    networks: dict[str, Towers | Sasrec] = {"two towers": TOWERS} if quick else {"two towers": TOWERS, "SASRec": SASREC}
    figures = [
        figure
        for name, method in networks.items()
        for figure in (
            *augmented(name, method, splits.tune, quick, say),
            *warmed(name, method, splits.test_refitted, say),
        )
    ]
    found, goals = neighbours(SIZES[:2] if quick else SIZES, say)
    return Section("deep", "Networks of the recommender", HOW, tuple(figures + found), tuple(goals))


def augmented(
    name: str, method: Towers | Sasrec, split: Split, quick: bool, say: Callable[[str], None]
) -> list[Figure]:
    """Each augmentation, by the best epoch on the split."""
    figures = []
    for label, augmentation in list(AUGMENTATIONS.items())[: 1 if quick else None]:
        changed = method.model_copy(update={"augment": augmentation})
        _, course = stopped_early(changed, split, PATIENCE)
        worth = max(value for value in course.worths if value is not None)
        say(f"{name}, {label}: {worth:.4f} after {course.best_epoch} epochs")
        figures.append(Figure(f"{name}, {label}", "NDCG@10, October", (worth,)))
        figures.append(Figure(f"{name}, {label}", "best epoch", (float(course.best_epoch or 0),)))
    return figures


def warmed(name: str, method: Towers | Sasrec, later: Split, say: Callable[[str], None]) -> list[Figure]:
    """The same few epochs on all of the past, from random weights and from the model of a month before."""
    month_before = later.past.between(None, TUNE_FROM)
    learned = train(method.model_copy(update={"plan": method.plan.model_copy(update={"stop_after": 8})}), month_before)
    judge, figures = Judge(later), []
    for epochs in (1, 3):
        short = method.model_copy(update={"plan": method.plan.model_copy(update={"epochs": epochs})})
        for label, start in (("cold", None), ("warm", (learned, month_before.item_ids))):
            worth = judge.worth(short.scorer(later.past, train(short, later.past, How(start=start))))
            say(f"{name}, {label}, {epochs} epochs: {worth:.4f}")
            figures.append(Figure(f"{name}, {label} start, {epochs} epochs", "NDCG@10, from November", (worth,)))
    return figures


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
