"""Training by Ray Train: the same loop in several workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from serving.errors import HcctlError
from serving.failpoints import VARIABLE
from serving.recommender import model_commands, models
from serving.recommender.generated.events import World
from serving.recommender.generated.orders import generate_orders
from serving.recommender.generated.shop import Shop
from serving.recommender.generated.writing import write
from serving.recommender.ingest.pipeline import ingest
from serving.recommender.method import Arrays
from serving.recommender.methods.sasrec import Sasrec
from serving.recommender.orders.purchases import Purchases
from serving.recommender.training.fit import last_days, stopped_early, train
from serving.recommender.training.how import How
from serving.recommender.training.plan import Plan
from tests.support.toy_encoder import ToyEncoder

METHOD = Sasrec(dim=8, length=16, baskets=4, dropout=0.0, trend_days=(7,), plan=Plan(epochs=3, learning_rate=0.02))
SMALL: dict[str, dict[str, Any]] = {
    "ranked": {"each": 20, "months": 1, "span_days": 10, "networks": 2, "plan.epochs": 2},
    "taste": {"epochs": 4, "learning_rate": 0.03, "looks": {"epochs": 2}},
    "clicks": {"kinds": 3, "dim": 3, "hidden": 4, "word_buckets": 64, "plan.epochs": 2},
}
"""Models of more than one network, or of more than purchases."""

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]


@contextmanager
def running() -> Iterator[None]:
    """A small Ray cluster of this test's own."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


@pytest.fixture
def cluster() -> Iterator[None]:
    with running():
        yield


@pytest.fixture
def past() -> Purchases:
    return Purchases.of(generate_orders(2, 80, 60, 60))


def same(first: Arrays, second: Arrays) -> bool:
    """To the last bit."""
    return first.keys() == second.keys() and all(first[name].tobytes() == second[name].tobytes() for name in first)


@pytest.mark.usefixtures("cluster")
def test_two_workers_learn_together(past: Purchases, tmp_path: Path) -> None:
    """Both with the mean of their gradients: the same weights in each run, about as good as one worker's."""
    together = train(METHOD, past, How(workers=2, folder=tmp_path))
    assert same(together, train(METHOD, past, How(workers=2)))
    alone = train(METHOD, past)
    assert not same(together, alone)
    first, second = (METHOD.scorer(past, learned)(past.histories()) for learned in (together, alone))
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.5
    _, course = stopped_early(METHOD, last_days(past, 14), 2, How(workers=2))
    assert len(course.losses) == len(course.worths) >= (course.best_epoch or 0) >= 1


def test_killed_workers_end_with_the_same_bytes(
    past: Purchases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is killed by SIGKILL before its second checkpoint is in place; the next run goes on from the first."""
    monkeypatch.setenv(VARIABLE, "file.before-rename=3")
    with running(), pytest.raises(HcctlError, match="a training worker failed"):
        train(METHOD, past, How(workers=2, folder=tmp_path / "kept"))
    monkeypatch.delenv(VARIABLE)
    assert (tmp_path / "kept" / "epoch-1.safetensors").exists()
    with running():
        resumed = train(METHOD, past, How(workers=2, folder=tmp_path / "kept"))
        assert same(resumed, train(METHOD, past, How(workers=2)))


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("name", SMALL)
def test_every_model_with_networks_is_trained_by_workers(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command's own function: the same files again from its checkpoints, others than those of one worker."""
    monkeypatch.setattr("serving.recommender.search.encoder.MiniLM", ToyEncoder)
    shop = Shop(users=80, items=30, days=60, visits_per_user=8.0, click_bias=-1.4, purchase_bias=2.0)
    write(World(shop), tmp_path / "raw")
    ingest(tmp_path / "raw" / "data.yaml", tmp_path / "clean")
    for folder, workers in (("two", 2), ("again", 2), ("one", 1)):
        kept = tmp_path / "kept" if workers == 2 else None
        model_commands.train(
            tmp_path / "clean",
            name,
            tmp_path / folder,
            settings=SMALL[name],
            before=None,
            workers=workers,
            checkpoints=kept,
        )
    two, again, one = (
        {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()} for folder in ("two", "again", "one")
    )
    assert two == again != one
    assert models.load(tmp_path / "two")[1].recommend([], 5)
