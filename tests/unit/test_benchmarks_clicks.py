"""The benchmark of the click-through ranker: what its table says, and what is promised of the generated shop."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import clicks
from serving.recommender.generated.shop import Shop


def test_impressions_keep_their_planted_chances() -> None:
    """Row by row: clicks are as frequent as planted, in each tenth of the chances."""
    data = clicks.generated(Shop(seed=1, users=200, items=60, days=60))
    assert len(data.shown) == len(data.truth) == len(data.request)
    order = np.argsort(data.truth)
    for tenth in np.array_split(order, 10):
        expected = data.truth[tenth].mean()
        noise = 4 * np.sqrt(expected * (1 - expected) / len(tenth))
        assert data.shown.clicked[tenth].mean() == pytest.approx(expected, abs=noise)


@pytest.mark.campaign
@pytest.mark.timeout(1_800)
def test_the_ranker_is_within_a_hundredth_of_the_planted_truth() -> None:
    """On held-out days of a generated shop, told each evening what was clicked on: AUC of the chances less its own."""
    found = clicks.by_days(clicks.generated(clicks.SHOP))
    assert found["AUC, planted"] - found["AUC, ranker"] <= clicks.WITHIN
    assert found["log loss, ranker"] < found["log loss, share of clicks"]
