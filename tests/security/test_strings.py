"""Names that users and files choose never lead out of a folder, into an option or onto another line.

The same for HAProxy's files: tests/unit/test_gateway_config.py, and for a manifest's file names:
tests/unit/test_registry_verify.py. No product code starts a shell: rule S602 of `make lint`.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.application import application_name
from serving.manifest import ArtefactFile
from serving.paths import ProjectPaths
from serving.project import HybridProject
from serving.spec import HybridService
from tests.support.running_project import PROJECT, SERVICE

HOSTILE = [
    "..",
    ".",
    "",
    "a/b",
    "../x",
    "/etc",
    "a\0b",
    "a\nb",
    "-x",
    "--help",
    "a b",
    "$HOME",
    "a;b",
    "~",
    "a..b",
    "ä",
]
texts = st.one_of(st.text(max_size=60), st.sampled_from(HOSTILE), st.from_regex(r"[a-z0-9./-]{1,50}", fullmatch=True))

PATHS = ProjectPaths(Path("/projects/shop"))


def project_with(site: str) -> HybridProject:
    """A project whose cloud site has this name."""
    data: dict[str, Any] = copy.deepcopy(PROJECT)
    data["sites"][site] = data["sites"].pop("cloud")
    return HybridProject.model_validate(data)


def plain(name: str) -> bool:
    """Whether it is one component of a path, one word, and no option."""
    return bool(name) and Path(name).name == name and name.isascii() and name.isprintable() and name[0] not in "-."


@given(texts)
@example("cloud")
def test_a_sites_name_is_one_component_of_a_path(name: str) -> None:
    """Its folder and its log lie where they should, or the project is refused."""
    try:
        sites = project_with(name).sites
    except ValidationError:
        return
    assert name in sites
    assert plain(name)
    assert " " not in name
    assert PATHS.site_dir(name).parent == PATHS.run_dir / "s"
    assert (PATHS.log_dir / f"site-{name}.log").parent == PATHS.log_dir
    assert PATHS.ray_dir(name).name.removeprefix("hcctl-").isalnum()


@given(texts)
@example("shop")
def test_a_services_name_is_one_segment_of_a_url(name: str) -> None:
    """So is the name of its application, which stands in the paths of Serve's REST interface."""
    try:
        spec = HybridService.model_validate({**SERVICE, "name": name})
    except ValidationError:
        return
    made = application_name(spec, "a" * 64)
    for text in (spec.name, made):
        assert plain(text)
        assert not set(text) & set(" ?#%/\\.")


@given(texts.map(lambda text: f"{text}.json"))
@example("words.json")
def test_a_files_name_is_one_component_of_a_path(name: str) -> None:
    """A manifest cannot name a file elsewhere."""
    try:
        file = ArtefactFile(name=name, sha256="a" * 64, size_bytes=1)
    except ValidationError:
        return
    assert plain(file.name)
    assert (Path("/registry/version") / file.name).resolve().parent == Path("/registry/version")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_everywhere(name: str) -> None:
    """Each of the classics is refused as a site, a service and a file."""
    with pytest.raises(ValidationError):
        project_with(name)
    with pytest.raises(ValidationError):
        HybridService.model_validate({**SERVICE, "name": name})
    with pytest.raises(ValidationError):
        ArtefactFile(name=name, sha256="a" * 64, size_bytes=1)
