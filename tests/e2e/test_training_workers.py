"""Training by Ray Train: the same loop in several workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray

from serving.recommender.generated.orders import generate_orders
from serving.recommender.methods.sasrec import Sasrec
from serving.recommender.orders.purchases import Purchases
from serving.recommender.training.fit import train
from serving.recommender.training.how import How
from serving.recommender.training.plan import Plan

METHOD = Sasrec(dim=8, length=16, baskets=4, dropout=0.0, trend_days=(7,), plan=Plan(epochs=3, learning_rate=0.02))


@pytest.fixture
def cluster() -> Iterator[None]:
    """A small Ray cluster of this test's own."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.campaign
@pytest.mark.usefixtures("cluster")
@pytest.mark.timeout(600)
def test_two_workers_learn_together(tmp_path: Path) -> None:
    """Both with the mean of their gradients: the same weights in each run, about as good as one worker's, resumable."""
    past = Purchases.of(generate_orders(2, 80, 60, 60))
    together = train(METHOD, past, How(workers=2, folder=tmp_path))
    again = train(METHOD, past, How(workers=2, folder=tmp_path))
    assert together.keys() == again.keys()
    assert all((together[name] == again[name]).all() for name in together)
    alone = train(METHOD, past)
    assert not all((together[name] == alone[name]).all() for name in together)
    first, second = (METHOD.scorer(past, learned)(past.histories()) for learned in (together, alone))
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.5
