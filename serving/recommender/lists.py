"""Any model that `hcctl model train` made behind `/recommend`. Import path: `serving.recommender.lists:Lists`.

Takes what `list_request` says, and answers `{"items": [{"id", "title", "price", "score"}, ...]}`, best first. A title
or price that the shop's data does not have is null. A user who is not known gets what sells. Where `hcctl model index`
made the items searchable, `/search` takes what `search_request` says and answers alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import JsonValue

from serving.errors import InvalidInput
from serving.model import ModelRequest, Result
from serving.recommender import list_request, models, search_request
from serving.recommender.interface import Bought, User
from serving.recommender.list_request import ListRequest
from serving.recommender.models import AnyModel, Catalogue
from serving.recommender.search.index import SearchIndex
from serving.recommender.search.personal import Personal
from serving.recommender.search.storage import SEARCH
from serving.recommender.search_request import SearchRequest


class Lists:
    """Answers batches of requests on one thread; each request is checked on its own."""

    def __init__(self, model: AnyModel, items: Catalogue, today: int, index: SearchIndex | None = None) -> None:
        """Serve `model`; the history of a request counts as bought on day `today`, the day after the model's last."""
        self._model, self._today, self._index = model, today, index
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
        found = cls.opened(directory, searched=True)
        if found._index is not None:
            found._index.search("ready")  # its encoder is read when it is first asked: seconds, which no request has
        return found

    @classmethod
    def opened(cls, directory: Path, *, searched: bool) -> Self:
        """The version in `directory`, for one question; its index is read only if it is to be `searched`.

        Raises:
            CorruptArtefact: a file is missing, damaged or does not fit the others.
        """
        trained, model, items = models.load(directory)
        index = SearchIndex.load(directory) if searched and (directory / SEARCH).exists() else None
        return cls(model, items, trained.until_day, index)

    def predict_batch(self, requests: list[ModelRequest]) -> Sequence[Result]:
        """Answer each request; one that is wrong gets an `InvalidInput`, its neighbours their items."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: ModelRequest) -> Result:
        if self._index is None or request["path"] != search_request.ROUTE:
            asked = list_request.parse(request)
            return self._list(asked) if isinstance(asked, ListRequest) else asked
        wanted = search_request.parse(request)
        return self._found(self._index, wanted) if isinstance(wanted, SearchRequest) else wanted

    def _list(self, asked: ListRequest) -> Result:
        offers = self._model.recommend(self._user(asked.who), asked.k, exclude_bought=asked.exclude_bought)
        return self._told([(offer.item_id, offer.score) for offer in offers])

    def _found(self, index: SearchIndex, asked: SearchRequest) -> Result:
        personal = None if asked.who is None else Personal(self._model, self._user(asked.who))
        try:
            hits = index.search(asked.query, asked.k, where=asked.where, personal=personal)
        except InvalidInput as error:
            return error
        return self._told([(hit.item_id, hit.score) for hit in hits])

    def _user(self, who: str | tuple[str, ...]) -> User:
        return who if isinstance(who, str) else [Bought(item, self._today) for item in who]

    def _told(self, lines: Sequence[tuple[str, float]]) -> Result:
        items: list[JsonValue] = []
        for item_id, score in lines:
            title, price = self._shown.get(item_id, (None, None))
            items.append({"id": item_id, "title": title, "price": price, "score": round(score, 6)})
        return {"items": items}
