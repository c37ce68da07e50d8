"""What a generated shop is made of, and the random streams it is drawn from.

Everything is drawn from the seed by name, so that one part does not move when another is asked for, and users come in
blocks that know nothing of each other: any part of a shop of any size can be made by itself, in bounded memory.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.random import Generator
from pydantic import BaseModel, ConfigDict, Field

FIRST_DAY_S = 1_704_067_200  # Monday 1 January 2024, 00:00 UTC
DAY_S = 86_400
USERS_PER_BLOCK = 250

TEXT_DIMS, IMAGE_DIMS = 4, 4
"""Of the latent look of an item: the first are told by its text alone, the others by its image alone."""
DIMS = TEXT_DIMS + IMAGE_DIMS
GROUPS = 8
"""Kinds of taste. A user is of one of them, and a little different from it."""


class Shop(BaseModel):
    """How large a generated shop is and how its customers behave. The same settings give the same shop."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    seed: int = Field(default=0, ge=0, lt=2**63)
    users: int = Field(default=2_000, ge=1, le=100_000_000)
    items: int = Field(default=1_200, ge=1, le=2_000_000)
    days: int = Field(default=120, ge=1, le=3_650)
    visits_per_user: float = Field(default=10.0, gt=0, le=100, description="Mean, for a user of the whole time.")
    list_length: int = Field(default=20, ge=1, le=100, description="Items shown in each visit.")
    click_bias: float = Field(default=-2.6, ge=-20, le=20, description="Logit of a click on an average item.")
    purchase_bias: float = Field(default=0.2, ge=-20, le=20, description="Logit of a purchase of what is in the cart.")
    new_items: float = Field(default=0.2, ge=0, le=0.9, description="Share of the items that come after the first day.")
    new_users: float = Field(default=0.3, ge=0, le=0.9, description="Share of the users that come after the first day.")

    @property
    def blocks(self) -> int:
        """How many blocks of users there are."""
        return -(-self.users // USERS_PER_BLOCK)

    def rng(self, *name: str | int) -> Generator:
        """The random stream of this name; streams of different names are independent."""
        words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in name]
        return np.random.default_rng([self.seed, *words])


def user_id(user: int) -> str:
    """The id of a user by index."""
    return f"U{user:05d}"


def item_id(item: int) -> str:
    """The id of an item by index."""
    return f"I{item:05d}"
