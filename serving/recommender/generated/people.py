"""The users of a generated shop: kinds of taste, and what a sign-up form would tell of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.recommender.generated import words
from serving.recommender.generated.catalogue import Index, Matrix, Vector
from serving.recommender.generated.shop import DIMS, GROUPS, USERS_PER_BLOCK, Shop

TASTE_LENGTH = 1.1
"""Of a group's taste for looks: the spread of the logit that looks alone make."""
OWN_TASTE, OWN_CATEGORY, OWN_THRIFT = 0.1, 0.15, 0.05
"""Standard deviation of a user's taste around the group's: small, so that it can be learned from some visits."""
TELLING = 0.6
"""Chance that region or age is the one that is usual in the user's group; else it is any."""


@dataclass(frozen=True, eq=False)
class Groups:
    """The kinds of taste."""

    taste: Matrix
    """[groups, dims], unit of the click's logit per unit of look."""
    category: Matrix
    """[groups, categories], logit."""
    thrift: Vector
    """Logit lost per unit of log price."""
    region: Index
    age_band: Index


@dataclass(frozen=True, eq=False)
class People:
    """A block of users. `first` is the index of the first one in the shop."""

    first: int
    group: Index
    taste: Matrix
    category: Matrix
    thrift: Vector
    region: Index
    age_band: Index
    day: Index
    """Of their first possible visit, counted from the shop's first."""
    activity: Vector
    """Visits relative to the mean."""

    def __len__(self) -> int:
        return len(self.group)


def groups(shop: Shop, categories: int) -> Groups:
    """The kinds of taste of the shop's users."""
    rng = shop.rng("groups")
    taste = rng.normal(size=(GROUPS, DIMS))
    return Groups(
        taste=TASTE_LENGTH * taste / np.linalg.norm(taste, axis=1, keepdims=True),
        category=rng.normal(scale=0.8, size=(GROUPS, categories)),
        thrift=rng.normal(0.4, 0.3, size=GROUPS),
        region=rng.permutation(GROUPS) % len(words.REGIONS),
        age_band=rng.permutation(GROUPS) % len(words.AGE_BANDS),
    )


def people(shop: Shop, kinds: Groups, block: int) -> People:
    """The users of a block."""
    rng, first = shop.rng("users", block), block * USERS_PER_BLOCK
    count = min(USERS_PER_BLOCK, shop.users - first)
    group = rng.integers(GROUPS, size=count)
    late = rng.random(count) < shop.new_users

    def told(usual: Index, choices: int) -> Index:
        return np.where(rng.random(count) < TELLING, usual[group], rng.integers(choices, size=count))

    activity = rng.lognormal(-0.245, 0.7, size=count)  # mean 1
    return People(
        first=first,
        group=group,
        taste=kinds.taste[group] + OWN_TASTE * rng.normal(size=(count, DIMS)),
        category=kinds.category[group] + OWN_CATEGORY * rng.normal(size=(count, kinds.category.shape[1])),
        thrift=kinds.thrift[group] + OWN_THRIFT * rng.normal(size=count),
        region=told(kinds.region, len(words.REGIONS)),
        age_band=told(kinds.age_band, len(words.AGE_BANDS)),
        day=np.where(late, rng.integers(shop.days, size=count), 0),
        activity=activity,
    )
