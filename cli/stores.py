"""Where a project's state lies: a file on this computer, or a namespace of a cluster; `cli.wiring` is its front."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.context import Project
from serving.errors import InvalidInput
from serving.paths import ProjectPaths, private_dir

if TYPE_CHECKING:
    from autoscaler.service import Wakeup
    from serving.sites.kubernetes.api import KubernetesApi
    from serving.spec_kubernetes import StateSpec
    from serving.state import Store


@contextlib.contextmanager
def store(paths: ProjectPaths) -> Iterator[Store]:
    """The project's durable state, for commands: in a cluster it takes intents and reads the rest."""
    from serving.sqlite_store import SqliteStore

    private_dir(paths.state_dir)
    declared = cluster_state(paths)
    opened: Store = SqliteStore(paths.database) if declared is None else _cluster_store(paths, *declared)
    try:
        yield opened
    finally:
        opened.close()


def _cluster_store(paths: ProjectPaths, name: str, state: StateSpec) -> Store:
    from serving.kubernetes_state.store import KubernetesStore

    return KubernetesStore(state_api(paths, state), state.namespace, name)


def state_api(paths: ProjectPaths, state: StateSpec) -> KubernetesApi:
    """Access to the cluster with the state."""
    from serving.sites.kubernetes.api import connect

    return connect(state, paths.root, agent=f"hcctl/{os.getpid()}")


def cluster_state(paths: ProjectPaths) -> tuple[str, StateSpec] | None:
    """The project's name and in which cluster its state lies; None where it is a file here.

    Raises:
        InvalidInput: the project file is not valid.
    """
    from serving.loading import load_project

    accepted = paths.accepted_project_file
    file = accepted if accepted.is_file() else paths.project_file
    if not file.is_file():
        return None
    try:
        spec = load_project(file)
    except InvalidInput:
        if paths.database.exists():  # a broken project file must not hide the state that is here
            return None
        raise
    return None if spec.state is None else (spec.name, spec.state)


@dataclass(frozen=True)
class Led:
    """The state of a daemon that may act, and whether it still may."""

    store: Store
    require: Callable[[], None] = lambda: None
    deposed: Callable[[], bool] = lambda: False


@contextlib.contextmanager
def led(project: Project, wakeup: Wakeup) -> Iterator[Led | None]:
    """The daemon's turn; None when it is to stop before it comes."""
    state = project.spec.state
    if state is None:
        from serving.sqlite_store import SqliteStore

        with contextlib.closing(SqliteStore(project.paths.database)) as opened:
            opened.back_up()  # refuses a damaged database, by name, before anything is decided from it
            yield Led(opened)
        return
    from serving.kubernetes_state.leading import leading, new_identity

    with leading(
        state_api(project.paths, state),
        state.namespace,
        project.spec.name,
        identity=new_identity(),
        stopping=lambda: wakeup.stopping,
        news=wakeup.news,
    ) as found:
        yield None if found is None else Led(found.store, found.lease.require, lambda: found.lease.lost)


def require_file(project: Project) -> None:
    """Refuse what only a state in a file can do.

    Raises:
        InvalidInput: the state lies in a cluster.
    """
    if project.spec.state is not None:
        raise InvalidInput(
            "the state lies in a cluster",
            where="state",
            why=f"hcctl.yaml puts it into namespace {project.spec.state.namespace}",
            next_step="back up the ConfigMaps, HybridServices and HybridReleases of that namespace instead",
        )
