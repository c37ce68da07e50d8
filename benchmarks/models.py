"""The models that are served while something else is measured. Imported by replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray import serve
from starlette.requests import Request


@serve.deployment
class Trivial:
    """Answers at once: what is measured is all around it."""

    async def __call__(self, _request: Request) -> str:
        return "ok"


class Held:
    """Answers at once; `emulated_accelerator_s` says how long a batch holds the replica."""

    @classmethod
    def load(cls, _directory: Path, _config: dict[str, Any]) -> Held:
        """Nothing is in the version."""
        return cls()

    def predict_batch(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One empty answer per request."""
        return [{} for _ in requests]
