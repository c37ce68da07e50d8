"""Ways into the clusters of a project's sites. Light: the client library is imported at the first request."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

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

    return {
        name: PodLogs(Identity(project.spec.name, name, spec.namespace), access(project, spec))
        for name, spec in declared.items()
    }
