"""Training: histories without the future, a loss that is corrected, a model that beats popularity."""

import math
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from serving.errors import InvalidInput
from serving.recommender.demo import quality
from serving.recommender.demo import train as train_module
from serving.recommender.demo.quality import measure, split_by_time
from serving.recommender.demo.train import TrainedRecommender, settle, train
from serving.recommender.generated.orders import generate_orders
from serving.recommender.networks.two_tower import TwoTower
from serving.recommender.orders.data import Orders, load_orders
from serving.recommender.orders.lines import Baskets, UserLines
from serving.recommender.training.baskets import Batches, sampled_softmax_loss


@pytest.fixture(scope="module")
def orders() -> Orders:
    return generate_orders(1, 400, 300, 90)


@pytest.fixture(scope="module")
def trained(orders: Orders) -> TrainedRecommender:
    return train(orders, seed=0, epochs=12, dim=32)


def made(lines: list[tuple[int, int, int]], items: int = 10) -> Orders:
    """Orders from (time, user, item), ascending in time."""
    times, users, bought = zip(*lines, strict=True)
    return Orders(
        user=np.array(users, dtype=np.int32),
        item=np.array(bought, dtype=np.int32),
        timestamp_s=np.array(times, dtype=np.int64),
        quantity=np.ones(len(lines), dtype=np.float32),
        user_ids=tuple(f"u{index}" for index in range(max(users) + 1)),
        item_ids=tuple(f"i{index}" for index in range(items)),
        titles=("",) * items,
        prices=np.ones(items, dtype=np.float32),
    )


SMALL = made([(1, 0, 1), (1, 0, 2), (2, 1, 5), (3, 0, 3), (4, 1, 6), (4, 1, 7), (9, 0, 4)])


def test_lines_are_grouped_by_user_in_time_order() -> None:
    """Each user owns one stretch of lines, oldest first."""
    lines = UserLines.of(SMALL)
    assert lines.offsets.tolist() == [0, 4, 7]
    assert lines.item.tolist() == [1, 2, 3, 4, 5, 6, 7]


def test_windows_end_with_the_most_recent_and_are_padded_in_front() -> None:
    """A window never reaches over the beginning of its span."""
    lines = UserLines.of(SMALL)
    windows = lines.windows(np.array([0, 4, 4]), np.array([4, 5, 4]), 3, pad=10)
    assert windows.tolist() == [[2, 3, 4], [10, 10, 5], [10, 10, 10]]


def test_a_basket_sees_only_what_came_before_it() -> None:
    """An order's history ends where the order begins; a user's first order has none and is left out."""
    lines = UserLines.of(SMALL)
    baskets = Baskets.of(lines)
    seen = [
        (lines.item[h:s].tolist(), lines.item[s:e].tolist())
        for h, s, e in zip(baskets.history_start, baskets.start, baskets.end, strict=True)
    ]
    assert seen == [([1, 2], [3]), ([1, 2, 3], [4]), ([5], [6, 7])]


def test_the_split_keeps_the_future_out() -> None:
    """No purchase after the split is in any history, and only users of both sides are judged."""
    orders = generate_orders(3, 60, 50, 40)
    split = split_by_time(orders, 0.2)
    assert split is not None
    assert split.before.timestamp_s.max() < split.at_s <= split.after.timestamp_s.min()
    assert (np.diff(split.before.offsets)[split.users] > 0).all()
    assert (np.diff(split.after.offsets)[split.users] > 0).all()


def test_measures_are_those_of_their_definition() -> None:
    """One hit at rank 1 and one at rank 3 of two relevant items, by hand."""
    orders = made([(1, 0, 1), *((9, 0, item) for item in (2, 3))], items=20)
    split = split_by_time(orders, 0.5)
    assert split is not None
    scores = np.zeros((1, 20), dtype=np.float32)
    scores[0, [2, 7, 3]] = [3, 2, 1]
    found = measure(split, 20, lambda users: scores)
    assert found.recall_at_10 == 1.0
    assert found.ndcg_at_10 == pytest.approx((1 + 1 / math.log2(4)) / (1 + 1 / math.log2(3)))
    assert found.coverage_at_10 == 0.5


def test_recent_sales_weigh_more_in_popularity() -> None:
    """An item sold one half-life earlier counts half, and the future not at all."""
    half_life = int(quality.HALF_LIFE_S)
    popular = quality.popularity(made([(0, 0, 1), (half_life, 0, 2), (half_life + 5, 0, 3)]), half_life)
    assert popular[3] == 0
    assert popular[1] == pytest.approx(1.0)
    popular = quality.popularity(made([(0, 0, 1), (half_life, 0, 2)]), half_life + 1)
    assert popular[2] / popular[1] == pytest.approx(2.0, rel=1e-3)


def test_the_loss_is_corrected_for_sampling() -> None:
    """Raising every log chance alike changes nothing; an item met more often is pushed down less."""
    torch.manual_seed(0)
    model = TwoTower(6, 4, history=3).eval()
    histories, targets = torch.tensor([[6, 0, 1], [6, 6, 2]]), torch.tensor([[3, 4], [5, 5]])

    def loss(log_q: list[float]) -> float:
        return float(sampled_softmax_loss(model, histories, histories, targets, torch.tensor(log_q)).detach())

    even = loss([-2.0] * 6)
    assert loss([-1.0] * 6) == pytest.approx(even, abs=1e-5)
    only_negative = loss([-2.0, -2.0, -2.0, -2.0, -2.0, -0.5])
    assert only_negative != pytest.approx(even, abs=1e-3)


def test_items_of_the_same_order_are_no_negatives() -> None:
    """With one order in the batch there is nothing to tell apart, so the loss is nothing."""
    model = TwoTower(6, 4, history=3).eval()
    histories = torch.tensor([[6, 0, 1]])
    loss = sampled_softmax_loss(model, histories, histories, torch.tensor([[3, 4]]), torch.zeros(6))
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-6)


def test_no_target_is_in_its_own_history() -> None:
    """With every line another item, a drawn order's items are never among those it is predicted from."""
    orders = made([(time, user, 4 * time + 2 * user + n) for time in range(9) for user in (0, 1) for n in (0, 1)], 40)
    split = split_by_time(orders, 0.2)
    assert split is not None
    model = TwoTower(40, 4, history=6)
    batches = Batches(split.before, Baskets.of(split.before), model, at_s=split.at_s)
    histories, targets = batches.draw(np.random.default_rng(0))
    assert histories.shape == (len(targets), 6)
    assert (histories[:, :, None] != targets[:, None, :]).all()
    assert (histories <= 40).all()
    drawn = np.bincount(targets.flatten(), minlength=40) > 0
    assert not drawn[split.after.item].any()


def test_padding_has_no_weight() -> None:
    """A single purchase behind padding is seen as that item alone."""
    torch.manual_seed(0)
    model = TwoTower(6, 4, history=4).eval()
    with torch.inference_mode():
        item = model.items(torch.tensor([1]))
        alone = torch.nn.functional.normalize(item + model.hidden(item), dim=-1)
        assert torch.allclose(model.user_tower(torch.tensor([[6, 6, 6, 1]])), alone, atol=1e-6)


def test_order_and_repeats_count() -> None:
    """User vectors have length 1 and depend on the whole history; only its items get a bonus."""
    torch.manual_seed(0)
    model = TwoTower(6, 4, history=4).eval()
    with torch.inference_mode():
        user = model.user_tower(torch.tensor([[6, 6, 1, 2], [6, 6, 2, 1], [0, 3, 1, 2]]))
        bonus = model.repeat_bonus(torch.tensor([[6, 6, 1, 2]]))
    assert user.norm(dim=1).tolist() == pytest.approx([1.0, 1.0, 1.0])
    assert not torch.allclose(user[0], user[2])
    assert (bonus > 0).tolist() == [[False, True, True, False, False, False]]


def test_the_model_beats_popularity_clearly(trained: TrainedRecommender) -> None:
    """On a generated shop it finds at least half as much again, over more of the catalogue."""
    model, popular = trained.quality["model"], trained.quality["popularity"]
    assert model.recall_at_10 > 1.5 * popular.recall_at_10
    assert model.ndcg_at_10 > 1.5 * popular.ndcg_at_10
    assert model.coverage_at_10 > 5 * popular.coverage_at_10


def test_the_seed_makes_the_model(orders: Orders) -> None:
    """The same seed gives the same weights, whatever torch drew before; another seed others."""
    first = train(orders, seed=4, epochs=1, dim=8).model.items.weight
    torch.rand(7)
    assert torch.equal(first, train(orders, seed=4, epochs=1, dim=8).model.items.weight)
    assert not torch.equal(first, train(orders, seed=5, epochs=1, dim=8).model.items.weight)


def test_the_towers_get_the_weight_whose_lists_are_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the shares that are tried; among equals the largest, which trusts the training most."""
    model, split = TwoTower(10, 4), split_by_time(made([(time, time % 2, time % 10) for time in range(100)]), 0.1)
    assert split is not None
    trained = model.log_scale.exp().item()
    for wanted, least in ((0.3, 0.3), (1.0, 0.0)):

        def worth(_split: object, _items: int, _scorer: object, least: float = least) -> quality.Quality:
            share = model.log_scale.exp().item() / trained
            return quality.Quality(1 - abs(share - least) if least else 0.5, 0.0, 0.0)

        monkeypatch.setattr(train_module, "measure", worth)
        settle(model, split)
        assert model.log_scale.exp().item() == pytest.approx(wanted * trained, rel=1e-5)
        model.log_scale.data.fill_(math.log(trained))


def test_the_slice_that_settles_the_weight_comes_before_the_test() -> None:
    """The orders before the test are split again: none of the test's lines is in the second split."""
    orders = made([(time, time % 2, time % 10) for time in range(100)])
    test = split_by_time(orders, 0.1)
    assert test is not None
    tuning = split_by_time(orders, 0.1, test.at_s)
    assert tuning is not None
    assert (test.at_s, tuning.at_s) == (90, 81)
    assert tuning.after.timestamp_s.max() < test.at_s
    assert len(tuning.before.item) + len(tuning.after.item) == len(test.before.item) == 90


def test_training_leaves_the_process_as_it_was(orders: Orders) -> None:
    """Neither torch's threads nor its random state change for the caller."""
    torch.manual_seed(11)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(11)
    train(orders, epochs=1, dim=8)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_training_stops_when_its_time_is_up(orders: Orders) -> None:
    """It ends after the step in which the time ran out, and says how many steps it made."""
    ticks = iter(range(1_000))
    found = train(orders, epochs=5, dim=8, max_seconds=4, clock=lambda: float(next(ticks)))
    assert found.steps == 3
    assert found.quality["model"].recall_at_10 >= 0


@pytest.mark.parametrize("lines", [[(1, 0, 1), (2, 1, 2)], [(5, 0, 1)], [(5, 0, 1), (6, 0, 2)]])
def test_a_shop_without_returning_customers_is_refused(lines: list[tuple[int, int, int]]) -> None:
    """Without anything to learn from the error says so."""
    with pytest.raises(InvalidInput, match="longer span"):
        train(made(lines))


@pytest.mark.campaign
@pytest.mark.shared
@pytest.mark.timeout(300)
def test_real_orders_are_learned_within_a_minute() -> None:
    """On a real shop the model finds twice what popularity finds, after less than 60 s of one core."""
    found = train(load_orders(real_orders()), max_seconds=60, clock=time.process_time)
    assert len(found.orders) == 396_337
    assert found.train_s < 60
    assert found.quality["model"].recall_at_10 > 2 * found.quality["popularity"].recall_at_10
    assert found.quality["model"].ndcg_at_10 > 2 * found.quality["popularity"].ndcg_at_10


def real_orders() -> Path:
    """The maintainers' folder: HCCTL_DATA, or beside the repository."""
    beside = Path(__file__).parents[3] / "shared" / "data" / "online-retail"
    return Path(os.environ.get("HCCTL_DATA", beside))
