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
        answers = []
        for request in requests:
            basket = (request["body"] or {}).get("basket", [])
            items = [item for item in self.ranking if item not in basket]
            answers.append({"items": items[: self.top]})
        return answers
