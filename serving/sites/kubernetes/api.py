"""A thin client of the Kubernetes API: the calls a site makes, each bounded in time and size, with errors in words.

Access (kubeconfig, plug-ins that fetch tokens, certificates, a pod's own account) is the official client's; the calls
are plain HTTP through its connection pool, because its typed methods take no body for a proxied service, hide the
difference between an object and a kind that is not there, and wait as long as it takes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from serving.errors import HcctlError, InvalidInput, SiteUnreachable
from serving.sites.kubernetes.manifest import FIELD_MANAGER, Object
from serving.sites.serve_api import ANSWER_LIMIT_BYTES, short_reason
from serving.sites.site import Endpoint
from serving.spec_kubernetes import KubernetesSpec

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from pydantic import JsonValue, SecretStr

GUIDE = "docs/guides/kubernetes-site.md"
APPLY, JSON_PATCH = "application/apply-patch+yaml", "application/json-patch+json"
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Resource:
    """A kind of object, as its URL names it."""

    group: str
    """Empty for the core group."""
    version: str
    plural: str

    def path(self, namespace: str, name: str = "", subresource: str = "") -> str:
        """URL path of the collection, of an object, or of a part of it."""
        top = f"/apis/{self.group}" if self.group else "/api"
        parts = [f"{top}/{self.version}/namespaces/{namespace}/{self.plural}", name, subresource]
        return "/".join(quote(part, safe="/:") for part in parts if part)

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


RAY_SERVICES = Resource("ray.io", "v1", "rayservices")
RAY_CLUSTERS = Resource("ray.io", "v1", "rayclusters")
SECRETS, PODS, EVENTS, SERVICES = (Resource("", "v1", plural) for plural in ("secrets", "pods", "events", "services"))


class Forbidden(HcctlError):
    """The account may not do that; `why` names verb and resource."""


class Conflict(HcctlError):
    """The object exists, was changed meanwhile, or has a field that another manager owns."""


class UnknownKind(HcctlError):
    """The cluster has no such kind of object: its CRD is not installed."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes

    def data(self) -> Object:
        """The body as an object; empty if it is none."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class KubernetesApi:
    """The API server of one cluster.

    Every method raises SiteUnreachable when there is no answer within its time or the server is busy, and Forbidden
    when the account lacks a right.

    Args:
        client: of the official library, with access to the cluster.
    """

    def __init__(self, client: ApiClient) -> None:
        self._configuration = client.configuration
        self._pool = client.rest_client.pool_manager

    def get(self, resource: Resource, namespace: str, name: str, *, timeout_s: float) -> Object | None:
        """The object; None if there is none of that name.

        Raises:
            UnknownKind: the cluster does not know the kind.
        """
        answer = self.request("GET", resource.path(namespace, name), timeout_s=timeout_s)
        if answer.status == 404 and answer.data().get("reason") == "NotFound":
            return None
        return _checked(answer, "get", resource, namespace, name)

    def list(self, resource: Resource, namespace: str, query: Mapping[str, str], *, timeout_s: float) -> list[Object]:
        """The objects that a `labelSelector` or `fieldSelector` chooses."""
        answer = self.request("GET", resource.path(namespace), query=query, timeout_s=timeout_s)
        items = _checked(answer, "list", resource, namespace).get("items")
        if not isinstance(items, list):
            raise SiteUnreachable("the cluster gave no valid answer", where=str(resource), why="a list without items")
        return [item for item in items if isinstance(item, dict)]

    def create(self, resource: Resource, namespace: str, made: Object, *, timeout_s: float) -> None:
        """Make an object.

        Raises:
            Conflict: there is one of that name.
        """
        answer = self.request("POST", resource.path(namespace), query=_MANAGED, body=made, timeout_s=timeout_s)
        _checked(answer, "create", resource, namespace, made["metadata"]["name"])

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
        return _checked(answer, "patch", resource, namespace, name)

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
        _checked(answer, "patch", resource, namespace, name)

    def delete(self, resource: Resource, namespace: str, name: str, *, timeout_s: float) -> None:
        """Delete an object and, in the background, what it owns; nothing if there is none."""
        query = {"propagationPolicy": "Background"}
        answer = self.request("DELETE", resource.path(namespace, name), query=query, timeout_s=timeout_s)
        if answer.status != 404:
            _checked(answer, "delete", resource, namespace, name)

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
                raise _forbidden(verb, "services/proxy", namespace, named)
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
            SiteUnreachable: no answer in time, or one beyond `ANSWER_LIMIT_BYTES`.
        """
        import urllib3

        where = f"{self._configuration.host}{path}"
        deadline_s = time.monotonic() + timeout_s
        try:
            response = self._pool.request(
                method,
                f"{where}?{urlencode(query)}" if query else where,
                body=None if body is None else json.dumps(body).encode(),
                headers={"Content-Type": content_type, **self._authorisation(), **(headers or {})},
                timeout=urllib3.Timeout(total=timeout_s),
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                return Answer(response.status, _read(response, deadline_s))
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


def connect(spec: KubernetesSpec, root: Path) -> KubernetesApi:
    """Access to the cluster that a site declares; `root` is the project's folder.

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
            return KubernetesApi(client.ApiClient(own))
        file = None if spec.kubeconfig is None else str(root / Path(spec.kubeconfig).expanduser())
        return KubernetesApi(config.new_client_from_config(file, spec.context, persist_config=False))
    except (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidInput(
            "the cluster's kubeconfig cannot be used",
            where="kubernetes.kubeconfig",
            why=short_reason(str(error)) or type(error).__name__,
            next_step="give a kubeconfig and a context that `kubectl --context` takes",
        ) from error


_MANAGED = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}


def _read(response: Any, deadline_s: float) -> bytes:
    """The whole body, within the deadline and the limit."""
    parts, size = [], 0
    while part := response.read1(_CHUNK_BYTES):
        parts.append(part)
        size += len(part)
        if size > ANSWER_LIMIT_BYTES:
            raise ValueError("the answer is too long")
        if time.monotonic() > deadline_s:
            raise TimeoutError("timed out")
    return b"".join(parts)


def _checked(answer: Answer, verb: str, resource: Resource, namespace: str, name: str = "") -> Object:
    """The object in a good answer; otherwise the error that it is."""
    said = answer.data()
    if 200 <= answer.status < 300 and said:
        return said
    where = " ".join(filter(None, (str(resource), name)))
    why = f"{answer.status}: {short_reason(str(said.get('message') or answer.body[:1_000].decode(errors='replace')))}"
    if answer.status == 403 and "exceeded quota" not in why:
        raise _forbidden(verb, str(resource), namespace, name)
    if answer.status == 404 and not said:
        raise UnknownKind(
            "the cluster does not know the kind",
            where=f"{resource} {resource.version}",
            why="its CRD is not installed, or too old",
            next_step="install the KubeRay operator, 1.6 or newer, with its CRDs",
        )
    if "not declared in schema" in why or "unknown field" in why:
        raise HcctlError(
            "the cluster's KubeRay is too old",
            where=where,
            why=why,
            next_step="install the KubeRay operator, 1.6 or newer, with its CRDs",
        )
    if answer.status == 409:
        raise Conflict(
            "the cluster refused the change, which contradicts another one",
            where=where,
            why=why,
            next_step=f"leave to hcctl the fields that {GUIDE} names, or delete the object",
        )
    if 400 <= answer.status < 500 and answer.status not in {401, 408, 429}:
        raise HcctlError("the cluster refused the change", where=where, why=why)
    raise SiteUnreachable("the API server gave no valid answer", where=where, why=why)


def _forbidden(verb: str, resource: str, namespace: str, name: str) -> Forbidden:
    return Forbidden(
        "the cluster does not allow it",
        where=" ".join(filter(None, (resource, name))),
        why=f"the account may not {verb} {resource} in namespace {namespace}",
        next_step=f"give it a Role with that verb, see {GUIDE}#permissions",
    )
