"""From a service and a version to a Serve application. Light: Ray is imported by `build` only."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.sites.site import Application
from serving.spec import HybridService, ModelSpec

if TYPE_CHECKING:
    from ray import serve

IMPORT_PATH = "serving.application:build"
"""What Serve imports on a site."""

INGRESS_DEPLOYMENT = "model"
"""Name of the deployment that takes the requests, whatever the user's code calls it: scaling and
replica counts are addressed by name."""


def application_name(service: HybridService, version: str) -> str:
    """`<service>-<12 hex digits>` of version and model section.

    A changed model section is therefore another application, released like any version. Everything
    else about a service may change without touching its replicas.
    """
    canonical = json.dumps([version, service.model.model_dump(mode="json")], sort_keys=True, separators=(",", ":"))
    return f"{service.name}-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"


def application_for(service: HybridService, version: str, version_dir: Path, replicas: int) -> Application:
    """The application that runs `version`, whose files are in `version_dir`, for `service`."""
    name = application_name(service, version)
    return named_application(name, service.name, service.model, version, str(version_dir), replicas)


def named_application(
    name: str, service: str, model: ModelSpec, version: str, version_dir: str, replicas: int
) -> Application:
    """The same for what has a name already: an hcctl whose model section has other fields would name it otherwise."""
    return Application(
        name=name,
        service=service,
        version=version,
        route_prefix=f"/{name}",
        args={
            "version": version,
            "version_dir": version_dir,
            "model": model.model_dump(mode="json"),
        },
        replicas=replicas,
    )


def build(args: dict[str, Any]) -> serve.Application:
    """Build the Serve application from `Application.args`. Called by Ray on the site.

    Raises:
        HcctlError: the model cannot be imported, or is nothing that can be served.
    """
    from serving import replica

    spec = ModelSpec.model_validate(args["model"])
    return replica.build(args["version"], args["version_dir"], spec, args.get("bucket"), args.get("resources"))
