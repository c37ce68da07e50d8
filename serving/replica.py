"""The Serve deployment that runs one version of a model. Imported by Ray only; imports ray.

Batches: requests wait at a gate while the model is busy, and leave it together when the model is
free. Without the gate `serve.batch` closes a batch every `batch_wait_s` whether or not the model
could take it, so a busy replica would work off batches of one.
"""

from __future__ import annotations

import asyncio
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import JsonValue
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from serving.application import INGRESS_DEPLOYMENT
from serving.errors import InvalidInput
from serving.model import (
    VERSION_HEADER,
    Answer,
    ModelRequest,
    Result,
    failure,
    import_target,
    parse_request,
    predict,
    to_answer,
)
from serving.predictor import load
from serving.registry import verify_version
from serving.spec import ModelSpec

DRAIN_POLL_S = 0.2
"""How often a leaving replica looks whether its last request is done."""

HEALTH_PERIOD_S = 1.0
"""A killed replica is replaced after at most this long; Serve's default is 10 s."""

LOAD_TRIES = 2
"""A version that cannot be loaded is reported after two tries; Serve's default of 20 takes minutes."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
"""The gateway sets its own; what passes it by must not fill the log or the answer."""

logger = logging.getLogger("ray.serve")


class Replica:
    """One replica: checks and loads the version, then answers requests in batches."""

    def __init__(
        self, version: str, version_dir: str, model: dict[str, JsonValue], bucket: dict[str, JsonValue] | None = None
    ) -> None:
        spec = ModelSpec.model_validate(model)
        self._version = version
        self._model = load(spec, _here(version_dir, bucket))
        self._hold_s = spec.emulated_accelerator_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._device = asyncio.Lock()
        self._free = asyncio.Event()
        self._free.set()
        self._score.set_max_batch_size(spec.max_batch_size)
        self._score.set_batch_wait_timeout_s(spec.batch_wait_s)

    async def __call__(self, request: Request) -> Response:
        """Answer one HTTP request."""
        given = request.headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        try:
            path = request.scope["path"].removeprefix(request.scope.get("root_path", "")) or "/"
            parsed = parse_request(path, request.query_params.items(), await request.body())
            await self._free.wait()
            answer = to_answer(await self._score(parsed))
        except Exception as error:
            answer = self._failed(error, request_id)
        headers = {VERSION_HEADER: self._version}
        return Response(answer.body, answer.status, headers, media_type="application/json")

    @serve.batch  # type: ignore[untyped-decorator]
    async def _score(self, requests: list[ModelRequest]) -> list[Result]:
        """Hold the device for one batch: the time it takes, but at least the declared one."""
        # serve.batch splits a batch by the multiplexing header, which any client can send, and
        # runs the parts side by side; the lock keeps the device to one of them.
        async with self._device:
            self._free.clear()
            try:
                loop = asyncio.get_running_loop()
                until_s = loop.time() + self._hold_s
                results = await loop.run_in_executor(self._thread, predict, self._model, requests)
                await asyncio.sleep(until_s - loop.time())
            finally:
                self._free.set()
        return results

    def _failed(self, error: Exception, request_id: str) -> Answer:
        if not isinstance(error, InvalidInput):
            logger.error("request %s failed", request_id, exc_info=error)
        return failure(error, request_id)


def build(
    version: str,
    version_dir: str,
    spec: ModelSpec,
    bucket: dict[str, JsonValue] | None = None,
    resources: dict[str, float] | None = None,
) -> serve.Application:
    """The Serve application of a version.

    Args:
        version: its id.
        version_dir: its files.
        spec: the model section of the service.
        bucket: from where each process that needs the files fetches them; None: they are there.
        resources: what a replica reserves of its node's, besides processors and GPUs.
    """
    target = import_target(spec.import_path)
    if isinstance(target, serve.Application):
        # Serve has no public way to set options of a deployment that is already bound.
        return serve.Application(_with_options(target._bound_deployment, spec, resources))
    if isinstance(target, serve.Deployment):
        config = verify_version(_here(version_dir, bucket)).config | spec.config
        return _with_options(target, spec, resources).bind(**config)
    bound = serve.deployment(Replica)
    return _with_options(bound, spec, resources).bind(version, version_dir, spec.model_dump(mode="json"), bucket)


def _here(version_dir: str, bucket: dict[str, JsonValue] | None) -> Path:
    """The version's folder; where it comes from a bucket, fetched and checked."""
    if bucket is None:
        return Path(version_dir)
    from serving.copies.bucket import BucketCopy
    from serving.copies.cache import fetched
    from serving.spec_artefacts import Bucket

    return fetched(Path(version_dir), BucketCopy(Bucket.model_validate(bucket)).fetch)


def _with_options(
    deployment: serve.Deployment, spec: ModelSpec, resources: dict[str, float] | None
) -> serve.Deployment:
    reserved: dict[str, Any] = {"num_cpus": spec.num_cpus, "num_gpus": spec.num_gpus}
    own = deployment.ray_actor_options or {}
    if resources:
        reserved["resources"] = (own.get("resources") or {}) | resources
    return deployment.options(
        name=INGRESS_DEPLOYMENT,
        num_replicas=1,
        autoscaling_config=None,
        max_ongoing_requests=spec.slots_per_replica,
        # Serve counts a request as queued from its arrival until it has a slot, even a free one, so
        # requests that arrive together need room for all slots on top.
        max_queued_requests=spec.slots_per_replica + spec.max_queued_requests,
        backpressure_config={"status_code": 503, "retry_after_s": 1},
        ray_actor_options=own | reserved,
        graceful_shutdown_timeout_s=spec.drain_s,
        graceful_shutdown_wait_loop_s=DRAIN_POLL_S,
        health_check_period_s=HEALTH_PERIOD_S,
        max_constructor_retry_count=LOAD_TRIES,
        # Only a registry that moved changes a running application; it is then replaced without a gap.
        max_surge_percent=100,
        # Every request is logged once, at the gateway.
        logging_config={"enable_access_log": False},
    )
