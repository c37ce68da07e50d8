"""The price list of AWS, read into the price book; what it does not clearly say stays unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from cli.main import app
from infra.costs import UnknownPrice, load_prices
from infra.price_list import hour_usd, read_hours, refreshed


def product(usd: str = "1.0060000000", unit: str = "Hrs") -> str:
    """One product in the form of the Price List API."""
    price = {"unit": unit, "pricePerUnit": {"USD": usd}, "beginRange": "0", "endRange": "Inf"}
    offer = {"offerTermCode": "JRTCKXETXF", "sku": "X", "priceDimensions": {"X.JRTCKXETXF.6YS6EN2CT7": price}}
    known = {"product": {"sku": "X"}, "terms": {"OnDemand": {"X.JRTCKXETXF": offer}}, "publicationDate": "2026-11-20"}
    return json.dumps(known)


class PriceList:
    """A client that answers with given products, one page each, and keeps what it was asked."""

    def __init__(self, *products: str) -> None:
        self.products = products
        self.asked: list[dict[str, str]] = []

    def get_paginator(self, _: str) -> PriceList:
        return self

    def paginate(self, **asked: Any) -> Iterator[dict[str, Any]]:
        self.asked.append({each["Field"]: each["Value"] for each in asked["Filters"]})
        return iter([{"PriceList": [each]} for each in self.products])


def test_hours_are_asked_by_region_and_type() -> None:
    """A plain Linux machine of the type, in that region, on shared hardware."""
    pricing = PriceList(product())
    assert read_hours(pricing, "us-east-1", ["g5.xlarge"]) == {"g5.xlarge": 1.006}
    (asked,) = pricing.asked
    assert (asked["regionCode"], asked["instanceType"]) == ("us-east-1", "g5.xlarge")
    assert (asked["operatingSystem"], asked["tenancy"], asked["capacitystatus"]) == ("Linux", "Shared", "Used")


@pytest.mark.parametrize("products", [(), (product(), product("2.0"))])
def test_not_one_price_is_none(products: tuple[str, ...]) -> None:
    """Nothing found is not nought, and of two prices neither is guessed."""
    with pytest.raises(UnknownPrice, match=f"has {len(products)} prices of g5.xlarge in us-east-1"):
        read_hours(PriceList(*products), "us-east-1", ["g5.xlarge"])


@pytest.mark.parametrize(
    "broken",
    ["", "[]", "{}", "null", product("0"), product("-1"), product("nan"), product("x"), product(unit="Quantity")],
)
def test_a_product_without_an_hourly_price_is_refused(broken: str) -> None:
    """Whatever the form, it is one error and never a price."""
    with pytest.raises(UnknownPrice):
        hour_usd(broken)


def test_the_book_says_what_is_how_old() -> None:
    """Hours are replaced, all else stays, and the source tells both dates."""
    former = load_prices()
    book = refreshed(former, "us-east-1", {"g5.xlarge": 0.9, "g7.xlarge": 2.0}, on="2026-11-22")
    here, before = book.regions["us-east-1"], former.regions["us-east-1"]
    assert (here.instance_hours["g5.xlarge"], here.instance_hours["g7.xlarge"]) == (0.9, 2.0)
    assert here.instance_hours["m7i.large"] == before.instance_hours["m7i.large"]
    assert here.nat_gateway_hour == before.nat_gateway_hour
    assert book.as_of == "2026-11-22"
    assert f"the rest as of {former.as_of}" in book.source
    with pytest.raises(UnknownPrice, match="no prices of eu-west-1, only of us-east-1"):
        refreshed(former, "eu-west-1", {}, on="2026-11-22")


def test_the_command_writes_a_book_that_the_estimate_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output, put into a file, is what `--prices` takes."""
    monkeypatch.setattr("cli.commands.infra._price_list", lambda: PriceList(product("3.5")))
    done = CliRunner().invoke(app, ["infra", "prices", "--region", "us-east-1"])
    assert done.exit_code == 0, done.output
    (tmp_path / "prices.yaml").write_text(done.stdout)
    book = load_prices(tmp_path / "prices.yaml")
    assert set(book.regions["us-east-1"].instance_hours.values()) == {3.5}
    assert yaml.safe_load(done.stdout)["as_of"] == book.as_of


def test_an_unknown_region_is_invalid_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before AWS is asked anything."""
    pricing = PriceList(product())
    monkeypatch.setattr("cli.commands.infra._price_list", lambda: pricing)
    done = CliRunner().invoke(app, ["infra", "prices", "--region", "mars-1"])
    assert done.exit_code != 0
    assert pricing.asked == []
