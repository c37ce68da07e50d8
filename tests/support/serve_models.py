"""Serve deployments as a user would bring them."""

from __future__ import annotations

from typing import Any

from ray import serve
from starlette.requests import Request


@serve.deployment
class Greeter:
    """A deployment of its own, configured when it is bound."""

    def __init__(self, word: str) -> None:
        self._word = word

    async def __call__(self, request: Request) -> str:
        return f"{self._word} {request.query_params['name']}"


@serve.deployment
class Doubler:
    """The inner part of an application."""

    async def double(self, number: int) -> int:
        return 2 * number


@serve.deployment
class Front:
    """The ingress of an application: asks the inner part."""

    def __init__(self, doubler: Any) -> None:
        self._doubler = doubler

    async def __call__(self, request: Request) -> dict[str, int]:
        return {"double": await self._doubler.double.remote(int(request.query_params["number"]))}


composed = Front.bind(Doubler.bind())
