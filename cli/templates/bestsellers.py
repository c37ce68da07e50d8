"""An example model: recommends the best-selling items that are not in the basket yet.

A model class needs two methods. `load` builds it from the files of one version;
`predict_batch` answers several requests at once, each with one JSON object.
"""

import json
from pathlib import Path
from typing import Any


class Bestsellers:
    """Items by number of sales."""

    def __init__(self, sales: dict[str, int], top: int) -> None:
        self.ranking = sorted(sales, key=lambda item: -sales[item])
        self.top = top

    @classmethod
    def load(cls, directory: Path, config: dict[str, Any]) -> "Bestsellers":
        """Read `sales.json` of the version in `directory`; `config` is `model.config` of service.yaml."""
        return cls(json.loads((directory / "sales.json").read_text()), top=config.get("top", 3))

    def predict_batch(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answer requests of the form {"path": "/", "query": {}, "body": {"basket": ["tea"]}}."""
        return [self.recommend(request["body"]) for request in requests]

    def recommend(self, body: Any) -> dict[str, Any]:
        """The best-selling items beside those in the basket; `status` of an answer is its HTTP status."""
        basket = (body or {}).get("basket", []) if isinstance(body, dict | None) else None
        if not isinstance(basket, list):
            return {"status": 400, "error": "send a JSON object whose `basket` is a list of items"}
        return {"items": [item for item in self.ranking if item not in basket][: self.top]}
