"""Fit the weights of an ensemble on a later month, by what its lists are worth there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.recommender import metrics
from serving.recommender.evaluation.tracks import Score, candidate_scores
from serving.recommender.fitted import FittedModel
from serving.recommender.interface import Model
from serving.recommender.methods.ensemble import AnyMethod, Ensemble, Part
from serving.recommender.orders.lines import Index
from serving.recommender.orders.purchases import Matrix, Purchases, Vector
from serving.recommender.orders.splits import Split, Track, tracks

K = 10
GRID = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5, 4.0, 6.0)
"""Weights tried for a part, relative to the first one, which keeps its own."""
ROUNDS = 2
LEAST_GAIN = 1e-4
"""A change of weights must be worth this much NDCG, relative, so that no part comes in by chance alone."""


@dataclass(frozen=True, eq=False)
class _Board:
    """The scaled scores of each part for the users of one track."""

    track: Track
    parts: tuple[Matrix, ...]

    def ndcg(self, weights: Vector) -> float:
        blend = sum(weight * scores for weight, scores in zip(weights, self.parts, strict=True) if weight)
        lists = metrics.top(np.asarray(blend), K)
        return float(metrics.ndcg(metrics.hits(lists, self.track.relevant), self.track.relevant_counts).mean())


def fit_weights(ensemble: Ensemble, split: Split) -> Ensemble:
    """The ensemble with weights that do best on what came after the split, over both tracks at once.

    Climbs one part after the other over `GRID`, twice. The aim is NDCG@10 over that of the best single part, summed
    over tracks a and b, so that a gain of one percent counts the same in both. Deterministic.

    Raises:
        InvalidInput: the split has nobody to judge by.
    """
    models = [FittedModel.fit(part.method, split.past) for part in ensemble.parts]
    boards = [_Board(track, tuple(_scores(model, track) for model in models)) for track in tracks(split)]

    alone = [max(board.ndcg(part) for part in np.eye(len(models))) or 1.0 for board in boards]

    def worth(weights: Vector) -> float:
        return sum(board.ndcg(weights) / best for board, best in zip(boards, alone, strict=True))

    weights = np.array([part.weight for part in ensemble.parts])
    best = worth(weights)
    for _ in range(ROUNDS):
        for place in range(1, len(weights)):
            for weight in GRID:
                tried = weights.copy()
                tried[place] = weight
                if (found := worth(tried)) > best * (1 + LEAST_GAIN):
                    best, weights = found, tried
    parts = zip(ensemble.parts, weights.tolist(), strict=True)
    return Ensemble(parts=tuple(Part(method=part.method, weight=weight) for part, weight in parts))


def score_of(model: FittedModel) -> Score:
    """How `model` scores the users of a track whose past it was fitted on."""
    return lambda users: model.score([model.past.user_ids[user] for user in users])


def score_on(model: Model[Any], past: Purchases) -> Score:
    """How any model scores users and items by their places in `past`; minus infinity for items it does not know."""
    place = {item: index for index, item in enumerate(model.item_ids)}
    column = np.array([place.get(item, -1) for item in past.item_ids])

    def score(users: Index) -> Matrix:
        own = model.score([past.user_ids[user] for user in users])
        found = np.full((len(users), len(column)), -np.inf)
        found[:, column >= 0] = own[:, column[column >= 0]]
        return found

    return score


def worth_in(method: AnyMethod, split: Split, track_name: str) -> float:
    """NDCG@10 of a method, fitted before the split, in a track of it.

    Raises:
        InvalidInput: the split has nobody to judge by.
    """
    track = next(track for track in tracks(split) if track.name == track_name)
    return _Board(track, (_scores(FittedModel.fit(method, split.past), track),)).ndcg(np.ones(1))


def _scores(model: FittedModel, track: Track) -> Matrix:
    return candidate_scores(score_of(model), track, slice(None))
