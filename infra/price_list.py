"""Hours of machines as AWS lists them, put into the price book. Pure but for `read_hours`, which gets its client."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from infra.costs import Prices, UnknownPrice

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


def refreshed(prices: Prices, region: str, hours: Mapping[str, float], *, on: str) -> Prices:
    """The price book with these hours of machines in it; everything else stays, and the source says so.

    Args:
        prices: the book so far.
        region: of the hours; the book must know it, for its other prices.
        hours: usd by instance type.
        on: date of the hours, as 2026-11-22.

    Raises:
        UnknownPrice: the book has no such region.
    """
    if region not in prices.regions:
        raise UnknownPrice(f"there are no prices of {region}, only of {', '.join(sorted(prices.regions))}")
    here = prices.regions[region]
    changed = here.model_copy(update={"instance_hours": {**here.instance_hours, **hours}})
    source = f"machine hours of {region}: AWS price list, {on}; the rest as of {prices.as_of}: {prices.source}"
    return Prices(as_of=on, source=source, regions={**prices.regions, region: changed})
