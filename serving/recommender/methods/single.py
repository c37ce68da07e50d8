"""The methods that score by themselves: what blends and rankers are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from serving.recommender.methods.als import Als
from serving.recommender.methods.ease import Ease
from serving.recommender.methods.nearest import Nearest
from serving.recommender.methods.neighbours import ItemKnn, TifuKnn, UserKnn, UserPopularity
from serving.recommender.methods.popularity import Popularity
from serving.recommender.methods.repeats import OwnFrequency
from serving.recommender.methods.sasrec import Sasrec
from serving.recommender.methods.towers import Towers

SingleMethod = Annotated[
    Popularity | OwnFrequency | TifuKnn | UserKnn | UserPopularity | ItemKnn | Ease | Als | Towers | Sasrec | Nearest,
    Field(discriminator="kind"),
]
