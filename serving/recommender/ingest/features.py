"""Normalised features of items and users, from what happened before a moment. Lazy: one pass, memory by items or users.

Nothing that happens at or after the moment enters, so that what is learned with a feature can be judged by what
follows. A value that is not known is null, never 0; a count that is 0 is 0.
"""

from __future__ import annotations

import polars as pl

DAY_S = 86_400
PRIOR_WEIGHT = 20.0
"""Impressions (clicks, ratings) that the mean of all items counts for in the rate of one: few say little."""
MOST_DEVIATIONS = 5.0
"""A normalised price beyond is cut: one wrong price must not stretch a scale."""
MAD_TO_DEVIATION = 1.4826
"""Standard deviation over the median absolute deviation, of a normal distribution."""
COUNTED = {
    "impression": "impressions",
    "view": "views",
    "click": "clicks",
    "cart": "carts",
    "purchase": "purchases",
    "search": "searches",
}


def split_by_time(events: pl.LazyFrame, at_s: int) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """What happened before a moment, and from it on."""
    earlier = pl.col("timestamp_s") < at_s
    return events.filter(earlier), events.filter(~earlier)


def normalised_price() -> pl.Expr:
    """Log price within its category: distance from the median in robust deviations, cut at `MOST_DEVIATIONS`.

    Null without a price, and 0 where all prices of the category are the same.
    """
    price = pl.col("price").log()
    distance = price - price.median().over("category")
    deviation = MAD_TO_DEVIATION * distance.abs().median().over("category")
    scaled = pl.when(deviation > 0).then(distance / deviation).otherwise(pl.when(distance.is_not_null()).then(0.0))
    return scaled.clip(-MOST_DEVIATIONS, MOST_DEVIATIONS).alias("price_level")


def item_features(events: pl.LazyFrame, items: pl.LazyFrame, at_s: int) -> pl.LazyFrame:
    """A row for each item: price level, age, counts by type, and rates drawn towards those of all items.

    Args:
        events: clean events, as `cleaning.EVENTS`.
        items: clean items, as `cleaning.ITEMS`.
        at_s: the moment, in seconds since the epoch.
    """
    before, _ = split_by_time(events, at_s)
    counts = before.filter(pl.col("item_id").is_not_null()).group_by("item_id").agg(
        *_counts(),
        pl.col("rating").count().alias("ratings"),
        pl.col("rating").sum().alias("rating_sum"),
        pl.col("timestamp_s").min().alias("first_s"),
    )  # fmt: skip
    joined = items.with_columns(normalised_price()).join(counts, on="item_id", how="left", maintain_order="left")
    known = joined.with_columns(pl.col(*COUNTED.values(), "ratings", "rating_sum").fill_null(0))
    added_s = pl.coalesce("added_s", "first_s")
    return known.select(
        "item_id",
        "category",
        "brand",
        "price_level",
        pl.when(added_s < at_s).then((at_s - added_s) / DAY_S).alias("age_days"),
        *COUNTED.values(),
        _rate("clicks", "impressions").alias("click_rate"),
        _rate("purchases", "clicks").alias("purchase_rate"),
        _rate("rating_sum", "ratings").alias("rating"),
    )


def user_features(events: pl.LazyFrame, items: pl.LazyFrame, at_s: int) -> pl.LazyFrame:
    """A row for each user with an event before the moment: counts by type, days, tastes by what was bought.

    `price_level` is the mean of that of the items bought; `category` the one bought most, among equals the first by
    name, and `category_share` its share of the purchases. All three are null for who bought nothing.
    """
    before, _ = split_by_time(events, at_s)
    counts = before.group_by("user_id").agg(
        *_counts(),
        ((at_s - pl.col("timestamp_s").max()) / DAY_S).alias("days_since"),
        (pl.col("timestamp_s") // DAY_S).n_unique().alias("active_days"),
    )
    bought = before.filter(pl.col("type") == "purchase").join(
        items.with_columns(normalised_price()).select("item_id", "category", "price_level"), on="item_id", how="left"
    )
    levels = bought.group_by("user_id").agg(pl.col("price_level").mean())
    shares = (
        bought.filter(pl.col("category").is_not_null())
        .group_by("user_id", "category")
        .len()
        .sort("len", "category", descending=[True, False])
        .group_by("user_id", maintain_order=True)
        .agg(pl.col("category").first(), (pl.col("len").first() / pl.col("len").sum()).alias("category_share"))
    )
    return counts.join(levels, on="user_id", how="left").join(shares, on="user_id", how="left").sort("user_id")


def _counts() -> list[pl.Expr]:
    return [(pl.col("type") == kind).sum().alias(name) for kind, name in COUNTED.items()]


def _rate(part: str, whole: str) -> pl.Expr:
    """Part over whole, drawn towards the mean of all items; null where nothing is known of any."""
    mean = pl.col(part).sum() / pl.col(whole).sum()
    rate = (pl.col(part) + PRIOR_WEIGHT * mean) / (pl.col(whole) + PRIOR_WEIGHT)
    return pl.when(pl.col(whole).sum() > 0).then(rate)
