"""Two real sites for the whole session: starting a Ray cluster takes seconds."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.paths import ProjectPaths
from serving.project import SiteSpec
from serving.sites.local import LocalSite
from serving.sites.site import Site, SiteObservation
from tests.support.versions import Versions

REPOSITORY = Path(__file__).parents[2]

PRIVATE = {"role": "private", "pools": [{"name": "own", "kind": "fixed", "max_nodes": 4}]}
CLOUD = {
    "role": "cloud",
    "pools": [{"name": "rented", "kind": "on_demand", "max_nodes": 4, "price_usd_per_hour": 1.0}],
}

Wait = Callable[[Site, Callable[[SiteObservation], bool]], SiteObservation]


def wait_for(site: Site, condition: Callable[[SiteObservation], bool], timeout_s: float = 90.0) -> SiteObservation:
    """Observe until the condition holds; fails the test after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not condition(seen := site.observe()):
        if time.monotonic() > deadline_s:
            pytest.fail(f"never happened within {timeout_s} s; last seen: {seen}\n{_printed(site)}")
        time.sleep(0.1)
    return seen


def _printed(site: Site) -> str:
    """The end of what the cluster's first process and Ray's own told."""
    if not isinstance(site, LocalSite):
        return ""
    files = [site.log_file, *sorted(site.ray_dir.glob("ray/session_latest/logs/*.*"))]
    ends = [(file, file.read_bytes()[-1_500:].decode(errors="replace")) for file in files if file.is_file()]
    return "\n".join(f"--- {file.name}\n{end}" for file, end in ends if end.strip())


@pytest.fixture(scope="session")
def wait() -> Wait:
    """`wait_for`, for test files elsewhere."""
    return wait_for


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectPaths]:
    """A project of its own."""
    paths = ProjectPaths(tmp_path_factory.mktemp("project"))
    paths.state_dir.mkdir()
    yield paths
    shutil.rmtree(paths.run_dir, ignore_errors=True)


@pytest.fixture(scope="session")
def versions(project: ProjectPaths) -> Versions:
    """The project's registry."""
    return Versions(project.registry_dir)


@pytest.fixture(scope="session")
def echo_version(versions: Versions, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A version of the echo model."""
    folder = tmp_path_factory.mktemp("echo")
    (folder / "words.txt").write_text("hello")
    return versions.push(folder)


@pytest.fixture(scope="session")
def private_session(project: ProjectPaths) -> Iterator[LocalSite]:
    """The private site, closed at the end."""
    site = LocalSite("private", SiteSpec.model_validate(PRIVATE), project, python_path=(REPOSITORY,))
    yield site
    site.close()


@pytest.fixture(scope="session")
def cloud_session(project: ProjectPaths) -> Iterator[LocalSite]:
    """The cloud site, closed at the end."""
    site = LocalSite("cloud", SiteSpec.model_validate(CLOUD), project, python_path=(REPOSITORY,))
    yield site
    site.close()


@pytest.fixture
def private_site(private_session: LocalSite) -> LocalSite:
    """The private site, open, running nothing."""
    return emptied(private_session)


@pytest.fixture
def cloud_site(cloud_session: LocalSite) -> LocalSite:
    """The cloud site, open, running nothing."""
    return emptied(cloud_session)


def emptied(site: LocalSite) -> LocalSite:
    """The site, open, running nothing."""
    site.open()
    wait_for(site, lambda seen: seen.phase == "open" and seen.applications is not None)
    site.apply(())
    wait_for(site, lambda seen: seen.applications == ())
    return site
