"""Services and versions of the models in tests/support, for tests that run them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serving.application import application_for
from serving.registry import Registry
from serving.sites.site import Application
from serving.spec import HybridService

ECHO = "tests.support.models:Echo"


def echo_service(name: str = "echo", **model: Any) -> HybridService:
    """A service that runs `Echo` on site `private`; `model` overrides its model section."""
    return HybridService.model_validate(
        {
            "kind": "HybridService",
            "name": name,
            "model": {"import_path": ECHO, "num_cpus": 0.1, **model},
            "slo": {"latency_p99_s": 1.0},
            "sites": {"private": {"max_replicas": 4}},
        }
    )


class Versions:
    """Versions pushed to a registry of their own, and the applications that run them."""

    def __init__(self, root: Path) -> None:
        self.registry = Registry(root)

    def push(self, source: Path, *, name: str = "echo", **config: Any) -> str:
        """Push the files in `source`; returns the version."""
        manifest = self.registry.push(
            source, name=name, config=config, metrics={}, schema={}, provenance={}, at_s=1_000_000.0
        )
        return manifest.version

    def application(self, version: str, *, service: str = "echo", replicas: int = 1, **model: Any) -> Application:
        """The application that runs a pushed version."""
        folder = self.registry.directory(version)
        return application_for(echo_service(service, **model), version, folder, replicas)
