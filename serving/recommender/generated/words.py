"""The words of a generated shop. Each latent text dimension has five levels, from least to most, in synonyms."""

from __future__ import annotations

MOODS = (
    ("GLOOMY", "SOMBRE"),
    ("QUIET", "CALM"),
    ("SIMPLE", "PLAIN"),
    ("CHEERFUL", "MERRY"),
    ("DAZZLING", "FLAMBOYANT"),
)
MATERIALS = (
    ("PAPER", "CARDBOARD"),
    ("COTTON", "LINEN"),
    ("WOODEN", "WICKER"),
    ("GLASS", "CERAMIC"),
    ("IRON", "STEEL"),
)
ERAS = (
    ("from the middle ages", "of medieval times"),
    ("in Victorian taste", "as in the nineteenth century"),
    ("of the fifties", "in mid-century style"),
    ("of today", "in contemporary style"),
    ("from the future", "in space-age style"),
)
OCCASIONS = (
    ("for small children", "for toddlers to play with"),
    ("for a family picnic", "for a day out with the family"),
    ("for every day", "for daily use"),
    ("for a dinner with guests", "for an evening party"),
    ("for a royal wedding", "for a gala ball"),
)

CATEGORIES: dict[str, tuple[str, ...]] = {
    "lighting": ("LANTERN", "LAMP", "CHANDELIER"),
    "candles": ("CANDLE", "TEALIGHT", "INCENSE"),
    "kitchen": ("TEAPOT", "JUG", "MIXING BOWL"),
    "napkins": ("NAPKINS", "PLACEMATS", "STRAWS"),
    "clocks": ("CLOCK", "ALARM CLOCK", "HOURGLASS"),
    "stationery": ("NOTEBOOK", "PENCILS", "ENVELOPES"),
    "textiles": ("CUSHION", "BLANKET", "CURTAIN"),
    "soap": ("SOAP", "BATH SALT", "HAND CREAM"),
    "storage": ("BASKET", "CHEST", "SHELF"),
    "wrapping": ("GIFT WRAP", "RIBBON", "GIFT BAG"),
    "garden": ("PLANT POT", "WATERING CAN", "BIRD HOUSE"),
    "tea": ("TEA TIN", "COCOA", "HONEY JAR"),
    "toys": ("PUZZLE", "DOLL", "SPINNING TOP"),
    "baking": ("CAKE CASES", "COOKIE CUTTER", "ICING"),
    "bags": ("SHOPPING BAG", "RUCKSACK", "PURSE"),
    "party": ("BUNTING", "BALLOONS", "PAPER CHAIN"),
    "frames": ("PICTURE FRAME", "MIRROR", "POSTER"),
    "cleaning": ("SPONGE", "DUSTER", "BROOM"),
    "jewellery": ("NECKLACE", "BRACELET", "BROOCH"),
    "snacks": ("BISCUITS", "CHOCOLATE", "ROASTED NUTS"),
    "glasses": ("TUMBLER", "GOBLET", "CARAFE"),
    "pets": ("DOG TREATS", "CAT FOOD", "BIRD SEED"),
    "travel": ("LUGGAGE TAG", "TRAVEL PILLOW", "UMBRELLA"),
    "seasonal": ("GARLAND", "WREATH", "SNOW GLOBE"),
}
"""Nouns by category. What is used up and bought again stands at odd places."""

MOTIFS = (
    "ROBIN", "HEART", "STAR", "ROSE", "OWL", "BICYCLE", "DAISY", "TRAIN", "SNOWFLAKE", "STRAWBERRY", "ANCHOR", "FOX",
    "FEATHER", "MOON", "TULIP", "KITE", "SWAN", "ACORN", "LIGHTHOUSE", "BUTTERFLY", "CHERRY", "COMPASS", "IVY", "HARE",
    "MUSHROOM", "PEACOCK", "SAILBOAT", "THISTLE", "WHALE", "ZEBRA",
)  # fmt: skip

BRANDS = ("Ashdown", "Böhm & Söhne", "Żuraw", "Ünal", "נרות", "زهرة", "灯屋", "Crêpe d'Or", "Marlowe", "Petrel")
"""Of several scripts, two of them from right to left, as in a shop that buys everywhere."""

REGIONS = ("north", "east", "south", "west", "islands", "abroad")
AGE_BANDS = ("18-29", "30-39", "40-49", "50-64", "65+")
