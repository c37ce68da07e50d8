"""The recommender behind `/recommend`, as a model that hcctl can serve.

Takes what `list_request` says, and answers
`{"items": [{"id", "title", "price", "score"}, ...], "source": "model" | "popularity"}`.
Import path: `serving.recommender.demo.app:Recommender`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from pydantic import JsonValue

from serving.errors import InvalidInput
from serving.model import ModelRequest, Result
from serving.recommender.demo import artefact
from serving.recommender.list_request import MAX_K, ListRequest, parse

DEFAULT_CONFIG: dict[str, JsonValue] = {"dim": 64, "history": 128}


@dataclass(frozen=True)
class _Ask:
    """A valid request: indices of what was bought, oldest first, and how many items are wanted."""

    bought: list[int]
    k: int
    exclude_bought: bool


class Recommender:
    """Answers batches of requests on one thread; each request is checked on its own."""

    def __init__(self, shop: artefact.Shop) -> None:
        self._shop = shop
        self._item_index = {item_id: index for index, item_id in enumerate(shop.item_ids)}
        self._user_index = {user_id: index for index, user_id in enumerate(shop.user_ids)}
        self._popular = np.argsort(-shop.popularity, kind="stable")[:MAX_K].tolist()

    @classmethod
    def load(cls, directory: Path, config: dict[str, JsonValue]) -> Self:
        """Load the artefact in `directory`; `config` has `dim` and `history`, as the artefact's manifest.

        Sets torch to one thread in this process: replicas scale by number, not by threads.

        Raises:
            InvalidInput: a setting is unknown or not a number from 1 to 4096.
            CorruptArtefact: the files do not fit each other or the settings.
        """
        settings = DEFAULT_CONFIG | config
        for name, value in settings.items():
            if name not in DEFAULT_CONFIG:
                known = ", ".join(DEFAULT_CONFIG)
                raise InvalidInput(
                    "unknown setting of the recommender", where=f"model.config.{name}", next_step=f"use {known}"
                )
            if type(value) is not int or not 1 <= value <= 4_096:
                raise InvalidInput("not a whole number from 1 to 4096", where=f"model.config.{name}")
        torch.set_num_threads(1)
        return cls(artefact.load(directory, **settings))  # type: ignore[arg-type]  # checked above

    def predict_batch(self, requests: list[ModelRequest]) -> Sequence[Result]:
        """Answer each request; one that is wrong gets an `InvalidInput`, its neighbours their items."""
        asks = [self._parse(request) for request in requests]
        known = [ask for ask in asks if isinstance(ask, _Ask) and ask.bought]
        modelled = iter(self._score(known))
        results: list[Result] = []
        for ask in asks:
            if not isinstance(ask, _Ask):
                results.append(ask)
            elif ask.bought:
                results.append(next(modelled))
            else:
                scores = self._shop.popularity[self._popular[: ask.k]].tolist()
                results.append(self._answer("popularity", self._popular[: ask.k], scores))
        return results

    def _score(self, asks: list[_Ask]) -> list[Result]:
        """One forward pass over all histories."""
        if not asks:
            return []
        model = self._shop.model
        histories = torch.full((len(asks), model.history), model.n_items)
        for row, ask in enumerate(asks):
            recent = ask.bought[-model.history :]
            histories[row, -len(recent) :] = torch.tensor(recent)
        with torch.inference_mode():
            scores = model(histories)
            for row, ask in enumerate(asks):
                if ask.exclude_bought:
                    scores[row, ask.bought] = -torch.inf
            best = scores.topk(min(max(ask.k for ask in asks), model.n_items))
        results: list[Result] = []
        for ask, values, items in zip(asks, best.values.tolist(), best.indices.tolist(), strict=True):
            shown = sum(value > float("-inf") for value in values[: ask.k])
            results.append(self._answer("model", items[:shown], values[:shown]))
        return results

    def _answer(self, source: str, items: list[int], scores: list[float]) -> Result:
        shop = self._shop
        return {
            "items": [
                {
                    "id": shop.item_ids[item],
                    "title": shop.titles[item],
                    "price": shop.prices[item],
                    "score": round(score, 6),
                }
                for item, score in zip(items, scores, strict=True)
            ],
            "source": source,
        }

    def _parse(self, request: ModelRequest) -> _Ask | Result:
        asked = parse(request)
        if not isinstance(asked, ListRequest):
            return asked
        bought = self._bought_by(asked.who) if isinstance(asked.who, str) else self._known_items(asked.who)
        return _Ask(bought=bought, k=asked.k, exclude_bought=asked.exclude_bought)

    def _bought_by(self, user_id: str) -> list[int]:
        user = self._user_index.get(user_id)
        if user is None:
            return []
        start, end = self._shop.history_offsets[user : user + 2]
        items: list[int] = self._shop.history_items[start:end].tolist()
        return items

    def _known_items(self, history: Sequence[str]) -> list[int]:
        """Indices of the history's items; one that left the catalogue says nothing and is passed over."""
        return [self._item_index[item_id] for item_id in history if item_id in self._item_index]
