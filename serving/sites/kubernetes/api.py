"""A thin client of the Kubernetes API: the calls a site makes, each bounded in time and size, with errors in words.

Access (kubeconfig, plug-ins that fetch tokens, certificates, a pod's own account) is the official client's; the calls
are plain HTTP through its connection pool, because its typed methods take no body for a proxied service, hide the
difference between an object and a kind that is not there, and wait as long as it takes.
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from serving.errors import HcctlError, InvalidInput, SiteUnreachable
from serving.sites.kubernetes.answers import (
    PODS,
    SERVICES,
    Answer,
    AnswerTooLong,
    Conflict,
    Object,
    Resource,
    checked,
    forbidden,
)
from serving.sites.kubernetes.manifest import FIELD_MANAGER
from serving.sites.serve_api import ANSWER_LIMIT_BYTES, short_reason
from serving.sites.site import Endpoint

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from pydantic import JsonValue, SecretStr

APPLY, JSON_PATCH = "application/apply-patch+yaml", "application/json-patch+json"
METADATA, METADATA_LIST = (
    f"application/json;as=PartialObjectMetadata{form};g=meta.k8s.io;v=v1" for form in ("", "List")
)
_CHUNK_BYTES = 1 << 16


class KubernetesApi:
    """The API server of one cluster.

    Every method raises SiteUnreachable when there is no answer within its time or the server is busy, and Forbidden
    when the account lacks a right.

    Args:
        client: of the official library, with access to the cluster.
        agent: what the server's audit log calls this process.
        guard: called before each request that may change anything; what it raises keeps the request back.
    """

    def __init__(
        self, client: ApiClient, *, agent: str = FIELD_MANAGER, guard: Callable[[], None] = lambda: None
    ) -> None:
        self._configuration = client.configuration
        self._pool = client.rest_client.pool_manager
        self._agent = agent
        self._guard = guard

    def with_guard(self, guard: Callable[[], None]) -> KubernetesApi:
        """The same access with another guard."""
        other = copy.copy(self)
        other._guard = guard
        return other

    def get(
        self, resource: Resource, namespace: str, name: str, *, timeout_s: float, metadata_only: bool = False
    ) -> Object | None:
        """The object, or its metadata; None if there is none of that name.

        Raises:
            UnknownKind: the cluster does not know the kind.
        """
        headers = {"Accept": METADATA} if metadata_only else None
        answer = self.request("GET", resource.path(namespace, name), headers=headers, timeout_s=timeout_s)
        if answer.status == 404 and answer.data().get("reason") == "NotFound":
            return None
        return checked(answer, "get", resource, namespace, name)

    def list_at(
        self,
        resource: Resource,
        namespace: str,
        query: Mapping[str, str],
        *,
        timeout_s: float,
        metadata_only: bool = False,
    ) -> tuple[list[Object], str]:
        """What `list` finds, or its metadata alone, and the revision at which a watch goes on."""
        headers = {"Accept": METADATA_LIST} if metadata_only else None
        answer = self.request("GET", resource.path(namespace), query=query, headers=headers, timeout_s=timeout_s)
        found = checked(answer, "list", resource, namespace)
        # An empty list of metadata alone is null: Go writes it so where nobody took care.
        items = [] if "items" in found and found["items"] is None else found.get("items")
        version = (found.get("metadata") or {}).get("resourceVersion")
        if not isinstance(items, list):
            raise SiteUnreachable("the cluster gave no valid answer", where=str(resource), why="a list without items")
        return [item for item in items if isinstance(item, dict)], str(version or "")

    def list(self, resource: Resource, namespace: str, query: Mapping[str, str], *, timeout_s: float) -> list[Object]:
        """The objects that a `labelSelector` or `fieldSelector` chooses."""
        return self.list_at(resource, namespace, query, timeout_s=timeout_s)[0]

    def watch(
        self, resource: Resource, namespace: str, query: Mapping[str, str], *, since: str, lasts_s: int
    ) -> Iterator[Object]:
        """Changes after a revision, with bookmarks, as they come; the server ends it after `lasts_s`.

        The caller ends it by closing the iterator. What the server says of an error is an event of type ERROR.
        """
        asked = {"watch": "true", "resourceVersion": since, "timeoutSeconds": str(lasts_s), **query}
        path = resource.path(namespace)
        with self._exchange("GET", path, query=asked | _BOOKMARKS, timeout_s=lasts_s + _WATCH_SLACK_S) as response:
            if response.status != 200:
                checked(Answer(response.status, _read(response, time.monotonic() + 1.0)), "watch", resource, namespace)
            yield from _events(response, f"{self._configuration.host}{path}")

    def log(self, namespace: str, pod: str, query: Mapping[str, str], *, timeout_s: float) -> bytes | None:
        """The log of a pod's container; None if the pod is gone, or the container has not begun.

        Args:
            namespace: of the pod.
            pod: its name.
            query: `container`, `tailLines` and others, as the API names them.
            timeout_s: longest time.
        """
        answer = self.request("GET", PODS.path(namespace, pod, "log"), query=query, timeout_s=timeout_s)
        if answer.status == 200:
            return answer.body
        said = answer.data()
        gone = answer.status == 404 and said.get("reason") == "NotFound"
        # Without a node there is no content; with one its kubelet says that the container waits.
        if gone or answer.status == 204 or (answer.status == 400 and "waiting to start" in str(said.get("message"))):
            return None
        if answer.status == 403:
            raise forbidden("get", "pods/log", namespace, pod)
        checked(answer, "get", PODS, namespace, pod)
        raise SiteUnreachable("the API server gave no valid answer", where=f"log of pod {pod}", why=str(answer.status))

    def create(self, resource: Resource, namespace: str, made: Object, *, timeout_s: float) -> Object:
        """Make an object; returns it as it is stored.

        Raises:
            Conflict: there is one of that name.
        """
        answer = self.request("POST", resource.path(namespace), query=_MANAGED, body=made, timeout_s=timeout_s)
        return checked(answer, "create", resource, namespace, made["metadata"]["name"])

    def replace(
        self, resource: Resource, namespace: str, made: Object, *, timeout_s: float, subresource: str = ""
    ) -> Object:
        """Put an object in the place of the one whose `resourceVersion` it carries; returns it as it is stored.

        Raises:
            Conflict: it is at another version, or gone.
        """
        name = made["metadata"]["name"]
        path = resource.path(namespace, name, subresource)
        answer = self.request("PUT", path, query=_MANAGED, body=made, timeout_s=timeout_s)
        if answer.status == 404 and answer.data().get("reason") == "NotFound":
            raise Conflict("the object is gone", where=f"{resource} {name}", why="somebody deleted it")
        return checked(answer, "update", resource, namespace, name)

    def apply(self, resource: Resource, namespace: str, wanted: Object, *, timeout_s: float) -> Object:
        """Server-side apply: make what is there have these fields, and own them. What others own is never taken.

        Raises:
            Conflict: another manager owns one of the fields and wants another value.
        """
        name = wanted["metadata"]["name"]
        query = _MANAGED | {"force": "false"}
        answer = self.request(
            "PATCH", resource.path(namespace, name), query=query, body=wanted, content_type=APPLY, timeout_s=timeout_s
        )
        return checked(answer, "patch", resource, namespace, name)

    def json_patch(
        self, resource: Resource, namespace: str, name: str, operations: Sequence[Object], *, timeout_s: float
    ) -> None:
        """Change single fields, all or none; a `test` among them that fails is a Conflict."""
        answer = self.request(
            "PATCH",
            resource.path(namespace, name),
            query=_MANAGED,
            body=list(operations),
            content_type=JSON_PATCH,
            timeout_s=timeout_s,
        )
        # The server does not say which operation failed, only that the patch does not fit what is there.
        if answer.status == 422 and "rejected our request" in str(answer.data().get("message")):
            raise Conflict("the object was changed meanwhile", where=f"{resource} {name}", why="the patch does not fit")
        checked(answer, "patch", resource, namespace, name)

    def delete(self, resource: Resource, namespace: str, name: str, *, timeout_s: float, version: str = "") -> None:
        """Delete an object and, in the background, what it owns; nothing if there is none.

        Raises:
            Conflict: it is at another `resourceVersion` than the one given.
        """
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if version:
            options["preconditions"] = {"resourceVersion": version}
        answer = self.request("DELETE", resource.path(namespace, name), body=options, timeout_s=timeout_s)
        if answer.status != 404:
            checked(answer, "delete", resource, namespace, name)

    def proxied(
        self,
        namespace: str,
        service: Endpoint,
        method: str,
        path: str,
        token: SecretStr | None,
        body: JsonValue,
        timeout_s: float,
    ) -> tuple[int, bytes]:
        """Ask a service of the cluster through the API server: status and body of the service's own answer.

        Args:
            namespace: of the service.
            service: its name and port.
            method: GET, PUT or POST.
            path: at the service.
            token: Ray's. `Authorization` is the API server's own, so it goes in another header.
            body: sent as JSON; None for none.
            timeout_s: longest time.
        """
        named = f"{service.host}:{service.port}"
        answer = self.request(
            method,
            SERVICES.path(namespace, named, f"proxy{path}"),
            body=body,
            headers={"X-Ray-Authorization": f"Bearer {token.get_secret_value()}"} if token else None,
            timeout_s=timeout_s,
        )
        said = answer.data()
        if answer.status >= 400 and said.get("kind") == "Status":  # the API server's word, not the service's
            verb = {"GET": "get", "PUT": "update"}.get(method, "create")
            if answer.status == 403:
                raise forbidden(verb, "services/proxy", namespace, named)
            why = f"{answer.status}: {short_reason(str(said.get('message')))}"
            raise SiteUnreachable("the service cannot be reached through the API server", where=named, why=why)
        return answer.status, answer.body

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: JsonValue = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> Answer:
        """One exchange, whatever its status.

        Raises:
            AnswerTooLong: it is beyond `ANSWER_LIMIT_BYTES`.
            SiteUnreachable: no answer in time.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._exchange(
            method, path, query=query, body=body, content_type=content_type, headers=headers, timeout_s=timeout_s
        ) as response:
            return Answer(response.status, _read(response, deadline_s))

    @contextmanager
    def _exchange(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: JsonValue = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> Iterator[Any]:
        """An answer whose body is still to be read."""
        import urllib3

        if method != "GET":
            self._guard()
        where = f"{self._configuration.host}{path}"
        own = {"Content-Type": content_type, "User-Agent": self._agent, **self._authorisation()}
        try:
            response = self._pool.request(
                method,
                f"{where}?{urlencode(query)}" if query else where,
                body=None if body is None else json.dumps(body).encode(),
                headers={**own, **(headers or {})},
                timeout=urllib3.Timeout(total=timeout_s),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                yield response
            except BaseException:
                response.close()  # the rest of it is not the next answer's beginning
                raise
            finally:
                response.release_conn()
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            why = short_reason(str(error)) or type(error).__name__
            raise SiteUnreachable("the API server gave no answer", where=where, why=why) from error

    def _authorisation(self) -> dict[str, str]:
        """Headers that say who asks; renews a token that has ended."""
        from kubernetes.config import ConfigException

        try:
            found: Any = self._configuration.auth_settings()
        except (ConfigException, OSError) as error:
            raise SiteUnreachable(
                "no token for the API server", where=self._configuration.host, why=short_reason(str(error))
            ) from error
        value = found.get("BearerToken", {}).get("value")
        return {"Authorization": value} if value else {}


class Access(Protocol):
    """Which cluster is meant, as hcctl.yaml says it."""

    @property
    def kubeconfig(self) -> str | None: ...
    @property
    def context(self) -> str | None: ...


def connect(
    spec: Access,
    root: Path,
    *,
    agent: str = FIELD_MANAGER,
    guard: Callable[[], None] = lambda: None,
) -> KubernetesApi:
    """Access to the cluster that is declared; `root` is the project's folder, the rest as of `KubernetesApi`.

    Raises:
        InvalidInput: the kubeconfig cannot be used, or has no such context.
        HcctlError: the client library is not installed.
    """
    import yaml

    try:
        from kubernetes import client, config
    except ImportError as error:
        raise HcctlError(
            "the Kubernetes client is not installed", why=str(error), next_step="run `pip install 'hcctl[kubernetes]'`"
        ) from None
    try:
        if spec.kubeconfig is None and "KUBECONFIG" not in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ:
            own = client.Configuration()
            config.load_incluster_config(client_configuration=own)
            return KubernetesApi(client.ApiClient(own), agent=agent, guard=guard)
        file = None if spec.kubeconfig is None else str(root / Path(spec.kubeconfig).expanduser())
        found = config.new_client_from_config(file, spec.context, persist_config=False)
        return KubernetesApi(found, agent=agent, guard=guard)
    except (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise InvalidInput(
            "the cluster's kubeconfig cannot be used",
            where="kubernetes.kubeconfig",
            why=short_reason(str(error)) or type(error).__name__,
            next_step="give a kubeconfig and a context that `kubectl --context` takes",
        ) from error


_MANAGED = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
_BOOKMARKS = {"allowWatchBookmarks": "true"}
_WATCH_SLACK_S = 10.0
"""A watch that the server has not ended so long after its time is dead."""


def _events(response: Any, where: str) -> Iterator[Object]:
    """The events of a watch, one a line."""
    rest = b""
    while part := response.read1(_CHUNK_BYTES):
        *lines, rest = (rest + part).split(b"\n")
        if len(rest) > ANSWER_LIMIT_BYTES:
            raise ValueError("an event is too long")
        for line in filter(None, lines):
            event = json.loads(line)
            if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
                raise SiteUnreachable("the API server gave no valid answer", where=where, why="an event is no object")
            yield event


def _read(response: Any, deadline_s: float) -> bytes:
    """The whole body, within the deadline and the limit."""
    parts, size = [], 0
    while part := response.read1(_CHUNK_BYTES):
        parts.append(part)
        size += len(part)
        if size > ANSWER_LIMIT_BYTES:
            limit = f"more than {ANSWER_LIMIT_BYTES >> 20} MiB"
            raise AnswerTooLong("the API server's answer is too long", where=response.geturl(), why=limit)
        if time.monotonic() > deadline_s:
            raise TimeoutError("timed out")
    return b"".join(parts)
