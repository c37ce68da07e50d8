"""The methods that score by themselves: what blends and rankers are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from serving.recommender.als import Als
from serving.recommender.ease import Ease
from serving.recommender.nearest import Nearest
from serving.recommender.neighbours import ItemKnn, TifuKnn, UserPopularity
from serving.recommender.popularity import Popularity
from serving.recommender.repeats import OwnFrequency
from serving.recommender.sasrec import Sasrec
from serving.recommender.towers import Towers

SingleMethod = Annotated[
    Popularity | OwnFrequency | TifuKnn | UserPopularity | ItemKnn | Ease | Als | Towers | Sasrec | Nearest,
    Field(discriminator="kind"),
]
