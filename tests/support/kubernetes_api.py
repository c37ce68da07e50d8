"""An API server in this process, over real HTTP on loopback: the objects of `kubernetes_objects`, and faults on demand.

Rights can be taken by verb and resource, answers replaced by errors or silence, and lists held back in the past.
Services answer through its proxy by whatever function a test gives them.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.support.json_fields import Object, json_patched, merged
from tests.support.kubernetes_objects import Kind, Objects, Refused
from tests.support.kubernetes_selectors import selected

KINDS = (
    Kind("ray.io", "v1", "rayservices", "RayService", has_status=True),
    Kind("ray.io", "v1", "rayclusters", "RayCluster", has_status=True),
    Kind("hcctl.dev", "v1", "hybridservices", "HybridService", has_status=True),
    Kind("hcctl.dev", "v1", "hybridreleases", "HybridRelease", has_status=True),
    Kind("", "v1", "pods", "Pod", has_status=True),
    Kind("", "v1", "secrets", "Secret"),
    Kind("", "v1", "configmaps", "ConfigMap"),
    Kind("", "v1", "services", "Service"),
    Kind("", "v1", "events", "Event"),
    Kind("apps", "v1", "daemonsets", "DaemonSet", has_status=True),
    Kind("coordination.k8s.io", "v1", "leases", "Lease"),
)
TOKEN = "token-of-hcctl"
BODY_LIMIT_BYTES = 1 << 22

Service = Callable[[str, str, dict[str, str], bytes], tuple[int, bytes]]
"""Method, path, headers and body to status and body."""

_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/(?P<version>[^/]+)/namespaces/(?P<namespace>[^/]+)/(?P<plural>[^/]+)"
    r"(?:/(?P<name>[^/]+)(?:/(?P<subresource>[^/]+)(?P<rest>/.*)?)?)?"
)


@dataclass
class Fault:
    """What happens instead of an answer."""

    status: int
    """0: nothing at all, until the server ends."""
    times: int
    verb: str = ""
    plural: str = ""


@dataclass
class _Request:
    method: str
    verb: str
    kind: Kind
    namespace: str
    name: str
    subresource: str
    rest: str
    query: dict[str, str]
    content_type: str
    headers: dict[str, str]
    body: bytes

    @property
    def manager(self) -> str:
        return self.query.get("fieldManager", "unknown")

    def object(self) -> Object:
        """The body as an object."""
        try:
            found = yaml.safe_load(self.body) if "yaml" in self.content_type else json.loads(self.body)
        except (ValueError, yaml.YAMLError) as error:
            raise Refused(400, "BadRequest", f"the body cannot be read: {error}") from None
        if not isinstance(found, dict):
            raise Refused(400, "BadRequest", "the body is no object")
        return found


@dataclass
class KubernetesDouble:
    """The API server; use it as a context manager."""

    objects: Objects = field(default_factory=Objects)
    kinds: tuple[Kind, ...] = KINDS
    services: dict[tuple[str, str], Service] = field(default_factory=dict)
    """By namespace and `name:port`."""
    denied: set[tuple[str, str]] = field(default_factory=set)
    """Verb and resource, such as `patch` and `rayclusters` or `create` and `services/proxy`."""
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Verb and resource of all that was asked."""
    agents: list[tuple[str, str, str, str]] = field(default_factory=list)
    """User agent, verb, resource and name of all that was asked and may change something."""
    logs: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """By pod and container: lines with their time stamps, as the kubelet gives them. Without: it has not begun."""
    changes: list[tuple[str, str, str, str]] = field(default_factory=list)
    """Those of them that were not refused."""
    _past: dict[tuple[str, str], list[Object]] | None = None
    _connections: set[socket.socket] = field(default_factory=set)

    def __enter__(self) -> KubernetesDouble:
        self._serve(0)
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def restart(self, *, down_s: float = 0.0) -> None:
        """End, with all connections and watches, and come back at the same address with the same objects."""
        port = self._server.server_port
        self._end()
        time.sleep(down_s)
        self._serve(port)

    def _serve(self, port: int) -> None:
        self._ended = threading.Event()
        double, self._connections = self, set()

        class Handler(_Handler):
            api = double

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def _end(self) -> None:
        self._ended.set()
        with self.objects.changed:
            self.objects.changed.notify_all()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.cut()

    def cut(self) -> None:
        """Break all connections, watches among them; new ones are taken."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def kind(self, plural: str) -> Kind:
        """A kind by its plural."""
        return next(kind for kind in self.kinds if kind.plural == plural)

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig for it, with the token it wants."""
        file = folder / "kubeconfig.yaml"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "double",
            "contexts": [{"name": "double", "context": {"cluster": "double", "user": "hcctl"}}],
            "clusters": [{"name": "double", "cluster": {"server": self.url}}],
            "users": [{"name": "hcctl", "user": {"token": TOKEN}}],
        }
        file.write_text(yaml.safe_dump(config))
        return file

    def fail(self, status: int, *, times: int = 1, verb: str = "", plural: str = "") -> None:
        """Answer the next requests of a kind with an error; status 0: never answer."""
        self.faults.append(Fault(status, times, verb, plural))

    @contextlib.contextmanager
    def stale(self) -> Iterator[None]:
        """Reads and lists show the present as long as this lasts, whatever is written meanwhile."""
        with self.objects.changed:
            self._past = {}
            for kind in self.kinds:
                for namespace in {key[2] for key in self.objects._stored}:
                    self._past[kind.plural, namespace] = self.objects.list(kind, namespace)
        try:
            yield
        finally:
            self._past = None

    def answer(self, request: _Request) -> tuple[int, Object]:
        """The answer to a request that is no watch and no proxied one."""
        self._check_right(request, request.subresource or "")
        if request.verb == "list":
            with self.objects.changed:
                revision = self.objects.revision
                items = [item for item in self._seen(request) if selected(item, request.query)]
            return 200, _list(request, [_shown(item, request) for item in items], revision)
        if request.verb == "get":
            return 200, _shown(self._read(request), request)
        return (201 if request.verb == "create" else 200), self._write(request)

    def _read(self, request: _Request) -> Object:
        if self._past is None:
            return self.objects.get(request.kind, request.namespace, request.name)
        for item in self._seen(request):
            if item["metadata"]["name"] == request.name:
                return item
        raise Refused(404, "NotFound", f'{request.kind.plural} "{request.name}" not found')

    def _seen(self, request: _Request) -> list[Object]:
        if self._past is not None:
            return self._past.get((request.kind.plural, request.namespace), [])
        return self.objects.list(request.kind, request.namespace)

    def _write(self, request: _Request) -> Object:
        objects, kind, namespace, name = self.objects, request.kind, request.namespace, request.name
        who, part = request.manager, request.subresource
        if request.verb == "create":
            return objects.create(kind, namespace, request.object(), who)
        if request.verb == "delete":
            asked = request.object().get("preconditions", {}) if request.body else {}
            return objects.delete(kind, namespace, name, version=asked.get("resourceVersion", ""))
        if request.verb == "update":
            return objects.replace(kind, namespace, name, request.object(), who, part)
        if "apply-patch" in request.content_type:
            if "fieldManager" not in request.query:
                raise Refused(400, "BadRequest", "fieldManager is required for apply patch")
            force = request.query.get("force") == "true"
            return objects.apply(kind, namespace, name, request.object(), who, force=force, subresource=part)
        if "merge-patch" in request.content_type:
            change = request.object()
            return objects.patch(kind, namespace, name, lambda old: merged(old, change), who, part)
        if "json-patch" in request.content_type:
            operations = json.loads(request.body)
            return objects.patch(kind, namespace, name, lambda old: json_patched(old, operations), who, part)
        raise Refused(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {part}")

    def watch(self, request: _Request) -> Iterator[Object]:
        """Events from a revision on, until the time is over; the last one is a bookmark where these are allowed."""
        self._check_right(request, "")
        deadline_s = time.monotonic() + float(request.query.get("timeoutSeconds", "60"))
        asked = request.query.get("resourceVersion", "0")
        seen = int(asked)
        if not seen:
            with self.objects.changed:
                items, seen = self.objects.list(request.kind, request.namespace), self.objects.revision
            yield from ({"type": "ADDED", "object": item} for item in items if selected(item, request.query))
        while not self._ended.is_set():
            try:
                events = self.objects.since(request.kind, request.namespace, seen)
            except Refused as refusal:
                yield {"type": "ERROR", "object": _status(refusal)}
                return
            for event in events:
                seen = event.revision
                if selected(event.object, request.query):
                    yield {"type": event.type, "object": event.object}
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                break
            with self.objects.changed:
                if self.objects.revision <= seen:
                    self.objects.changed.wait(left_s)
                elif not events:
                    seen = self.objects.revision
        if request.query.get("allowWatchBookmarks") == "true":
            kind = request.kind
            meta = {"resourceVersion": str(seen), "creationTimestamp": None}
            yield {
                "type": "BOOKMARK",
                "object": {"apiVersion": kind.api_version, "kind": kind.name, "metadata": meta},
            }

    def proxied(self, request: _Request) -> tuple[int, bytes]:
        """A service's own answer."""
        self._check_right(request, "proxy")
        service = self.services.get((request.namespace, request.name))
        if service is None:
            raise Refused(503, "ServiceUnavailable", f'no endpoints available for service "{request.name}"')
        return service(request.method, request.rest, request.headers, request.body)

    def log(self, request: _Request) -> bytes | None:
        """A pod's log, as its kubelet chooses the lines; None while it has no node."""
        self._check_right(request, "log")
        pod = self._read(request)
        names = [container["name"] for container in pod["spec"]["containers"]]
        container = request.query.get("container") or names[0]
        if container not in names:
            raise Refused(400, "BadRequest", f"container {container} is not valid for pod {request.name}")
        lines = self.logs.get((request.name, container))
        if lines is None and not pod["spec"].get("nodeName"):
            return None
        if lines is None:
            why = f'container "{container}" in pod "{request.name}" is waiting to start: ContainerCreating'
            raise Refused(400, "BadRequest", why)
        return log_of(lines, request.query)

    def injected(self, request: _Request) -> int | None:
        """Status of the fault that a request meets; 0 for silence, None for none."""
        for fault in self.faults:
            if fault.times and fault.verb in {"", request.verb} and fault.plural in {"", request.kind.plural}:
                fault.times -= 1
                return fault.status
        return None

    def hang(self) -> None:
        """Say nothing until the server ends."""
        self._ended.wait()

    def _check_right(self, request: _Request, subresource: str) -> None:
        resource = f"{request.kind.plural}/{subresource}" if subresource else request.kind.plural
        if (request.verb, resource) in self.denied:
            raise Refused(
                403,
                "Forbidden",
                f'{request.kind.plural} "{request.name}" is forbidden: User "hcctl" cannot {request.verb} resource '
                f'"{resource}" in API group "{request.kind.group}" in the namespace "{request.namespace}"',
            )


class _Handler(BaseHTTPRequestHandler):
    """HTTP around a `KubernetesDouble`."""

    api: KubernetesDouble
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.api._connections.add(self.connection)

    def finish(self) -> None:
        self.api._connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def do_any(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(min(length, BODY_LIMIT_BYTES))
        try:
            try:
                self._answer(body)
            except Refused as refusal:
                self._send(refusal.code, json.dumps(_status(refusal)).encode())
        except (BrokenPipeError, ConnectionResetError):  # whom the answer is for may have been killed
            self.close_connection = True

    def _answer(self, body: bytes) -> None:
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refused(401, "Unauthorized", "Unauthorized")
        request = self._request(body)
        if request is None:
            self._send(404, b"404 page not found\n", "text/plain")
            return
        self.api.requests.append((request.verb, request.kind.plural))
        agent = (request.headers.get("user-agent", ""), request.verb, request.kind.plural, request.name)
        if request.method != "GET":
            self.api.agents.append(agent)
        injected = self.api.injected(request)
        if injected == 0:
            self.api.hang()
            self.close_connection = True
            return
        if injected is not None:
            raise Refused(injected, "Injected", f"the server is told to answer {injected}")
        if request.subresource == "proxy":
            self._send(*self.api.proxied(request))
        elif request.subresource == "log":
            body = self.api.log(request)
            self._send(204 if body is None else 200, body or b"", "text/plain")
        elif request.verb == "watch":
            self._stream(self.api.watch(request))
        else:
            status, answer = self.api.answer(request)
            if request.method != "GET":
                self.api.changes.append(agent)
            self._send(status, json.dumps(answer).encode())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_any  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _request(self, body: bytes) -> _Request | None:
        parts = urlsplit(self.path)
        found = _PATH.fullmatch(unquote(parts.path))
        if found is None:
            return None
        group, version, plural = found["group"] or "", found["version"], found["plural"]
        kind = next((k for k in self.api.kinds if (k.group, k.version, k.plural) == (group, version, plural)), None)
        if kind is None:
            return None
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        proxied = found["subresource"] == "proxy"
        verb = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[self.command]
        if verb == "get" and not found["name"]:
            verb = "watch" if query.get("watch") in {"1", "true"} else "list"
        return _Request(
            method=self.command,
            verb=verb,
            kind=kind,
            namespace=found["namespace"],
            name=found["name"] or "",
            subresource=found["subresource"] or "",
            rest=(found["rest"] or "") + (f"?{parts.query}" if proxied and parts.query else ""),
            query=query,
            content_type=self.headers.get("Content-Type", ""),
            headers={key.lower(): value for key, value in self.headers.items()},
            body=body,
        )

    def _send(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, events: Iterator[Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            line = json.dumps(event).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


def _list(request: _Request, items: list[Object], revision: int) -> Object:
    meta = {"resourceVersion": str(revision)}
    if _metadata_only(request):  # an empty one is null, as the real server writes it
        return {
            "apiVersion": "meta.k8s.io/v1",
            "kind": "PartialObjectMetadataList",
            "metadata": meta,
            "items": items or None,
        }
    kind = request.kind
    return {"apiVersion": kind.api_version, "kind": f"{kind.name}List", "metadata": meta, "items": items}


def _metadata_only(request: _Request) -> bool:
    return "as=PartialObjectMetadata" in request.headers.get("accept", "")


def log_of(lines: list[str], query: dict[str, str]) -> bytes:
    """What the kubelet gives of these lines: those since a second, of them the last, of these so many bytes."""
    since_s = 0.0
    if "sinceTime" in query:
        since_s = datetime.fromisoformat(query["sinceTime"]).timestamp()
    if "sinceSeconds" in query:
        since_s = time.time() - int(query["sinceSeconds"])
    found = [line for line in lines if datetime.fromisoformat(line.partition(" ")[0]).timestamp() >= since_s]
    if "tailLines" in query:
        found = found[len(found) - min(len(found), int(query["tailLines"])) :]
    if query.get("timestamps") != "true":
        found = [line.partition(" ")[2] for line in found]
    return "".join(f"{line}\n" for line in found).encode()[: int(query.get("limitBytes", 1 << 40))]


def _shown(item: Object, request: _Request) -> Object:
    """The object, or its metadata where no more is asked for."""
    if not _metadata_only(request):
        return item
    return {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": item["metadata"]}


def _status(refusal: Refused) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": refusal.message,
        "reason": refusal.reason,
        "details": {"causes": refusal.causes},
        "code": refusal.code,
    }
