"""The lighter variant of a service's model, in the relief process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from serving.model import Predictor, parse_request, predict, to_answer
from serving.predictor import load
from serving.relief.settings import ReliefService

log = logging.getLogger(__name__)


class Variant:
    """Loads in a thread of its own, and answers there, one request after the other.

    Until it is loaded, and if it cannot be, it answers nothing: such requests wait for a replica. Call from an
    event loop.
    """

    def __init__(self, service: ReliefService) -> None:
        self._service = service
        self._held = 0
        self._warned = set[str]()
        self._model: Predictor | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"variant-{service.name}")
        if service.light.variant is not None and service.version:
            self._thread.submit(self._load)

    def same(self, service: ReliefService) -> bool:
        """Whether these settings have the same variant of the same version."""
        mine = self._service
        return (mine.light.variant, mine.version, mine.version_dir) == (
            service.light.variant,
            service.version,
            service.version_dir,
        )

    async def answer(self, path: str, query: Iterable[tuple[str, str]], body: bytes) -> bytes | None:
        """A good answer as JSON; None if there is no variant, no slot, or no good answer.

        Args:
            path: below the service, with the query.
            query: the same query in parts.
            body: of the request.
        """
        variant = self._service.light.variant
        if variant is None or self._model is None or self._held >= variant.slots:
            return None
        self._held += 1
        try:
            parts = list(query)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._answer, path.partition("?")[0], parts, body)
        finally:
            self._held -= 1

    def close(self) -> None:
        """Answer nothing more; what it is at is finished beside."""
        self._model = None
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _load(self) -> None:
        if self._service.light.variant is None:
            return
        extra = {"service": self._service.name}
        try:
            self._model = load(self._service.light.variant, Path(self._service.version_dir))
        except Exception:  # the code is the user's, and the other services go on
            log.exception("the lighter variant cannot be loaded", extra=extra)
        else:
            log.info("the lighter variant of %s is loaded", self._service.version[:12], extra=extra)

    def _answer(self, path: str, query: list[tuple[str, str]], body: bytes) -> bytes | None:
        """The answer if it is a good one: what this variant refuses or fails at, the model itself may answer."""
        if self._model is None:
            return None
        try:
            (result,) = predict(self._model, [parse_request(path, query, body)])
            answer = to_answer(result)
        except Exception as error:
            self._warn(type(error).__name__)
            return None
        return answer.body if answer.status == 200 else None

    def _warn(self, kind: str) -> None:
        """Say once per kind of error that it fails, without its text, which may hold what was asked."""
        if kind not in self._warned:
            self._warned.add(kind)
            log.warning("the lighter variant gives no answer: %s", kind, extra={"service": self._service.name})
