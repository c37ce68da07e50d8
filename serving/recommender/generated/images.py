"""Pictures of generated items: each image dimension of an item's look is something to see, under some noise."""

from __future__ import annotations

import colorsys

import numpy as np
from numpy.typing import NDArray

from serving.recommender.generated.catalogue import Catalogue
from serving.recommender.generated.shop import IMAGE_DIMS, TEXT_DIMS, Shop

SIDE = 32
LOOK_NOISE = 0.35
"""Standard deviation of what is added to the look before it is drawn."""
PIXEL_NOISE = 12.0

Picture = NDArray[np.uint8]


def picture(shop: Shop, items: Catalogue, item: int) -> Picture:
    """The picture of an item, [32, 32, 3]: its shape, hue, size, stripes and background.

    The background is brighter, the thing redder, larger and more finely striped the higher its four image dimensions
    are; what kind of shape it is, goes with the category.
    """
    rng = shop.rng("picture", item)
    look = items.latent[item, TEXT_DIMS:] + LOOK_NOISE * rng.normal(size=IMAGE_DIMS)
    hue, background, size, stripes = 0.5 + 0.5 * np.tanh(look / 1.5)
    y, x = (np.indices((SIDE, SIDE)) - (SIDE - 1) / 2 - rng.uniform(-2, 2, size=2)[:, None, None]) / (SIDE / 2)
    reach = 0.25 + 0.55 * size
    inside = (
        np.hypot(x, y) < reach,
        np.maximum(np.abs(x), np.abs(y)) < 0.9 * reach,
        np.abs(x) + np.abs(y) < 1.2 * reach,
        (np.abs(x) < 0.35 * reach) | (np.abs(y) < 0.35 * reach),
    )[items.category[item] % 4]
    wave = 0.75 + 0.25 * np.sign(np.sin((2 + 10 * stripes) * np.pi * (x + y) / 2))
    thing = np.array(colorsys.hsv_to_rgb(0.7 * (1 - hue), 0.9, 1.0))
    canvas = np.full((SIDE, SIDE, 3), 0.1 + 0.8 * background)
    canvas[inside] = thing * wave[inside][:, None]
    return np.asarray((255 * canvas + PIXEL_NOISE * rng.normal(size=canvas.shape)).clip(0, 255).astype(np.uint8))
