"""What the Kubernetes API is asked about, what it answers, and the errors that answers are, in words. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from serving.errors import HcctlError, SiteUnreachable
from serving.sites.serve_api import short_reason

GUIDE = "docs/guides/kubernetes-site.md"
Object = dict[str, Any]
"""A Kubernetes object, or a part of one, as JSON."""


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
CONFIG_MAPS = Resource("", "v1", "configmaps")
DAEMON_SETS = Resource("apps", "v1", "daemonsets")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
HYBRID_SERVICES = Resource("hcctl.dev", "v1", "hybridservices")
HYBRID_RELEASES = Resource("hcctl.dev", "v1", "hybridreleases")


class Forbidden(HcctlError):
    """The account may not do that; `why` names verb and resource."""


class Conflict(HcctlError):
    """The object exists, was changed meanwhile, or has a field that another manager owns."""


class AnswerTooLong(SiteUnreachable):
    """There is more to say than an answer may hold."""


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


def checked(answer: Answer, verb: str, resource: Resource, namespace: str, name: str = "") -> Object:
    """The object in a good answer; otherwise the error that it is.

    Raises:
        UnknownKind, Forbidden, Conflict: the answer says so.
        SiteUnreachable: it says nothing about the object, such as 429 or 500.
        HcctlError: it refuses the request.
    """
    said = answer.data()
    if 200 <= answer.status < 300 and said:
        return said
    where = " ".join(filter(None, (str(resource), name)))
    why = f"{answer.status}: {short_reason(str(said.get('message') or answer.body[:1_000].decode(errors='replace')))}"
    if answer.status == 403 and "exceeded quota" not in why:
        raise forbidden(verb, str(resource), namespace, name)
    if answer.status == 404 and not said:
        raise UnknownKind(
            "the cluster does not know the kind",
            where=f"{resource} {resource.version}",
            why="its CRD is not installed, or too old",
            next_step=_install(resource),
        )
    if "not declared in schema" in why or "unknown field" in why:
        raise HcctlError(
            "the cluster's CRD is too old for the object", where=where, why=why, next_step=_install(resource)
        )
    if answer.status == 409:
        raise Conflict(
            "the cluster refused the change, which contradicts another one",
            where=where,
            why=why,
            next_step=f"leave to hcctl the fields that {GUIDE} names, or delete the object",
        )
    # An apply that does not fit the schema is answered with 500, however often it is asked again.
    unfit = str(said.get("message")).startswith("failed to create typed patch object")
    if unfit or (400 <= answer.status < 500 and answer.status not in {401, 408, 429}):
        raise HcctlError("the cluster refused the change", where=where, why=why)
    raise SiteUnreachable("the API server gave no valid answer", where=where, why=why)


def _install(resource: Resource) -> str:
    """What brings a kind into the cluster."""
    if resource.group == "ray.io":
        return "install the KubeRay operator, 1.6 or newer, with its CRDs"
    return "install hcctl's CRDs: `kubectl apply --server-side -f charts/hcctl-crds/crds/`"


def forbidden(verb: str, resource: str, namespace: str, name: str) -> Forbidden:
    """The error that names the missing right."""
    return Forbidden(
        "the cluster does not allow it",
        where=" ".join(filter(None, (resource, name))),
        why=f"the account may not {verb} {resource} in namespace {namespace}",
        next_step=f"give it a Role with that verb, see {GUIDE}#permissions",
    )
