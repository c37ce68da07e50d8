"""Client of Ray Serve's REST interface (https://docs.ray.io/en/latest/serve/api, on the dashboard port).

Answers are untrusted: bounded in time and size, and checked against a schema, so that a partial or
hostile answer is "the site did not answer", never a wrong replica count.
"""

from __future__ import annotations

import csv
import http.client
import io
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr, TypeAdapter, ValidationError

from serving.application import IMPORT_PATH, INGRESS_DEPLOYMENT
from serving.errors import HcctlError, SiteUnreachable
from serving.sites.site import Application, ApplicationPhase, ApplicationStatus, Endpoint

ANSWER_LIMIT_BYTES = 16 << 20
MESSAGE_LIMIT = 300

_APPLICATIONS = "/api/serve/applications/"
_CHUNK_BYTES = 1 << 16
_OWN_ERROR = re.compile(r"^serving\.errors\.\w+: ")

_PHASES: dict[str, ApplicationPhase] = {
    "NOT_STARTED": "starting",
    "DEPLOYING": "starting",
    "RUNNING": "running",
    "UNHEALTHY": "unhealthy",
    "DEPLOY_FAILED": "failed",
    "DELETING": "deleting",
}


class _Answer(BaseModel):
    """Base of the parts of an answer that are read; Ray may add others."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class _Replica(_Answer):
    state: str


class _Deployment(_Answer):
    status: str
    message: str
    target_num_replicas: int = Field(ge=0)
    replicas: tuple[_Replica, ...]


class _Application(_Answer):
    status: Literal["NOT_STARTED", "DEPLOYING", "RUNNING", "UNHEALTHY", "DEPLOY_FAILED", "DELETING"]
    message: str
    deployments: dict[str, _Deployment]


class _Details(_Answer):
    applications: dict[str, _Application]


_ROUTES = TypeAdapter(dict[str, str])

Reach = Mapping[str, int]
"""Replicas that the ingress sends requests to, by application; one that is missing has none."""

ANY_NUMBER = 1 << 30

Exchange = Callable[[Endpoint, str, str, SecretStr | None, JsonValue, float], tuple[int, bytes]]
"""How to get an answer: what `call` takes and gives."""


class ServeApi:
    """Serve on one Ray cluster.

    Args:
        endpoint: the dashboard.
        token: Ray's authentication token.
        exchange: how the dashboard is reached; directly unless given.

    Every method raises SiteUnreachable when there is no valid answer in time.
    """

    def __init__(self, endpoint: Endpoint, token: SecretStr, exchange: Exchange | None = None) -> None:
        self._endpoint = endpoint
        self._token = token
        self._exchange = exchange or call

    def applications(self, reach: Reach | None, *, timeout_s: float) -> tuple[ApplicationStatus, ...]:
        """Status of all applications, given what the ingress reaches; None: all that Serve calls running."""
        return parse_applications(self._call("GET", _APPLICATIONS, None, timeout_s), reach)

    def apply(self, applications: Sequence[Application], ingress: Endpoint, *, timeout_s: float) -> None:
        """Make Serve run exactly these; starts Serve with `ingress` if it does not run yet.

        Raises:
            HcctlError: Serve refuses the configuration.
        """
        self.configure(serve_config(applications, ingress), timeout_s=timeout_s)

    def configure(self, document: JsonValue, *, timeout_s: float) -> None:
        """The same with a full configuration, as `serve_config` makes it."""
        self._call("PUT", _APPLICATIONS, document, timeout_s)

    def scale(self, application: str, replicas: int, *, timeout_s: float) -> None:
        """Set the replica target of one application.

        Raises:
            HcctlError: there is no such application, or it is not hcctl's to scale.
        """
        path = f"/api/v1/applications/{application}/deployments/{INGRESS_DEPLOYMENT}/scale"
        self._call("POST", path, {"target_num_replicas": replicas}, timeout_s)

    def _call(self, method: str, path: str, body: JsonValue, timeout_s: float) -> bytes:
        status, answer = self._exchange(self._endpoint, method, path, self._token, body, timeout_s)
        if status == 200:
            return answer
        why = f"{status}: {short_reason(answer.decode(errors='replace'))}"
        if 400 <= status < 500 and status not in {401, 403, 408, 429}:
            raise HcctlError("the site refused the change", where=path, why=why)
        raise SiteUnreachable("the site gave no answer", where=path, why=why)


def routed_applications(ingress: Endpoint, *, timeout_s: float) -> Reach:
    """What Serve's default proxy reaches: it finds the replicas of an application it has a route to.

    Raises:
        SiteUnreachable: no valid answer in time.
    """
    status, answer = call(ingress, "GET", "/-/routes", None, None, timeout_s)
    try:
        # 503: no application was ever deployed.
        return dict.fromkeys(_ROUTES.validate_json(answer).values(), ANY_NUMBER) if status == 200 else {}
    except ValidationError as error:
        raise SiteUnreachable("the ingress gave no valid answer", where="/-/routes", why=_first(error)) from None


def haproxy_servers(statistics: Endpoint, *, timeout_s: float) -> Reach:
    """What Serve's HAProxy reaches: replicas it knows of and finds healthy.

    It learns of a replica up to a second after Serve calls it running. Until then requests go through
    a slow fallback proxy, and a request to an application it has never heard of is a 404.

    Raises:
        SiteUnreachable: no valid answer in time.
    """
    status, answer = call(statistics, "GET", "/stats;csv", None, None, timeout_s)
    if status != 200:
        raise SiteUnreachable("the ingress gave no valid answer", where="/stats", why=f"status {status}")
    return parse_servers(answer.decode(errors="replace"))


def parse_servers(statistics: str) -> Reach:
    """Healthy replicas by application, from HAProxy's statistics as CSV.

    Raises:
        SiteUnreachable: it is not HAProxy's statistics.
    """
    found = Counter[str]()
    try:
        rows = csv.DictReader(io.StringIO(statistics.removeprefix("# ")))
        if "pxname" not in (rows.fieldnames or ()):
            raise KeyError("pxname")
        for row in rows:
            application = row["pxname"].removeprefix("http-")
            # Other servers are the application's other deployments and the fallback proxy.
            replica = f"SERVE_REPLICA_{application}-{INGRESS_DEPLOYMENT}-"
            if row["svname"].startswith(replica) and row["status"].startswith("UP"):
                found[application] += 1
    except (csv.Error, KeyError, AttributeError):
        raise SiteUnreachable("the ingress gave no valid answer", where="/stats", why="no statistics") from None
    return found


def serve_config(applications: Sequence[Application], ingress: Endpoint) -> dict[str, JsonValue]:
    """The full configuration for Serve's `PUT`.

    Replica counts stand in an override of the ingress deployment: in `args` they would make every
    scaling a new version of the application, with new replicas.
    """
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": ingress.host, "port": ingress.port},
        "applications": [
            {
                "name": application.name,
                "route_prefix": application.route_prefix,
                "import_path": IMPORT_PATH,
                "args": application.args,
                "external_scaler_enabled": True,
                "deployments": [{"name": INGRESS_DEPLOYMENT, "num_replicas": application.replicas}],
            }
            for application in applications
        ],
    }


def parse_applications(answer: bytes, reach: Reach | None) -> tuple[ApplicationStatus, ...]:
    """What Serve says, as statuses ordered by name. A replica is ready when the ingress reaches it.

    Without `reach` it is ready when Serve says that it runs.

    Raises:
        SiteUnreachable: the answer does not have Serve's form.
    """
    try:
        details = _Details.model_validate_json(answer)
    except ValidationError as error:
        raise SiteUnreachable("the site gave no valid answer", where=_APPLICATIONS, why=_first(error)) from None
    return tuple(
        _status(name, found, ANY_NUMBER if reach is None else reach.get(name, 0))
        for name, found in sorted(details.applications.items())
    )


def short_reason(text: str) -> str:
    """The telling line of a message that may hold tracebacks, at most `MESSAGE_LIMIT` characters."""
    lines = [line for line in text.splitlines() if line.strip()]
    # A traceback's frames are indented; the error itself is the last line that is not.
    flush = [line for line in lines if not line[0].isspace()]
    line = (flush or lines or [""])[-1].strip()
    line = _OWN_ERROR.sub("", "".join(character for character in line if character.isprintable()))
    return line if len(line) <= MESSAGE_LIMIT else line[: MESSAGE_LIMIT - 1] + "…"


def call(
    endpoint: Endpoint, method: str, path: str, token: SecretStr | None, body: JsonValue, timeout_s: float
) -> tuple[int, bytes]:
    """One HTTP exchange within `timeout_s`: status and body. Never through a proxy.

    Raises:
        SiteUnreachable: there is no answer in time, or a body beyond `ANSWER_LIMIT_BYTES`.
    """
    deadline_s = time.monotonic() + timeout_s
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token.get_secret_value()}"
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_s)
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.connect()
        connection.sock = _Hasty(connection.sock, deadline_s)
        connection.request(method, path, data, headers)
        response = connection.getresponse()
        parts, size = [], 0
        while chunk := response.read1(_CHUNK_BYTES):
            parts.append(chunk)
            size += len(chunk)
            if size > ANSWER_LIMIT_BYTES:
                raise TimeoutError("the answer is too long")
        if response.length:  # `read1` takes a closed connection for the end of the body
            raise http.client.IncompleteRead(b"".join(parts), response.length)
        return response.status, b"".join(parts)
    except (OSError, http.client.HTTPException, ValueError) as error:
        where = f"{endpoint.host}:{endpoint.port}{path}"
        raise SiteUnreachable("no answer", where=where, why=short_reason(str(error)) or type(error).__name__) from error
    finally:
        connection.close()


class _Hasty(socket.socket):
    """A connected socket whose reads all end at one moment; the time-out of a socket is for each read anew."""

    def __init__(self, connected: socket.socket, deadline_s: float) -> None:
        super().__init__(fileno=connected.detach())
        self._deadline_s = deadline_s
        self.settimeout(max(0.001, deadline_s - time.monotonic()))

    def recv_into(self, *args: Any) -> int:
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self.settimeout(left_s)
        return super().recv_into(*args)


def _status(name: str, found: _Application, reached: int) -> ApplicationStatus:
    deployment = found.deployments.get(INGRESS_DEPLOYMENT)
    ready = target = 0
    if deployment is not None:
        target = deployment.target_num_replicas
        ready = min(reached, sum(replica.state == "RUNNING" for replica in deployment.replicas))
    phase = _PHASES[found.status]
    # Serve calls an application that is being scaled deploying, although it serves.
    scaling = deployment is not None and deployment.status in {"UPSCALING", "DOWNSCALING"}
    if phase == "running" or (phase == "starting" and scaling):
        phase = "running" if ready else "starting"
    reasons = [part.message for part in found.deployments.values() if part.message] or [found.message]
    message = "" if phase in {"running", "deleting"} else short_reason(reasons[0])
    return ApplicationStatus(name, phase, message, ready, target)


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))[:100]}: {first['msg']}"[:MESSAGE_LIMIT]
