"""Any model that `hcctl model train` made behind `/recommend`. Import path: `serving.recommender.lists:Lists`.

Takes what `list_request` says, and answers `{"items": [{"id", "title", "price", "score"}, ...]}`, best first. A title
or price that the shop's data does not have is null. A user who is not known gets what sells.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import JsonValue

from serving.errors import InvalidInput
from serving.model import ModelRequest, Result
from serving.recommender import models
from serving.recommender.interface import Bought, User
from serving.recommender.list_request import ListRequest, parse
from serving.recommender.models import AnyModel, Catalogue


class Lists:
    """Answers batches of requests on one thread; each request is checked on its own."""

    def __init__(self, model: AnyModel, items: Catalogue, today: int) -> None:
        """Serve `model`; the history of a request counts as bought on day `today`, the day after the model's last."""
        self._model, self._today = model, today
        self._shown = {
            item: (title, price) for item, title, price in zip(items.ids, items.titles, items.prices, strict=True)
        }

    @classmethod
    def load(cls, directory: Path, config: dict[str, JsonValue]) -> Self:
        """Load the version in `directory`; there is nothing to set in `config`.

        Raises:
            InvalidInput: something is set.
            CorruptArtefact: a file is missing, damaged or does not fit the others.
        """
        if config:
            name = next(iter(config))[:64]
            raise InvalidInput("the model has no such setting", where=f"model.config.{name}", next_step="leave it out")
        trained, model, items = models.load(directory)
        return cls(model, items, trained.until_day)

    def predict_batch(self, requests: list[ModelRequest]) -> Sequence[Result]:
        """Answer each request; one that is wrong gets an `InvalidInput`, its neighbours their items."""
        return [self._answer(asked) if isinstance(asked, ListRequest) else asked for asked in map(parse, requests)]

    def _answer(self, asked: ListRequest) -> Result:
        user: User = asked.who if isinstance(asked.who, str) else [Bought(item, self._today) for item in asked.who]
        items: list[JsonValue] = []
        for offer in self._model.recommend(user, asked.k, exclude_bought=asked.exclude_bought):
            title, price = self._shown.get(offer.item_id, (None, None))
            items.append({"id": offer.item_id, "title": title, "price": price, "score": round(offer.score, 6)})
        return {"items": items}
