"""What a network in training is worth: its lists for a later time, which it does not learn from."""

from __future__ import annotations

import numpy as np

from serving.recommender import metrics
from serving.recommender.method import Scorer
from serving.recommender.orders.splits import Split, tracks

K = 10


class Judge:
    """NDCG@10 on what came after a split, the mean of tracks a and b."""

    def __init__(self, split: Split) -> None:
        """Find whom to judge by.

        Raises:
            InvalidInput: there is nobody.
        """
        self._tracks = tracks(split)
        users = np.unique(np.concatenate([track.users for track in self._tracks]))
        self._asked = split.past.histories().of(users)
        self._rows = [np.searchsorted(users, track.users) for track in self._tracks]

    def worth(self, score: Scorer) -> float:
        """Of one scorer, which is asked for each user once; higher is better."""
        everybody, found = score(self._asked), []
        for track, rows in zip(self._tracks, self._rows, strict=True):
            scores = everybody[rows]
            if track.excluded is not None:
                scores[track.excluded.nonzero()] = -np.inf
            lists = metrics.top(scores, K)
            found.append(float(metrics.ndcg(metrics.hits(lists, track.relevant), track.relevant_counts).mean()))
        return float(np.mean(found))
