"""Retrieval then ranking: methods name candidates, small networks order them by everything known of each."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from serving.recommender.method import Arrays, Scorer, Settings, expect
from serving.recommender.methods.candidates import OF_PART, OTHERS, Candidates, Catalogue, candidates
from serving.recommender.methods.parts import part_scorers, under
from serving.recommender.methods.single import SingleMethod
from serving.recommender.orders.purchases import Histories, Matrix, Purchases, Vector
from serving.recommender.training.how import HERE, How
from serving.recommender.training.plan import Plan

if TYPE_CHECKING:
    from torch import nn

Numbers = NDArray[np.float32]
PART, NETWORK, MEAN, DEVIATION = "part.", "network.", "mean", "deviation"
WEIGHTS = ("0.weight", "0.bias", "3.weight", "3.bias", "5.weight", "5.bias")
"""Of the three layers of a network, as torch names them; between them are rectifiers and, in training, dropout."""
CLIP = 5.0
"""Standard deviations from the mean at which a number is cut off."""
SCORED_AT_ONCE = 256


class Ranked(Settings):
    """A learning-to-rank stack over other methods.

    Learned like this: the past is cut `months` times, one span apart; the parts are fitted on what came before the cut,
    and the networks learn which of their candidates were bought in the span after it, by the cross-entropy over each
    user's candidates (ListNet, Cao et al., ICML 2007), once over all and once over those that are new to the user.
    Then the parts are fitted on everything. Scores are the mean of the networks'.
    """

    kind: Literal["ranked"] = "ranked"
    parts: tuple[SingleMethod, ...] = Field(min_length=1, max_length=32)
    each: int = Field(default=100, ge=1, le=10_000, description="Candidates that each part names.")
    months: int = Field(default=3, ge=1, le=120)
    span_days: int = Field(default=30, ge=1, le=3_660)
    hidden: int = Field(default=64, ge=1, le=4_096)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    networks: int = Field(default=3, ge=1, le=32, description="Trained from different seeds.")
    plan: Plan = Plan(epochs=8, learning_rate=2e-3, weight_decay=1e-4)

    def learn(self, past: Purchases, how: How = HERE) -> Arrays:
        from serving.recommender.training.ranks import train_networks

        return train_networks(self, past, how)

    def scorer(self, past: Purchases, learned: Arrays) -> Scorer:
        scorers = part_scorers(self.parts, past, under(learned, PART))
        own = {name: array for name, array in learned.items() if not name.startswith(PART)}
        expect(own, self._shapes())
        mean, deviation = own[MEAN], own[DEVIATION]
        networks = [
            [own[f"{NETWORK}{place}.{name}"].astype(np.float32) for name in WEIGHTS] for place in range(self.networks)
        ]
        catalogue = Catalogue(past)

        def score(asked: Histories) -> Matrix:
            found = np.zeros(asked.shape)
            told = np.unique(asked.row)
            for first in range(0, len(told), SCORED_AT_ONCE):
                rows = told[first : first + SCORED_AT_ONCE]
                named = candidates(asked.of(rows), scorers, catalogue, self.each)
                known = standardised(named.known, mean, deviation)
                value = sum((_forward(network, known) for network in networks), np.zeros(len(known)))
                found[rows[named.row], named.item] = _chances(named, value / self.networks)
            return found

        return score

    @property
    def numbers(self) -> int:
        """How many are known of each candidate."""
        return OF_PART * len(self.parts) + OTHERS

    def network(self, _: int) -> nn.Module:
        """Of random weights."""
        from torch import nn

        return nn.Sequential(
            nn.Linear(self.numbers, self.hidden),
            nn.ReLU(),
            nn.Dropout(self.dropout),
            nn.Linear(self.hidden, self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, 1),
        )

    def _shapes(self) -> dict[str, tuple[type[np.generic], tuple[int, ...]]]:
        widths = (self.numbers, self.hidden, self.hidden, 1)
        shapes = [shape for told, given in pairwise(widths) for shape in ((given, told), (given,))]
        return {MEAN: (np.float32, (self.numbers,)), DEVIATION: (np.float32, (self.numbers,))} | {
            f"{NETWORK}{place}.{name}": (np.float32, shape)
            for place in range(self.networks)
            for name, shape in zip(WEIGHTS, shapes, strict=True)
        }


def standardised(known: Numbers, mean: Numbers, deviation: Numbers) -> Numbers:
    """In standard deviations from the mean of each number, outliers cut off."""
    return np.asarray(np.clip((known - mean) / deviation, -CLIP, CLIP), dtype=np.float32)


def _forward(network: list[Numbers], known: Numbers) -> Numbers:
    """One value per candidate. In numpy: for one user's candidates torch would take longer to begin than this."""
    *hidden, weight, bias = network
    for layer in range(0, len(hidden), 2):
        known = np.maximum(known @ hidden[layer].T + hidden[layer + 1], 0)
    return np.asarray(known @ weight[0] + bias[0])


def _chances(named: Candidates, value: Vector) -> NDArray[np.float64]:
    """The values as powers of e, the best of each row as 1."""
    best = np.full(int(named.row.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(best, named.row, value)
    return np.asarray(np.exp(value - best[named.row]), dtype=np.float64)
