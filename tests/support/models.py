"""A model for tests of sites: an echo with adjustable delay and failures. Starts fast: no torch."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from serving.errors import InvalidInput


class Echo:
    """Answers with what it was asked, the size of its batch and its process."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._sleep_s = config.get("sleep_s", 0.0)

    @classmethod
    def load(cls, directory: Path, config: dict[str, Any]) -> Echo:
        if config.get("fail_load"):
            raise RuntimeError("broken on purpose")
        return cls(config)

    def predict_batch(self, requests: list[dict[str, Any]]) -> list[dict[str, Any] | Exception]:
        if any(request["path"] == "/raise" for request in requests):
            raise RuntimeError("secret detail")
        time.sleep(self._sleep_s)
        return [self._answer(request, len(requests)) for request in requests]

    def _answer(self, request: dict[str, Any], batch: int) -> dict[str, Any] | Exception:
        if request["path"] == "/refuse":
            return InvalidInput("no such item")
        if request["path"] == "/status":
            return {"status": int(request["query"]["code"])}
        return {**request, "batch": batch, "pid": os.getpid()}
