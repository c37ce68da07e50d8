"""Three ways to run the same load, on one basis."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.money.alternatives import Prices, always_on_usd, cloud_only_usd, private_usd
from cli.demo.cost import compare
from cli.demo.verdict import Sample

PRICES = Prices(private_nodes=2, private_usd_per_node_hour=0.5, cloud_usd_per_node_hour=3.6, node_rps=10.0)


def sample(t_s: float, rate_rps: float, cloud: int, rented_usd: float) -> Sample:
    return Sample(t_s, rate_rps, None, None, 0, {"private": 2, "cloud": cloud}, {}, {}, rented_usd)


def test_owned_nodes_cost_whether_busy_or_not() -> None:
    """2 nodes at $0.50 an hour are $1 after an hour, from the first moment on."""
    assert private_usd([10.0, 10.0 + 3_600], PRICES) == [0.0, pytest.approx(1.0)]


def test_always_on_pays_for_the_peak_all_the_time() -> None:
    """3 cloud nodes at $3.60 an hour and the owned ones, for 100 s."""
    assert always_on_usd([0.0, 100.0], PRICES, peak_cloud_nodes=3)[-1] == pytest.approx(100 * (3 * 3.6 + 1) / 3_600)


def test_cloud_only_pays_for_whole_nodes_and_at_least_one() -> None:
    """Load of 0, 10 and 10.1 requests/s takes 1, 1 and 2 nodes of 10; the last moment has no length."""
    found = cloud_only_usd([0.0, 10.0, 20.0, 30.0], [0.0, 10.0, 10.1, 99.0], PRICES)
    assert found == pytest.approx([0.0, 0.01, 0.02, 0.04])


def test_the_comparison_puts_all_on_one_basis() -> None:
    """Hybrid is the owned nodes and the rent; always on takes the peak that was seen ready."""
    samples = [sample(0, 5, 0, 0.0), sample(50, 35, 3, 0.04), sample(100, 5, 0, 0.1)]
    found = compare(samples, clouds=["cloud"], prices=PRICES)
    assert found.t_s == (0, 50, 100)
    assert found.hybrid_usd == pytest.approx((0.0, 50 / 3_600 + 0.04, 100 / 3_600 + 0.1))
    assert found.always_on_usd[-1] == pytest.approx(100 * (3 * 3.6 + 1) / 3_600)
    assert found.cloud_only_usd == pytest.approx((0.0, 0.05, 0.25))


@given(st.lists(st.tuples(st.floats(0, 500), st.integers(0, 8)), min_size=1, max_size=40))
def test_courses_never_fall(load: list[tuple[float, int]]) -> None:
    """Money spent stays spent, whatever the load does."""
    samples = [sample(float(index), rate, cloud, 0.01 * index) for index, (rate, cloud) in enumerate(load)]
    found = compare(samples, clouds=["cloud"], prices=PRICES)
    for course in (found.hybrid_usd, found.always_on_usd, found.cloud_only_usd):
        assert course[0] == 0
        assert list(course) == sorted(course)
