"""Who rents the machines of each site, as the project declares it; `cli.wiring` is its front."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cli.context import Project

if TYPE_CHECKING:
    from autoscaler.capacity.hands import Rented
    from serving.project import SiteSpec
    from serving.sites.kubernetes.site import KubernetesSite
    from serving.sites.site import Site
    from serving.spec_capacity import CapacitySpec


def rented(project: Project, found: Mapping[str, Site]) -> dict[str, Rented]:
    """The machines of each site for which hcctl rents them.

    Args:
        project: declares them.
        found: its sites, which know what runs where.

    Raises:
        HcctlError: boto3 is not installed.
    """
    from serving.sites.kubernetes.site import KubernetesSite

    rented = {}
    for name, spec in project.spec.sites.items():
        site = found[name]
        if spec.capacity is not None and isinstance(site, KubernetesSite):
            rented[name] = _rented(spec, spec.capacity, site)
    return rented


def _rented(spec: SiteSpec, capacity: CapacitySpec, site: KubernetesSite) -> Rented:
    from autoscaler.capacity.aws import AwsCapacity
    from autoscaler.capacity.aws_calls import connect
    from autoscaler.capacity.aws_groups import Groups, NodeGroups, ScalingGroups
    from autoscaler.capacity.hands import Rented

    clients = connect(capacity.region)
    names = {pool.name: capacity.groups.get(pool.name, pool.name) for pool in spec.pools}
    groups: Groups = ScalingGroups(clients, names)
    if capacity.cluster is not None:
        groups = NodeGroups(clients, capacity.cluster, names)
    machines = AwsCapacity(
        clients, groups, names, stack=capacity.stack, queue_url=capacity.reclaim_queue_url, clock=time.time
    )
    return Rented(machines, site.nodes_in_use)
