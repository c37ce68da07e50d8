"""One running project for all tests of this folder: real processes, no Ray."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.ray_free_project import RayFreeProject, ray_free_project

ENVIRONMENT_SECRET = "canary-environment-5b1e9c"
"""Stands in the environment of whoever starts the project, as cloud credentials would."""


@dataclass(frozen=True)
class Up:
    """The project, and an API key that its gateway takes."""

    project: RayFreeProject
    key: str


@pytest.fixture(scope="session")
def up() -> Iterator[Up]:
    """A project that asks for keys and serves, started under a umask that protects nothing."""
    environment = {"CANARY_TOKEN": ENVIRONMENT_SECRET}
    with ray_free_project(environment, umask=0, gateway={"require_api_key": True}) as project:
        key = project.must("key", "add", "client").out.strip()
        project.wait("key", lambda _: project.ask(headers={"Authorization": f"Bearer {key}"}).status_code == 200, 10)
        yield Up(project, key)
