"""How each parser is fed, and what must hold for an input it accepts. Property failures are AssertionErrors."""

from __future__ import annotations

import io
import json
import math
import socket
import threading
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import SecretStr
from safetensors import deserialize

from autoscaler.simulation.trace import from_trace
from cli.commands.scale import _counts, _duration_s
from cli.commands.version import _json_object, _metric
from cli.demo.arrivals import MAX_ARRIVALS, poisson_arrivals
from serving import strict_yaml
from serving.artefact import read_manifest
from serving.bodies import decode_body, encode_body
from serving.errors import SiteUnreachable
from serving.gateway.admin import AdminSocket
from serving.gateway.keys import KeyFile
from serving.gateway.live import routes_in_force
from serving.gateway.logline import parse as parse_line
from serving.gateway.logstream import LogStream
from serving.loading import load_project, load_service, parse_service
from serving.manifest import MANIFEST_FILE, ArtefactFile, Manifest
from serving.project import HybridProject
from serving.recommender.orders.data import INTERACTIONS, ITEMS, load_orders
from serving.registry import _declare
from serving.relief.settings import ReliefServices, read_services
from serving.sites import notices
from serving.sites.ports import claim_ports, recorded_ports
from serving.sites.processes import is_alive, read_record, write_record
from serving.sites.serve_api import (
    MESSAGE_LIMIT,
    ServeApi,
    haproxy_servers,
    parse_applications,
    parse_servers,
    routed_applications,
)
from serving.sites.site import Endpoint, Notice
from serving.sqlite_store import SqliteStore
from serving.supervisor import read_plan, write_plan
from serving.weights import read_header
from tests.fuzz.target import Unusable, json_object
from tests.support.gateway_routes import routes, service, track

HERE = Endpoint("127.0.0.1", 18_001)


def service_file(data: bytes, folder: Path) -> None:
    """A service is the same after it was stored."""
    found = load_service(written(folder / "service.yaml", data))
    assert parse_service(json.loads(found.model_dump_json(by_alias=True))) == found


def project_file(data: bytes, folder: Path) -> None:
    """A project is the same after it was stored."""
    found = load_project(written(folder / "hcctl.yaml", data))
    assert HybridProject.model_validate_json(found.model_dump_json(by_alias=True)) == found


def plain_yaml(data: bytes, _: Path) -> None:
    """What is not refused as ambiguous means the same to another reader."""
    assert strict_yaml.parse(data, name="fuzz.yaml").data == yaml.load(data, OtherReader)


class OtherReader(yaml.SafeLoader):
    """Reads values as PyYAML does, and keys as the text they are."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}


def manifest_file(data: bytes, folder: Path) -> None:
    """A manifest whose hashes fit is written back as it means."""
    version = folder / _version_in(data)
    version.mkdir()
    written(version / MANIFEST_FILE, data)
    found = read_manifest(version)
    assert Manifest.from_json(found.to_json()) == found


def declared_manifest(data: bytes, _: Path) -> None:
    """What can be declared can be sealed, written and read."""
    sealed = _declare({"name": "", **json_object(data)}).seal(
        [ArtefactFile(name="a.json", sha256="0" * 64, size_bytes=1)]
    )
    assert Manifest.from_json(sealed.to_json()) == sealed


def safetensors_header(data: bytes, _: Path) -> None:
    """What is accepted, the library that loads it later reads alike."""
    found = read_header(io.BytesIO(data), len(data))
    loaded = {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in deserialize(data)}
    assert loaded == {tensor.name: (tensor.dtype, tensor.shape) for tensor in found}


def orders(data: bytes, folder: Path, name: str) -> None:
    """Every line names a user and an item there is, with finite numbers."""
    files = {ITEMS: b"item_id,title,median_price\na,Cup,1.5\nb,Pot,2\n"}
    files[INTERACTIONS] = b"user_id,item_id,timestamp,quantity\nu,a,1,1\nv,b,2,3\n"
    for other, content in files.items():
        if other != name.removesuffix(".gz"):
            written(folder / other, content)
    written(folder / name, data)
    found = load_orders(folder)
    assert len(found) > 0
    assert set(found.item.tolist()) <= set(range(len(found.item_ids)))
    assert set(found.user.tolist()) == set(range(len(found.user_ids)))
    assert (np.diff(found.timestamp_s) >= 0).all()
    assert np.isfinite(found.quantity).all()
    assert np.isfinite(found.prices).all()


def trace(data: bytes, folder: Path) -> None:
    """A trace is finite rates, of which arrivals can be drawn."""
    curve = from_trace(written(folder / "trace.csv", data))
    assert np.isfinite(curve.rate_rps).all()
    assert (curve.rate_rps >= 0).all()
    assert math.isfinite(curve.duration_s)
    assert len(poisson_arrivals(curve, seed=1)) <= 2 * MAX_ARRIVALS


def log_line(data: bytes, _: Path) -> None:
    """Names of a record are labels, times are not negative."""
    found = parse_line(data)
    assert all(part == "" or part.replace("-", "a").isalnum() for part in (found.service, found.site))
    assert found.total_s >= 0
    assert found.queue_s is None or found.queue_s >= 0
    assert 100 <= found.status <= 599


def log_stream(data: bytes, folder: Path) -> None:
    """Complete lines arrive in order and unchanged, in whatever pieces they are sent."""
    stream = LogStream(folder / "log.sock")
    lines: list[bytes] = []
    with closing(stream), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "log.sock"))
        lines += stream.lines(1)
        for start in range(0, len(data), 4_096):
            client.sendall(data[start : start + 4_096])
            lines += stream.lines(1)
    assert lines == data.split(b"\n")[:-1]


def admin_answer(data: bytes, _: Path) -> None:
    """Routes that are read back are those of a known service, within their bounds."""
    client = _answering(socket.AF_UNIX)
    client.answer = data
    shop = routes(service(), track("/shop-1", private=(HERE, 4), cloud=(HERE, 8)))
    running = AdminSocket(Path(client.address)).running()
    for server in running.live.servers:
        assert server.limit >= 0
        assert server.in_use >= 0
    assert {route.service.name for route in routes_in_force((shop,), running.live, running.shares, running.paths)} <= {
        "shop"
    }


def site_answer(data: bytes, _: Path) -> None:
    """One raw HTTP answer, taken for each of the questions that a site is asked."""
    client = _answering(socket.AF_INET)
    client.answer = data
    here = Endpoint("127.0.0.1", int(client.address))
    questions = (
        lambda: ServeApi(here, SecretStr("token")).applications({"shop-1": 2}, timeout_s=1),
        lambda: routed_applications(here, timeout_s=1),
        lambda: haproxy_servers(here, timeout_s=1),
    )
    refusals = []
    for question in questions:
        try:
            question()
        except SiteUnreachable as refusal:
            refusals.append(refusal)
    if len(refusals) == len(questions):
        raise refusals[-1]


def applications(data: bytes, _: Path) -> None:
    """No more replicas are ready than the ingress reaches, and messages are one bounded line."""
    for found in parse_applications(data, {"shop-1": 2}):
        assert 0 <= found.replicas_ready <= 2
        assert found.replicas_target >= 0
        assert len(found.message) <= MESSAGE_LIMIT
        assert found.message.isprintable()


def statistics(data: bytes, _: Path) -> None:
    """Counts are of lines that are there."""
    text = data.decode(errors="replace")
    assert sum(parse_servers(text).values()) <= len(text.splitlines())


def process_record(data: bytes, folder: Path) -> None:
    """A record is the same after it was written again, and names no process that runs."""
    file = written(folder / "process.json", data)
    found = read_record(file)
    if found is None:
        raise Unusable
    assert not is_alive(found)
    write_record(file, found)
    assert read_record(file) == found


def supervisor_plan(data: bytes, folder: Path) -> None:
    """A plan is the same after it was written again, and each child has a program."""
    file = written(folder / "plan.json", data)
    found = read_plan(file)
    assert all(child.command for child in found.children)
    write_plan(file, found)
    assert read_plan(file) == found


def relief_settings(data: bytes, folder: Path) -> None:
    """Each service of the file is found under its own name, and is the same after it was written again."""
    file = folder / "relief.json"
    found = read_services(written(file, data))
    assert [service["name"] for service in json.loads(data)["services"]] == list(found)
    written(file, ReliefServices(services=list(found.values())).model_dump_json().encode())
    assert read_services(file) == found


def ports_file(data: bytes, folder: Path) -> None:
    """Whatever stands in the files, a site gets ports apart from all others of its project's, and keeps them."""
    file, shared = written(folder / "ports.json", data), written(folder / "claims.json", data)
    others = [ports for name in ("cloud", "third") if (ports := recorded_ports(file, name))]
    chosen = claim_ports(file, "private", 4, shared=shared, at_s=0.0)
    assert recorded_ports(file, "private") == chosen
    assert all(chosen.end <= other.base or other.end <= chosen.base for other in others)


def notices_file(data: bytes, folder: Path) -> None:
    """Each notice ends at some time, and all are the same after one more was added."""
    written(folder / notices.FILE, data)
    found = notices.read_notices(folder)
    assert all(math.isfinite(notice.ends_s) for notice in found)
    one_more = Notice("fuzz", "spot", 1.0)
    notices.add_notice(folder, one_more, now_s=-math.inf)
    assert notices.read_notices(folder) == (*found, one_more)


def keys_file(data: bytes, folder: Path) -> None:
    """Keys that are read stay when another one is made and revoked."""
    keys = KeyFile(written(folder / "keys.json", data))
    found = keys.list()
    keys.create("fuzz-fuzz", at_s=1.0)
    keys.revoke("fuzz-fuzz")
    assert sorted(keys.list(), key=repr) == sorted(found, key=repr)


def body(data: bytes, _: Path) -> None:
    """A body that can be stored is read back as the same JSON."""
    found = json_object(data)
    assert decode_body(encode_body(found, "fuzz")) == found


def state_database(data: bytes, folder: Path) -> None:
    """What is read, is read with its checksum; `check` finds the rest."""
    store = SqliteStore(written(folder / "state.db", data))
    try:
        assert all(document.revision > 0 for document in (*store.intents("service"), *store.observations("daemon")))
        store.decisions()
        store.ledger()
        store.open_actions()
    finally:
        store.close()


def duration(data: bytes, _: Path) -> None:
    """A duration is a positive, finite number of seconds."""
    assert 0 < _duration_s(_argument(data)) <= 86_400 * 1_000_000


def counts(data: bytes, _: Path) -> None:
    """Counts are whole numbers by site."""
    found = _counts(tuple(_argument(data).split("\n")))
    assert all(site and 0 <= number <= 99_999 for site, number in found.items())


def metric(data: bytes, _: Path) -> None:
    """A metric that the command takes is one that the manifest takes."""
    key, value = _metric(_argument(data))
    least = {"name": "shop", "config": {}, "io_schema": {}, "provenance": {"created_at_s": 0}}
    assert _declare({**least, "metrics": {key: value}}).metrics == {key: value}
    assert math.isfinite(value)


def json_file(data: bytes, folder: Path) -> None:
    """A file of `hcctl version push` is a JSON object."""
    assert isinstance(_json_object(written(folder / "config.json", data)), dict)


def written(path: Path, data: bytes) -> Path:
    """The file with this content."""
    path.write_bytes(data)
    return path


def _argument(data: bytes) -> str:
    """An argument as Python hands it over: bytes that are not UTF-8 become surrogates."""
    return data.replace(b"\0", b"").decode("utf-8", "surrogateescape")


def _version_in(data: bytes) -> str:
    """The folder that a manifest claims to belong in, so that a sound one gets past this check."""
    try:
        found: Any = json.loads(data)["version"]
    except (ValueError, TypeError, KeyError, RecursionError):
        found = ""
    sound = isinstance(found, str) and len(found) == 64 and found.isascii() and found.isalnum()
    return found if sound else "0" * 64


class Answering:
    """A server on this computer that answers every connection with `answer`, then closes it."""

    def __init__(self, family: socket.AddressFamily) -> None:
        self.answer = b""
        self._server = socket.socket(family)
        self._server.bind(("127.0.0.1", 0) if family is socket.AF_INET else "")  # "": the kernel chooses a name
        self._server.listen()
        name = self._server.getsockname()
        self.address = str(name[1]) if isinstance(name, tuple) else name.decode()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client, _ = self._server.accept()
            with client:
                client.recv(65_536)
                try:
                    client.sendall(self.answer)
                except OSError:
                    continue  # it had heard enough


@cache
def _answering(family: socket.AddressFamily) -> Answering:
    return Answering(family)
