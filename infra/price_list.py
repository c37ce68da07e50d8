"""Hours of machines as AWS sells them, put into the price book. Pure but for what is given a client to read with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from infra.costs import Prices, RegionPrices, UnknownPrice

API_REGION = "us-east-1"
"""Where the price list is asked, whatever region the prices are of."""
_PLAIN = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
    "licenseModel": "No License required",
}
"""One product of each type: a machine without anything on it."""


def read_hours(pricing: Any, region: str, kinds: Iterable[str]) -> dict[str, float]:
    """On-demand usd per hour of machine types in a region, from the Price List API.

    Args:
        pricing: a boto3 client of `pricing`.
        region: of the machines.
        kinds: instance types.

    Raises:
        UnknownPrice: a type has no price there, or more than one.
    """
    found = {}
    for kind in kinds:
        terms = {**_PLAIN, "regionCode": region, "instanceType": kind}
        filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in terms.items()]
        pages = pricing.get_paginator("get_products").paginate(ServiceCode="AmazonEC2", Filters=filters)
        products = [product for page in pages for product in page["PriceList"]]
        if len(products) != 1:
            raise UnknownPrice(f"the price list has {len(products)} prices of {kind} in {region}, not one")
        found[kind] = hour_usd(products[0])
    return found


def read_spot_hours(ec2: Any, kinds: Iterable[str], now: datetime) -> dict[str, float]:
    """Spot usd per hour of machine types in the client's region: of the zones' present prices the dearest.

    A pool may launch in any of its zones, so less could not be relied on. A type that is not sold as spot is left out.

    Args:
        ec2: a boto3 client of `ec2`.
        kinds: instance types.
        now: with its time zone; AWS answers with the price that each zone has then.

    Raises:
        UnknownPrice: a price cannot be read.
    """
    pages = ec2.get_paginator("describe_spot_price_history").paginate(
        InstanceTypes=sorted(kinds), ProductDescriptions=["Linux/UNIX"], StartTime=now, EndTime=now
    )
    latest: dict[tuple[str, str], tuple[datetime, float]] = {}
    for page in pages:
        for each in page["SpotPriceHistory"]:
            try:
                place, at = (each["InstanceType"], each["AvailabilityZone"]), each["Timestamp"]
                usd = float(each["SpotPrice"])
            except (KeyError, TypeError, ValueError) as error:
                raise UnknownPrice(f"a spot price cannot be read: {type(error).__name__}") from None
            if not 0 < usd < float("inf"):
                raise UnknownPrice(f"a spot price of {place[0]} is {usd} usd per hour")
            if place not in latest or latest[place][0] < at:
                latest[place] = (at, usd)
    found: dict[str, float] = {}
    for (kind, _), (_, usd) in latest.items():
        found[kind] = max(usd, found.get(kind, 0.0))
    return found


def hour_usd(product: str) -> float:
    """The on-demand price in one product of the price list.

    Raises:
        UnknownPrice: it has none by the hour in usd.
    """
    try:
        known = json.loads(product)
        (offer,) = known["terms"]["OnDemand"].values()
        (price,) = offer["priceDimensions"].values()
        usd = float(price["pricePerUnit"]["USD"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnknownPrice(f"a product of the price list cannot be read: {type(error).__name__}") from None
    if price.get("unit") != "Hrs" or not 0 < usd < float("inf"):
        raise UnknownPrice(f"a product of the price list costs {usd} per {price.get('unit')}, not usd per hour")
    return usd


def refreshed(
    prices: Prices, region: str, hours: Mapping[str, float], spot_hours: Mapping[str, float] | None, *, on: str
) -> Prices:
    """The price book with these hours of machines in it; everything else stays with its date, and the source says so.

    Args:
        prices: the book so far.
        region: of the hours; the book must know it, for its other prices.
        hours: usd by instance type.
        spot_hours: the same for spot; None: not known, so those of the book stay with their date.
        on: date of the hours, as 2026-11-22.

    Raises:
        UnknownPrice: the book has no such region.
    """
    here = prices.region(region)
    regions = {name: _dated(each, prices.as_of) for name, each in prices.regions.items()}
    changes: dict[str, object] = {"instance_hours": {**here.instance_hours, **hours}, "hours_as_of": on}
    told = f"machine hours of {region}: AWS price list, {on}"
    if spot_hours is not None:
        changes |= {"spot_hours": dict(spot_hours), "spot_as_of": on}
        told = f"machine hours of {region}: AWS price list and spot prices, {on}"
    regions[region] = regions[region].model_copy(update=changes)
    source = f"{told}; the rest as of {prices.as_of}: {prices.source}"
    return prices.model_copy(update={"as_of": on, "source": source, "regions": regions})


def _dated(prices: RegionPrices, on: str) -> RegionPrices:
    """With dates of its own, for the book's will be another one."""
    return prices.model_copy(update={"hours_as_of": prices.hours_as_of or on, "spot_as_of": prices.spot_as_of or on})
