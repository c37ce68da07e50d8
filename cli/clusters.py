"""Ways into the clusters of a project's sites. Light: the client library is imported at the first request."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from cli import stores
from cli.context import Project

if TYPE_CHECKING:
    from serving.sites.kubernetes.api import KubernetesApi
    from serving.sites.kubernetes.pod_logs import PodLogs
    from serving.spec_kubernetes import KubernetesSpec


def access(
    project: Project, spec: KubernetesSpec, guard: Callable[[], None] = lambda: None
) -> Callable[[], KubernetesApi]:
    """What connects to a site's cluster; `guard` is asked before each change there."""
    from serving.sites.kubernetes.api import connect

    return partial(connect, spec, project.paths.root, agent=f"hcctl/{os.getpid()}", guard=guard)


def pod_logs(project: Project) -> dict[str, PodLogs]:
    """The logs of each site that runs in a cluster, by its name; none of them is asked anything yet."""
    declared = {name: spec.kubernetes for name, spec in project.spec.sites.items() if spec.kubernetes is not None}
    if not declared:
        return {}
    from serving.sites.kubernetes.manifest import Identity
    from serving.sites.kubernetes.pod_logs import PodLogs

    made = {name: Identity(project.spec.name, name, spec.namespace) for name, spec in declared.items()}
    return {
        name: PodLogs(spec.namespace, made[name].selector, access(project, spec)) for name, spec in declared.items()
    }


OWN_PODS = ("daemon", "gateway")
"""Components of the chart whose pods have a log."""


def own_logs(project: Project) -> PodLogs | None:
    """The logs of daemons and gateways that run as pods: beside the state in a cluster, or beside this very pod.

    None where neither is known; nothing is asked yet.
    """
    here = os.environ.get("POD_NAMESPACE") if "KUBERNETES_SERVICE_HOST" in os.environ else None
    if project.spec.state is None and here is None:
        return None
    from serving.sites.kubernetes.pod_logs import PodLogs
    from serving.spec_kubernetes import StateSpec

    state = project.spec.state or StateSpec(namespace=str(here))
    selector = f"app.kubernetes.io/name=hcctl,app.kubernetes.io/component in ({','.join(OWN_PODS)})"
    return PodLogs(state.namespace, selector, partial(stores.state_api, project.paths, state))
