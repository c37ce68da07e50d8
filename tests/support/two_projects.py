"""Two projects, and the archive that carries the state of one to the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from autoscaler.state import DaemonState, Deployed, Release, RentedNode, ServiceState
from serving.paths import ProjectPaths
from serving.registry import Registry
from serving.sqlite_store import SqliteStore
from serving.state import LedgerEntry
from serving.transfer import export_state, import_state
from tests.support.artefacts import make_artefact, push
from tests.support.world import service

STATE = TypeAdapter(DaemonState)


class Fleet:
    """Two projects: `here` with state and a version, `there` with nothing."""

    def __init__(self, folder: Path) -> None:
        self.here, self.there = ProjectPaths(folder / "here"), ProjectPaths(folder / "there")
        for paths in (self.here, self.there):
            paths.root.mkdir()
        self.version = push(Registry(self.here.registry_dir), make_artefact(folder / "artefact")).version
        self.deployed = Deployed(
            self.version, str(self.here.registry_dir / self.version), service().model, f"shop-{self.version[:12]}"
        )
        self._fill()
        self.archive = folder / "state.tar"

    def _fill(self) -> None:
        mine = ServiceState(
            stable=self.deployed, release=Release("d2", self.deployed, self.deployed, 5.0), targets={"cloud": 2}
        )
        nodes = {"cloud/shop": (RentedNode("gpu", 4.0),)}
        state = DaemonState(services={"shop": mine}, nodes=nodes)
        wanted = {"deployment": "d1", "version": self.version, "version_dir": self.deployed.version_dir}
        store = SqliteStore(self.here.database)
        store.put_intent("service", "shop", {"spec": {}, "wanted": wanted}, expected_revision=0, at_s=1.0)
        store.put_intent("hold", "shop", {"counts": {"private": 1}}, expected_revision=0, at_s=2.0)
        store.put_observation("daemon", "state", STATE.dump_python(state, mode="json"), at_s=5.0)
        store.put_observation("release", "d1", {"service": "shop", "candidate": wanted}, at_s=3.0)
        store.put_observation("service", "shop", {"sites": {"cloud": {"limit": 8}}}, at_s=5.0)
        store.append_decisions((("shop", {"action": "scale", "reason": "p99 0.4 s"}),), at_s=4.0, keep=100)
        store.append_ledger(LedgerEntry("cloud", "gpu", "shop", 1.0, 2.0, 1.0, 0.25))
        store.begin_action("open-cloud", {"site": "cloud"}, at_s=4.0)
        store.close()

    def leave(self, *, versions: bool = True) -> None:
        """Write the archive."""
        self.archive.unlink(missing_ok=True)
        export_state(self.here, self.archive, project="shop", hcctl="0.1.0", versions=versions, at_s=6.0)

    def arrive(self, *, force: bool = False) -> Any:
        """Read the archive."""
        return import_state(self.there, self.archive, force=force, at_s=7.0)


def opened(paths: ProjectPaths) -> SqliteStore:
    store = SqliteStore(paths.database)
    store.check()
    return store


def content(paths: ProjectPaths) -> object:
    """All that must survive, with the project's folder taken out."""
    store = opened(paths)
    found = (
        [store.intents(kind) for kind in ("service", "hold")],
        [store.observations(kind) for kind in ("daemon", "release")],
        [store.decisions(), store.ledger(), store.open_actions()],
    )
    store.close()
    return str(found).replace(str(paths.root), "ROOT").replace("revision=2", "revision=1")
