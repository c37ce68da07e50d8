"""The HTTP surfaces of hcctl's own processes, served on loopback, each with an OpenAPI description of what it promises.

They are described here and not in the product: only hcctl's daemon, its gateways and Prometheus are to call them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric as Family

from serving.gateway.agent import Agent, LineStore
from serving.gateway.relief import RELIEF_SERVICES
from serving.gateway.remote import OBSERVATION, ROUTES
from serving.metrics.families import Exposition
from serving.metrics.server import Address, MetricsServer
from serving.relief.server import ReliefServer
from serving.relief.settings import ReliefService, ReliefServices
from serving.spec_relief import ReliefLight
from tests.support.agents import served
from tests.support.fake_gateway import FakeGateway

REF = "#/components/schemas/{model}"
TEXT = {"text/plain": {"schema": {"type": "string"}}}
ANY = {"application/octet-stream": {"schema": {}}}


def described(paths: Mapping[str, Any], *models: Mapping[str, Any]) -> dict[str, Any]:
    """An OpenAPI document; schemas that pydantic made bring their own definitions."""
    parts = {name: part for model in models for name, part in model.get("$defs", {}).items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "hcctl", "version": "1"},
        "paths": dict(paths),
        "components": {"schemas": parts},
    }


def answers(**content: Any) -> dict[str, Any]:
    """Promised answers by status, as `s200=content`; None: with no body that matters."""
    return {name[1:]: {"description": "", **({"content": body} if body else {})} for name, body in content.items()}


def json_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON body of this schema, without its definitions, which stand in the document."""
    return {"application/json": {"schema": {key: part for key, part in schema.items() if key != "$defs"}}}


def query(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """An optional parameter of the query."""
    return {"name": name, "in": "query", "schema": dict(schema)}


def header(name: str, values: list[str]) -> dict[str, Any]:
    """An optional header of HAProxy's."""
    return {"name": name, "in": "header", "schema": {"enum": values}}


ROUTES_SCHEMA = ROUTES.json_schema(ref_template=REF)
OBSERVATION_SCHEMA = OBSERVATION.json_schema(ref_template=REF, mode="serialization")
AGENT = described(
    {
        "/routes": {
            "put": {
                "requestBody": {"required": True, "content": json_of(ROUTES_SCHEMA)},
                "responses": answers(s200=None, s413=None, s422=TEXT, s503=TEXT),
            }
        },
        "/observation": {"get": {"responses": answers(s200=json_of(OBSERVATION_SCHEMA), s503=TEXT)}},
        "/lines": {
            "get": {
                "parameters": [
                    query("after", {"type": "string"}),
                    query("wait_s", {"type": "number", "maximum": 0.01}),
                ],
                "responses": answers(s200=ANY, s400=TEXT),
            }
        },
    },
    ROUTES_SCHEMA,
    OBSERVATION_SCHEMA,
)
METRICS = described(
    {
        "/metrics": {"get": {"responses": answers(s200=TEXT)}},
        "/healthz": {"get": {"responses": answers(s200=TEXT, s503=TEXT)}},
    }
)
RELIEF = described(
    {
        "/-/healthz": {"get": {"responses": answers(s200=None)}},
        **{
            path: {
                method: {
                    "parameters": [
                        *({"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in names),
                        header("X-Hcctl-Service", ["shop", "another"]),
                        header("X-Hcctl-Way", ["fill", "light"]),
                        header("X-Hcctl-Sharing", ["shared", "per_caller"]),
                        header("X-Hcctl-Refuse", ["low", "normal", "full"]),
                        {"name": "X-Hcctl-Caller", "in": "header", "schema": {"type": "string"}},
                        {"name": "X-Hcctl-Prefix", "in": "header", "schema": {"type": "string"}},
                    ],
                    "requestBody": {"content": ANY},
                    "responses": answers(s400=None, s413=None, s429=None, s503=None),
                }
                for method in ("get", "post", "put", "delete", "patch")
            }
            for path, names in {"/shop-1/{rest}": ["rest"], "/{application}": ["application"]}.items()
        },
    }
)


class Counted:
    """A process with one sample and no trouble."""

    def families(self) -> Iterable[Family]:
        out = Exposition("daemon")
        out.add("hcctl_gateway_up", 1)
        return out.families()

    def trouble(self) -> str:
        return ""


@contextlib.contextmanager
def agent(folder: Path) -> Iterator[str]:
    """The agent of a gateway in a pod, without the mutual TLS that lets nobody else come so far."""
    gateway, lines = FakeGateway(), LineStore()
    lines.add([b"a line"])
    with served(Agent(gateway, lines, folder / "ready").application()) as port:
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def metrics(_: Path) -> Iterator[str]:
    """`/metrics` and `/healthz` of a process."""
    server = MetricsServer(Address("127.0.0.1", 0), Counted())
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.close()


@contextlib.contextmanager
def relief(folder: Path) -> Iterator[str]:
    """The relief process of a service that keeps answers and has no lighter variant; the gateway itself is away."""
    light = ReliefLight(max_stale_s=60)
    shop = ReliefService(name="shop", version="v1", application="/shop-1/", version_dir="", light=light)
    (folder / RELIEF_SERVICES).write_text(ReliefServices(services=[shop]).model_dump_json())
    with served(ReliefServer(folder).application()) as port:
        yield f"http://127.0.0.1:{port}"
