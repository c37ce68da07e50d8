"""The price list of AWS, read into the price book; what it does not clearly say stays unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from click.testing import CliRunner

from cli.main import app
from infra.costs import HourPrice, UnknownPrice, hour_price, load_prices
from infra.price_list import hour_usd, read_hours, read_spot_hours, refreshed
from tests.support.moto_machines import client


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


NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class SpotHistory:
    """A client that answers with given prices: type, zone, hours ago, usd."""

    def __init__(self, *prices: tuple[str, str, float, str]) -> None:
        self.prices = prices
        self.asked: list[dict[str, Any]] = []

    def get_paginator(self, _: str) -> SpotHistory:
        return self

    def paginate(self, **asked: Any) -> Iterator[dict[str, Any]]:
        self.asked.append(asked)
        for kind, zone, hours_ago, usd in self.prices:
            at = NOW - timedelta(hours=hours_ago)
            each = {"InstanceType": kind, "AvailabilityZone": zone, "Timestamp": at, "SpotPrice": usd}
            yield {"SpotPriceHistory": [each]}


class Forbidden:
    """A client without the right."""

    def get_paginator(self, _: str) -> Any:
        said = {"Error": {"Code": "UnauthorizedOperation", "Message": "You are not authorized"}}
        raise ClientError(said, "DescribeSpotPriceHistory")


def test_a_spot_price_is_the_dearest_of_the_zones_now() -> None:
    """Of each zone its latest price, of the zones the dearest; a type without any is left out."""
    ec2 = SpotHistory(
        ("g5.xlarge", "us-east-1a", 5, "0.90"),
        ("g5.xlarge", "us-east-1a", 1, "0.40"),
        ("g5.xlarge", "us-east-1a", 3, "0.95"),
        ("g5.xlarge", "us-east-1b", 2, "0.45"),
        ("g6.xlarge", "us-east-1a", 2, "0.30"),
    )
    assert read_spot_hours(ec2, ["g6.xlarge", "g5.xlarge", "g4dn.xlarge"], NOW) == {
        "g5.xlarge": 0.45,
        "g6.xlarge": 0.30,
    }
    assert ec2.asked == [
        {
            "InstanceTypes": ["g4dn.xlarge", "g5.xlarge", "g6.xlarge"],
            "ProductDescriptions": ["Linux/UNIX"],
            "StartTime": NOW,
            "EndTime": NOW,
        }
    ]


@pytest.mark.parametrize("usd", ["", "x", "0", "-1", "nan", "inf"])
def test_a_spot_price_that_is_none_is_refused(usd: str) -> None:
    """It never becomes a price."""
    with pytest.raises(UnknownPrice, match="spot price"):
        read_spot_hours(SpotHistory(("g5.xlarge", "us-east-1a", 1, usd)), ["g5.xlarge"], NOW)


def test_spot_prices_are_asked_as_aws_has_it() -> None:
    """Question and answer have the forms of AWS's own model of its interface."""
    ec2 = client("ec2")
    price = {"InstanceType": "m7i.large", "AvailabilityZone": "us-east-1a", "Timestamp": NOW, "SpotPrice": "0.04"}
    with Stubber(ec2) as stubbed:
        stubbed.add_response("describe_spot_price_history", {"SpotPriceHistory": [price], "NextToken": ""})
        assert read_spot_hours(ec2, ["m7i.large"], NOW) == {"m7i.large": 0.04}


def test_an_hour_has_the_date_of_its_price() -> None:
    """Spot and on demand each have theirs; what was not read keeps the book's former date, in other regions too."""
    former = load_prices()
    two = former.model_copy(update={"regions": {**former.regions, "eu-west-1": former.regions["us-east-1"]}})
    book = refreshed(two, "us-east-1", {"g5.xlarge": 1.1}, {"g5.xlarge": 0.4}, on="2026-11-22")
    assert hour_price(book, "us-east-1", ["g5.xlarge"], spot=True) == HourPrice(0.4, "2026-11-22")
    assert hour_price(book, "us-east-1", ["g5.xlarge"], spot=False) == HourPrice(1.1, "2026-11-22")
    assert hour_price(book, "eu-west-1", ["g5.xlarge"], spot=False) == HourPrice(1.006, former.as_of)
    later = refreshed(book, "us-east-1", {"g5.xlarge": 1.2}, None, on="2026-12-01")
    assert hour_price(later, "us-east-1", ["g5.xlarge"], spot=True) == HourPrice(0.4, "2026-11-22")
    assert hour_price(later, "us-east-1", ["g6.xlarge"], spot=True) == HourPrice(0.8048, "2026-12-01", upper_bound=True)


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
    book = refreshed(former, "us-east-1", {"g5.xlarge": 0.9, "g7.xlarge": 2.0}, None, on="2026-11-22")
    here, before = book.regions["us-east-1"], former.regions["us-east-1"]
    assert (here.instance_hours["g5.xlarge"], here.instance_hours["g7.xlarge"]) == (0.9, 2.0)
    assert here.instance_hours["m7i.large"] == before.instance_hours["m7i.large"]
    assert here.nat_gateway_hour == before.nat_gateway_hour
    assert book.as_of == "2026-11-22"
    assert f"the rest as of {former.as_of}" in book.source
    with pytest.raises(UnknownPrice, match="no prices of eu-west-1, only of us-east-1"):
        refreshed(former, "eu-west-1", {}, None, on="2026-11-22")


def test_the_command_writes_a_book_that_the_estimate_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output, put into a file, is what `--prices` takes."""
    monkeypatch.setattr("cli.commands.infra._price_list", lambda: PriceList(product("3.5")))
    spot = SpotHistory(("g5.xlarge", "us-east-1a", 1, "1.25"))
    monkeypatch.setattr("cli.commands.infra._machines", lambda _: spot)
    done = CliRunner().invoke(app, ["infra", "prices", "--region", "us-east-1"])
    assert done.exit_code == 0, done.output
    (tmp_path / "prices.yaml").write_text(done.stdout)
    book = load_prices(tmp_path / "prices.yaml")
    assert set(book.regions["us-east-1"].instance_hours.values()) == {3.5}
    assert book.regions["us-east-1"].spot_hours == {"g5.xlarge": 1.25}
    assert book.regions["us-east-1"].spot_as_of == book.as_of == yaml.safe_load(done.stdout)["as_of"]
    assert book.machine_sizes == load_prices().machine_sizes


def test_without_the_right_to_spot_prices_the_rest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told which right is missing and which prices stay; the book has today's hours on demand."""
    monkeypatch.setattr("cli.commands.infra._price_list", lambda: PriceList(product("3.5")))
    monkeypatch.setattr("cli.commands.infra._machines", lambda _: Forbidden())
    done = CliRunner().invoke(app, ["infra", "prices", "--region", "us-east-1"])
    assert done.exit_code == 0, done.output
    assert "the right to DescribeSpotPriceHistory" in done.stderr
    assert f"those of the book stay, as of {load_prices().as_of}" in done.stderr
    assert set(yaml.safe_load(done.stdout)["regions"]["us-east-1"]["instance_hours"].values()) == {3.5}


def test_an_unknown_region_is_invalid_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before AWS is asked anything."""
    pricing = PriceList(product())
    monkeypatch.setattr("cli.commands.infra._price_list", lambda: pricing)
    done = CliRunner().invoke(app, ["infra", "prices", "--region", "mars-1"])
    assert done.exit_code != 0
    assert pricing.asked == []
