"""Chooses the real parts of gateways that run as pods; `cli.wiring` asks."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

    from autoscaler.observing.fleet_receiver import FleetReceiver
    from autoscaler.observing.receiver import RequestLog
    from cli.context import Project
    from serving.gateway.fleet import GatewayFleet
    from serving.gateway.remote import RemoteGateway
    from serving.project import FleetSpec


def fleet(project: Project, spec: FleetSpec) -> GatewayFleet:
    """All gateways behind the control Service, as one."""
    from serving.gateway.fleet import GatewayFleet
    from serving.gateway.remote import addresses

    return GatewayFleet(partial(addresses, spec.service, spec.port), partial(_remote, project, spec), time.time)


def fleet_receiver(project: Project, spec: FleetSpec, requests: RequestLog) -> FleetReceiver:
    """What fetches their request lines."""
    from autoscaler.observing.fleet_receiver import FleetReceiver
    from serving.gateway.remote import addresses

    return FleetReceiver(partial(addresses, spec.service, spec.port), partial(_remote, project, spec), requests)


def sites_tls(project: Project) -> ssl.SSLContext | None:
    """How probes reach sites; None: by plain HTTP.

    Raises:
        InvalidInput: the certificates cannot be used.
    """
    from serving.gateway.remote import Certificates

    folder = project.spec.gateway.sites_certificates
    return Certificates(_path(project, folder)).context(server=False) if folder else None


def sites_folder(project: Project) -> Path | None:
    """Where the certificates for the way to sites are; None: plain HTTP."""
    folder = project.spec.gateway.sites_certificates
    return _path(project, folder) if folder else None


def _remote(project: Project, spec: FleetSpec, host: str) -> RemoteGateway:
    from serving.gateway.remote import Certificates, RemoteGateway

    return RemoteGateway(host, spec.port, Certificates(_path(project, spec.certificates)))


def _path(project: Project, folder: str) -> Path:
    return (project.paths.root / folder).resolve()
