"""Applications: named by version and model, described in JSON, built without surprises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.application import application_for, application_name
from serving.declared import Name
from serving.spec import HybridService, ModelSpec
from tests.support.versions import echo_service

VERSION = "a" * 64


def test_name_is_stable() -> None:
    """The name never changes for the same version and model section: another name is another deployment."""
    assert application_name(echo_service(), VERSION) == "echo-c4deca99d853"


@pytest.mark.parametrize(
    "model",
    [{"config": {"k": 10}}, {"slots_per_replica": 9}, {"emulated_accelerator_s": 0.1}, {"drain_s": 5.0}],
    ids=lambda model: next(iter(model)),
)
def test_changed_model_section_is_another_application(model: dict[str, Any]) -> None:
    """Each field of the model section is part of the name."""
    assert application_name(echo_service(**model), VERSION) != application_name(echo_service(), VERSION)


def test_spelling_of_the_model_section_does_not_matter() -> None:
    """A default that is written out, and the order of the config, make no other application."""
    name = application_name(echo_service(config={"a": 1, "b": 2}), VERSION)
    assert application_name(echo_service(config={"b": 2, "a": 1}, max_batch_size=8), VERSION) == name


def test_another_version_is_another_application() -> None:
    """The whole version is part of the name, not its first characters."""
    assert application_name(echo_service(), VERSION[:-1] + "b") != application_name(echo_service(), VERSION)


def test_other_sections_leave_replicas_alone() -> None:
    """Thresholds, budgets and sites may change without a new application."""
    service = echo_service()
    changed = HybridService.model_validate(
        service.model_dump(mode="json")
        | {"slo": {"latency_p99_s": 0.2}, "sites": {"private": {"max_replicas": 9}}, "budget": {"usd_per_hour": 1.0}}
    )
    folder = Path("/versions/a")
    assert application_for(changed, VERSION, folder, 1) == application_for(service, VERSION, folder, 1)


@given(name=st.from_regex(r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?\Z"), replicas=st.integers(1, 10_000))
def test_application_is_plain_json(name: Name, replicas: int) -> None:
    """Name and route are safe in URLs, and the arguments survive JSON as a model section."""
    application = application_for(echo_service(name), VERSION, Path("/versions/a"), replicas)
    assert application.route_prefix == f"/{application.name}"
    assert application.name.startswith(f"{name}-")
    assert set(application.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert application.replicas == replicas
    arguments = json.loads(json.dumps(application.args))
    assert arguments == application.args
    assert ModelSpec.model_validate(arguments["model"]) == echo_service(name).model


def test_imports_are_light() -> None:
    """What the command line imports of sites loads neither Ray nor torch nor an HTTP library."""
    program = (
        "import sys, serving.application, serving.model, serving.sites.local;"
        "heavy = {'ray', 'torch', 'httpx', 'numpy', 'safetensors'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
