"""The items of a generated shop: what they are, and how much of that their text tells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.recommender.generated import words
from serving.recommender.generated.shop import DIMS, TEXT_DIMS, Shop

Index = NDArray[np.int64]
Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

ITEMS_PER_CATEGORY = 40
"""Fewer categories in a small shop, so that each has something to choose from."""
ZIPF_SHIFT = 5.0
"""Flattens the head of the popularity law, as Mandelbrot did: no item is shown ten times as often as the second."""
QUALITY_SPREAD = 0.35
LEVEL_EDGES = (-0.84, -0.25, 0.25, 0.84)
"""Cut a standard normal into five equally likely levels."""
TEXT_NOISE = 0.35
"""Standard deviation of what is added before a level is told: the text says much about an item, and not all."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The items, by index. `latent`, `quality` and `appeal` are the truth, which no shop can see."""

    category: Index
    """Into `words.CATEGORIES`."""
    noun: Index
    brand: Index
    motif: Index
    levels: Index
    """[items, text dims], 0 to 4: which word tells each text dimension."""
    synonym: Index
    price: Vector
    """In the shop's currency, to the cent."""
    day: Index
    """Of its arrival, counted from the shop's first; 0 for what was always there."""
    latent: Matrix
    """[items, dims]: its look."""
    quality: Vector
    """Added to the logit of a click, whoever sees it."""
    appeal: Vector
    """Share of what the shop shows without knowing the user."""

    def __len__(self) -> int:
        return len(self.category)

    @property
    def categories(self) -> int:
        """How many categories are in use."""
        return int(self.category.max()) + 1

    @property
    def relative_price(self) -> Vector:
        """Log of the price over the usual one, about 0."""
        return np.asarray(np.log(self.price) - 1.0)

    def title(self, item: int) -> str:
        """Its title, e.g. `CHEERFUL GLASS LANTERN WITH ROBIN`."""
        mood, material = (self._word(item, dim) for dim in (0, 1))
        noun = tuple(words.CATEGORIES.values())[self.category[item]][self.noun[item]]
        return f"{mood} {material} {noun} WITH {words.MOTIFS[self.motif[item]]}"

    def description(self, item: int) -> str:
        """A sentence on what the title does not say."""
        era, occasion = (self._word(item, dim) for dim in (2, 3))
        return f"Made {era}, {occasion}. By {words.BRANDS[self.brand[item]]}."

    def category_name(self, item: int) -> str:
        """Its category, in one word."""
        return tuple(words.CATEGORIES)[int(self.category[item])]

    def _word(self, item: int, dim: int) -> str:
        scale = (words.MOODS, words.MATERIALS, words.ERAS, words.OCCASIONS)[dim]
        told: str = scale[self.levels[item, dim]][self.synonym[item, dim]]
        return told


def catalogue(shop: Shop) -> Catalogue:
    """The items of the shop."""
    rng, count = shop.rng("items"), shop.items
    categories = int(np.clip(count // ITEMS_PER_CATEGORY, 1, len(words.CATEGORIES)))
    latent = rng.normal(size=(count, DIMS))
    told = latent[:, :TEXT_DIMS] + TEXT_NOISE * rng.normal(size=(count, TEXT_DIMS))
    brand_quality = 0.3 * rng.normal(size=len(words.BRANDS))
    brand = rng.integers(len(words.BRANDS), size=count)
    appeal = 1.0 / (ZIPF_SHIFT + rng.permutation(count))
    late = rng.random(count) < shop.new_items
    late[0] = False  # something is always there
    return Catalogue(
        category=rng.permutation(np.arange(count) % categories),
        noun=rng.integers(3, size=count),
        brand=brand,
        motif=rng.integers(len(words.MOTIFS), size=count),
        levels=np.digitize(told / np.hypot(1.0, TEXT_NOISE), LEVEL_EDGES).astype(np.int64),
        synonym=rng.integers(2, size=(count, TEXT_DIMS)),
        price=np.round(np.exp(rng.normal(1.0, 0.6, size=count)), 2).clip(0.1),
        day=np.where(late, rng.integers(shop.days, size=count), 0),
        latent=latent,
        quality=brand_quality[brand] + QUALITY_SPREAD * rng.normal(size=count),
        appeal=appeal / appeal.sum(),
    )
