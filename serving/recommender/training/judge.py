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
        histories = split.past.histories()
        self._tracks = [(track, histories.of(track.users)) for track in tracks(split)]

    def worth(self, score: Scorer) -> float:
        """Of one scorer; higher is better."""
        found = []
        for track, asked in self._tracks:
            scores = score(asked)
            if track.excluded is not None:
                scores[track.excluded.nonzero()] = -np.inf
            lists = metrics.top(scores, K)
            found.append(float(metrics.ndcg(metrics.hits(lists, track.relevant), track.relevant_counts).mean()))
        return float(np.mean(found))
