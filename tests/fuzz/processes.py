"""Feeds of what runs for long and must go on: the daemon with what is stored, a replica with its requests."""

from __future__ import annotations

import asyncio
import json
import tempfile
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response

from serving.model import ModelRequest, Predictor, Result, predict
from serving.recommender.demo.artefact import load, save
from serving.recommender.demo.train import train
from serving.recommender.generated.orders import generate_orders
from serving.registry import Registry
from serving.replica import Replica
from tests.fuzz.target import json_object
from tests.support.artefacts import push
from tests.support.daemon_rig import DaemonRig

MODEL = {"import_path": "serving.recommender.demo.app:Recommender"}


def stored_intents(data: bytes, _: Path) -> None:
    """One service whose stored wishes make no sense is set aside; the loop goes on and serves the others."""
    found = json_object(data)
    rig = DaemonRig()
    rig.deploy("v1")
    rig.run(1.0)
    for kind in ("hold", "abort"):
        if isinstance(found.get(kind), dict):
            rig.store.put_intent(kind, rig.spec.name, found[kind], expected_revision=None, at_s=rig.clock())
    if isinstance(found.get("service"), dict):
        rig.store.put_intent("service", rig.spec.name, found["service"], expected_revision=None, at_s=rig.clock())
        rig.store.put_intent("service", "other", found["service"], expected_revision=None, at_s=rig.clock())
    rig.run(1.0)
    rig.restart()
    rig.run(1.0)


def stored_state(data: bytes, _: Path) -> None:
    """A daemon starts from a stored state, or says that it cannot."""
    rig = DaemonRig()
    rig.store.put_observation("daemon", "state", json_object(data), at_s=rig.clock())
    rig.deploy("v1")
    rig.restart()
    rig.run(2.0)


def request(data: bytes, _: Path) -> None:
    """Whatever a client sends to a replica, the answer is JSON with a status, the version and no inner detail."""
    answer = _loop().run(_asked(data))
    assert answer.status_code in {200, 400, 404}, answer.body
    assert answer.headers["x-hcctl-version"] == "a" * 64
    said = json.loads(bytes(answer.body))
    assert isinstance(said, dict)
    assert len(said.get("request_id", "")) <= 64
    assert answer.status_code == 200 or len(answer.body) < 1_000


def recommender_items(data: bytes, folder: Path) -> None:
    """What is loaded has one id, title and price per item of the model."""
    for path in _artefact().iterdir():
        (folder / path.name).write_bytes(path.read_bytes() if path.name != "items.json" else data)
    shop = load(folder, dim=16, history=128)
    assert len(shop.item_ids) == len(shop.titles) == len(shop.prices) == len(shop.popularity)


class OneByOne:
    """In the place of `serve.batch`, whose queue works inside of Ray only."""

    model: Predictor

    async def __call__(self, request: ModelRequest) -> Result:
        return predict(self.model, [request])[0]

    def set_max_batch_size(self, size: int) -> None:
        """There are no batches."""

    def set_batch_wait_timeout_s(self, wait_s: float) -> None:
        """There are no batches."""


class Alone(Replica):
    """A replica outside of Ray."""

    _score = OneByOne()


def prepare() -> None:
    """Train a small model, and load it into a replica."""
    _replica()


async def _asked(data: bytes) -> Response:
    """The replica's answer to `METHOD TARGET\\nname: value\\n\\nbody`, given as an HTTP server would."""
    head, _, body = data.partition(b"\n\n")
    line, *headers = head.split(b"\n")
    method, _, target = line.partition(b" ")
    path, _, query = target.partition(b"?")
    scope = {
        "type": "http",
        "method": method.decode("latin-1"),
        "path": unquote(path.decode("latin-1"), errors="replace"),
        "root_path": "/shop-1",
        "query_string": query,
        "headers": [tuple(part.strip() for part in header.lower().partition(b":")[::2]) for header in headers],
    }

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    return await _replica()(Request(scope, receive))


@cache
def _loop() -> asyncio.Runner:
    return asyncio.Runner()


@cache
def _replica() -> Alone:
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Path(folder) / "registry")
        manifest = push(registry, _artefact(), config={"dim": 16, "history": 128})
        replica = Alone("a" * 64, str(registry.directory(manifest.version)), MODEL)
    replica._score.model = replica._model
    return replica


@cache
def _artefact() -> Path:
    folder = Path(_kept().name)
    save(train(generate_orders(2, 20, 30, 20), epochs=1, dim=16), folder)
    return folder


@cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()
