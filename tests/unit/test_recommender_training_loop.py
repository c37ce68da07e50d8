"""The training loop: the same bytes after kill -9, early stopping, checkpoints that are checked, warm starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import Generator
from torch import Tensor, nn

from serving.errors import CorruptArtefact, InvalidInput
from serving.failpoints import VARIABLE
from serving.recommender.evaluation.tracks import evaluate
from serving.recommender.evaluation.tuning import score_of
from serving.recommender.fitted import FittedModel
from serving.recommender.generated.orders import generate_orders
from serving.recommender.method import Arrays
from serving.recommender.methods.repeats import OwnFrequency
from serving.recommender.methods.sasrec import Sasrec
from serving.recommender.methods.towers import Towers
from serving.recommender.orders.purchases import Purchases
from serving.recommender.orders.splits import tracks
from serving.recommender.training.augment import Augmentation, augmented
from serving.recommender.training.checkpoint import POINTER
from serving.recommender.training.fit import last_days, stopped_early, train
from serving.recommender.training.how import How, Progress
from serving.recommender.training.judge import Judge
from serving.recommender.training.loop import run
from serving.recommender.training.plan import Plan
from serving.recommender.training.weights import warm_start

METHOD = Sasrec(dim=8, length=16, baskets=4, trend_days=(7,), plan=Plan(epochs=4, learning_rate=0.02))
PAD = 9
ROOT = Path(__file__).parents[2]

CHILD = """
import sys
from pathlib import Path
from tests.unit.test_recommender_training_loop import METHOD, shop
from serving.recommender.training.how import How
from serving.recommender.training.fit import train
train(METHOD, shop(), How(folder=Path(sys.argv[1])))
"""


def shop() -> Purchases:
    """A small generated shop."""
    return Purchases.of(generate_orders(2, 80, 60, 60))


def same(first: Arrays, second: Arrays) -> bool:
    """To the last bit."""
    return first.keys() == second.keys() and all(first[name].tobytes() == second[name].tobytes() for name in first)


class Line:
    """A task of one weight, whose worth is told beforehand."""

    steps = 3

    def __init__(self, worths: tuple[float, ...] = ()) -> None:
        self.network = nn.Linear(1, 1, bias=False)
        self.network.weight.data.fill_(1.0)
        self._worths = iter(worths)
        self.drawn: list[float] = []

    def loss(self, rng: Generator) -> Tensor:
        self.drawn.append(float(rng.random()))
        return (self.network(torch.full((1, 1), self.drawn[-1])) ** 2).sum()

    def worth(self) -> float | None:
        return next(self._worths, None)


def test_a_training_killed_at_any_write_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """Killed by SIGKILL before weights are in place, then with weights but no pointer to them; resumed after each."""
    for failpoint in ("file.before-rename=3", "file.after-rename=3"):
        child = subprocess.run(
            [sys.executable, "-c", CHILD, str(tmp_path)],
            env=os.environ | {VARIABLE: failpoint, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            check=False,
            capture_output=True,
        )
        assert child.returncode == -signal.SIGKILL, child.stderr
    told: list[Progress] = []
    resumed = train(METHOD, shop(), How(folder=tmp_path, tell=told.append))
    assert [progress.epoch for progress in told] == [3, 4]
    assert same(resumed, train(METHOD, shop()))
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == [POINTER, "epoch-4.safetensors"]


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    """Asked once more, the last checkpoint is the answer."""
    told: list[Progress] = []
    first = train(METHOD, shop(), How(folder=tmp_path))
    assert same(first, train(METHOD, shop(), How(folder=tmp_path, tell=told.append)))
    assert told == []


@pytest.mark.parametrize("other", ["seed", "data"])
def test_a_checkpoint_of_another_training_is_refused(other: str, tmp_path: Path) -> None:
    """Neither other settings nor other data go on from it."""
    train(METHOD, shop(), How(folder=tmp_path))
    method, past = METHOD, shop()
    if other == "seed":
        method = METHOD.model_copy(update={"plan": METHOD.plan.model_copy(update={"seed": 1})})
    else:
        past = replace(past, day=past.day + 1)
    with pytest.raises(InvalidInput, match="another training"):
        train(method, past, How(folder=tmp_path))


@pytest.mark.parametrize("name", [POINTER, "epoch-4.safetensors"])
@pytest.mark.parametrize("harm", ["truncated", "changed"])
def test_a_damaged_checkpoint_is_refused_by_its_name(name: str, harm: str, tmp_path: Path) -> None:
    """It is not trained on from what cannot be trusted."""
    train(METHOD, shop(), How(folder=tmp_path))
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2] if harm == "truncated" else data[:-3] + b"\xff" + data[-2:])
    with pytest.raises(CorruptArtefact, match=name.replace(".", r"\.")):
        train(METHOD, shop(), How(folder=tmp_path))


def test_training_stops_after_epochs_without_gain_and_keeps_the_best() -> None:
    """Worths 1, 3, 2, 2 with a patience of 2: four epochs, and the weights of the second."""
    weights: list[float] = []
    task = Line((1.0, 3.0, 2.0, 2.0, 9.0))
    course = run(
        task,
        Plan(epochs=10, learning_rate=0.1, patience=2),
        tell=lambda _: weights.append(float(task.network.weight.detach())),
    )
    assert (len(course.losses), course.best_epoch) == (4, 2)
    assert float(task.network.weight.detach()) == weights[1]
    assert len(set(weights)) == 4


def test_every_step_has_random_numbers_of_its_own() -> None:
    """By seed and number alone, so that a resumed run draws what an unbroken one draws."""
    first, second, other = Line(), Line(), Line()
    run(first, Plan(epochs=2))
    run(second, Plan(epochs=4))
    run(other, Plan(epochs=2, seed=1))
    assert first.drawn == second.drawn[:6]
    assert len(set(second.drawn + other.drawn)) == 18


def test_training_ends_when_the_time_is_up() -> None:
    """Between two steps, and says how far it came."""
    left = iter([True] * 4 + [False])
    course = run(Line(), Plan(epochs=3), time_left=lambda: next(left))
    assert (len(course.losses), course.cut_steps) == (1, 1)


def test_the_epochs_are_chosen_on_held_out_days() -> None:
    """The method that comes back stops at the best epoch, and trains on everything the same way as far as it goes."""
    split = last_days(shop(), 14)
    assert split.past.as_of_day <= int(split.later.day[0])
    method, course = stopped_early(METHOD, split, patience=4)
    assert method.plan.stop_after == course.best_epoch
    assert all(worth is not None for worth in course.worths)
    told: list[Progress] = []
    train(method, split.past, How(tell=told.append))
    assert [progress.loss for progress in told] == list(course.losses[: method.plan.stop_after])
    with pytest.raises(InvalidInput, match="nothing before"):
        last_days(shop(), 10_000)


def test_a_network_in_training_is_worth_its_lists() -> None:
    """The mean of NDCG@10 in both tracks, as an evaluation has it, whoever is asked about together."""
    split = last_days(shop(), 14)
    model = FittedModel.fit(OwnFrequency(), split.past)
    expected = [evaluate(score_of(model), track).mean("ndcg@10") for track in tracks(split)]
    shares = model.score(split.past.user_ids)
    assert Judge(split).worth(lambda asked: shares[asked.user]) == pytest.approx(np.mean(expected))


def test_nobody_who_came_back_is_one_clear_error() -> None:
    """Without a second basket there is nothing to predict."""
    past = shop()
    once = replace(past, day=np.full_like(past.day, 3))
    with pytest.raises(InvalidInput, match="no user bought on two days"):
        train(METHOD, once)


def test_a_warm_start_takes_known_items_by_name() -> None:
    """Items in another order keep their vectors, new ones their random ones, and other weights are taken over."""
    learned = train(METHOD, shop())
    ids = shop().item_ids
    here = ("new one", *reversed(ids))
    network = METHOD.network(len(here))
    before = network.items.weight.detach().clone()
    assert warm_start(network, learned, here, ids) == len(ids)
    after = network.items.weight.detach().numpy()
    assert (after[1 : len(here)] == learned["items.weight"][: len(ids)][::-1]).all()
    assert (after[0] == before[0].numpy()).all()
    assert (after[-1] == 0).all()
    assert (network.ask.weight.detach().numpy() == learned["ask.weight"]).all()


@pytest.mark.parametrize("method", [METHOD, Towers(dim=8, history=16, plan=Plan(epochs=3, learning_rate=0.02))])
def test_a_warm_start_begins_lower(method: Sasrec | Towers) -> None:
    """The first epoch costs less than from random weights."""
    cold: list[Progress] = []
    warm: list[Progress] = []
    learned = train(method, shop(), How(tell=cold.append))
    train(method, shop(), How(tell=warm.append, start=(learned, shop().item_ids)))
    assert warm[0].loss < cold[0].loss


ROWS = np.array([[PAD, PAD, 0, 1, 2, 3, 4, 5], [PAD] * 7 + [6], [PAD] * 8])


def test_nothing_asked_changes_nothing() -> None:
    """The rows come back as they are, and are not the same memory."""
    found = augmented(ROWS, PAD, Augmentation(), np.random.default_rng(0))
    assert (found == ROWS).all()
    assert found is not ROWS


@pytest.mark.parametrize("how", [Augmentation(mask=0.5), Augmentation(crop=0.5), Augmentation(reorder=1.0)])
def test_augmented_rows_hold_what_was_there(how: Augmentation) -> None:
    """No item is invented, nobody loses everything, padding stays in front where nothing is hidden."""
    rng = np.random.default_rng(3)
    changed = 0
    for _ in range(50):
        found = augmented(ROWS, PAD, how, rng)
        assert set(found[0]) <= set(ROWS[0])
        assert len(set(found[0]) - {PAD}) == (found[0] != PAD).sum() >= 1
        assert (found[1:] == ROWS[1:]).all()
        changed += (found[0] != ROWS[0]).any()
    assert changed > 40


def test_a_crop_is_one_stretch_and_a_reorder_keeps_all() -> None:
    """Half of six items, side by side; all six of them in another order."""
    rng = np.random.default_rng(1)
    cropped = augmented(ROWS, PAD, Augmentation(crop=0.5), rng)[0]
    kept = cropped[cropped != PAD]
    assert (np.diff(kept) == 1).all()
    assert len(kept) == 3
    assert sorted(augmented(ROWS, PAD, Augmentation(reorder=0.5), rng)[0]) == sorted(ROWS[0])
