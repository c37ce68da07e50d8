"""What a month costs: item by item, and unknown where a price is unknown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.costs import UnknownPrice, estimate, load_prices
from infra.stack_config import load
from tests.support.pulumi_program import example

EXAMPLE, PRICES = load(example()), load_prices()


def test_the_example_is_summed_by_hand() -> None:
    """Each line is what pencil and paper give from the price file."""
    found = {line.item: (line.usd_at_rest, line.usd_at_full_size) for line in estimate(EXAMPLE, PRICES).lines}
    fixed = {
        "EKS control plane": 730 * 0.10,
        "system pool: 2 x m7i.large": 2 * (730 * 0.1008 + 50 * 0.08),
        "NAT gateways: 1": 730 * (0.045 + 0.005),
        "interface endpoints: 5 in 3 zones": 15 * 730 * 0.01,
        "VPN connections: 1": 730 * 0.05,
        "KMS keys: 2": 2.0,
    }
    assert {item: found[item] for item in fixed} == {item: pytest.approx((usd, usd)) for item, usd in fixed.items()}
    spot = found["pool a10g-spot (spot, at most): 0 to 8 nodes"]
    assert spot == (0, pytest.approx(8 * (730 * 1.212 + 200 * 0.08)))
    assert found["pool a10g (on-demand): 0 to 4 nodes"] == (0, pytest.approx(4 * (730 * 1.006 + 200 * 0.08)))
    assert len(found) == len(fixed) + 2


def test_the_guide_tells_the_cost_of_the_example() -> None:
    """The figures of the guide are those of the estimate."""
    guide = (Path(__file__).parents[2] / "docs/guides/clusters-pulumi.md").read_text()
    month = estimate(EXAMPLE, PRICES)
    assert f"${month.usd_at_rest:,.0f}" in guide
    assert f"${month.usd_at_full_size:,.0f}" in guide
    assert f"as of {month.as_of}" in guide


@given(low=st.integers(0, 5), high=st.integers(5, 10), more=st.integers(0, 50))
def test_more_never_costs_less(low: int, high: int, more: int) -> None:
    """At rest is never dearer than full size, and a larger pool never cheaper than a smaller one."""
    pool = EXAMPLE.gpu_pools[0].model_copy(update={"min_nodes": low, "max_nodes": high})
    small = estimate(EXAMPLE.model_copy(update={"gpu_pools": [pool]}), PRICES)
    larger = pool.model_copy(update={"max_nodes": high + more})
    large = estimate(EXAMPLE.model_copy(update={"gpu_pools": [larger]}), PRICES)
    assert small.usd_at_rest <= small.usd_at_full_size <= large.usd_at_full_size
    assert small.usd_at_rest == pytest.approx(large.usd_at_rest)


def test_an_unknown_price_is_not_nought() -> None:
    """A region or type that the file does not know is an error, not a cheap month."""
    elsewhere = example() | {"region": "eu-central-1"}
    elsewhere["network"] = elsewhere["network"] | {"zones": ["eu-central-1a", "eu-central-1b"]}
    with pytest.raises(UnknownPrice, match="no prices of eu-central-1, only of us-east-1"):
        estimate(load(elsewhere), PRICES)
    stack = example()
    stack["gpu_pools"][0]["instance_types"] = ["p9.huge"]
    with pytest.raises(UnknownPrice, match=r"no price of p9\.huge"):
        estimate(load(stack), PRICES)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"as_of: today\n", id="form"),
        pytest.param(b"as_of: 2026-13-45\n", id="day"),
        pytest.param(b"\xff", id="bytes"),
        pytest.param(b"[" * 1_000, id="deep"),
    ],
)
def test_a_price_file_of_ones_own_is_checked(tmp_path: Path, content: bytes) -> None:
    """A file of another form is refused by its name."""
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(UnknownPrice, match=r"mine\.yaml is no price file"):
        load_prices(file)
