"""`hcctl state export|import`: what comes in is what went out, checked byte by byte, or nothing."""

from __future__ import annotations

import contextlib
import io
import json
import random
import sqlite3
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pydantic import TypeAdapter

from autoscaler.state import DaemonState, Deployed, Release, RentedNode, ServiceState
from cli import wiring
from cli.main import app
from serving import sqlite_store
from serving.archive import ArchiveManifest
from serving.errors import CorruptArtefact, HcctlError, InvalidInput, UnsupportedState
from serving.paths import ProjectPaths
from serving.registry import Registry, verify_version
from serving.sqlite_store import SqliteStore
from serving.state import LedgerEntry
from serving.transfer import export_state, import_state
from tests.support.artefacts import make_artefact, push
from tests.support.daemon_rig import DaemonRig
from tests.support.processes import files_below, in_child, killed_at_each_step, limit_file_size
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


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


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


def test_what_was_exported_comes_in_under_another_folder(fleet: Fleet) -> None:
    """Intents, daemon state, releases, decisions, ledger, journal and versions arrive, with paths of the new folder."""
    fleet.leave()
    done = fleet.arrive()
    assert (done.former, done.missing) == (None, ())
    assert content(fleet.there) == content(fleet.here)
    store = opened(fleet.there)
    documents = [
        store.intent("service", "shop"),
        store.observation("daemon", "state"),
        store.observation("release", "d1"),
    ]
    text = json.dumps([document.body for document in documents if document], default=dict)
    assert str(fleet.here.root) not in text
    assert text.count(str(fleet.there.registry_dir / fleet.version)) == 5
    assert store.observations("service") == ()
    store.close()
    assert verify_version(fleet.there.registry_dir / fleet.version).version == fleet.version
    assert files_below(fleet.there.state_dir) & {".transfer", "state.db-wal"} == set()


def test_a_daemon_goes_on_from_imported_state_and_rents_anew(fleet: Fleet) -> None:
    """The stable version is known, nothing that was rented elsewhere is still billed, and open actions are closed."""
    fleet.leave()
    fleet.arrive()
    store = opened(fleet.there)
    rig = DaemonRig()
    rig.store = store
    rig.restart()
    mine = rig.daemon.state.services["shop"]
    assert mine.stable is not None
    assert mine.stable.version_dir == str(fleet.there.registry_dir / fleet.version)
    assert (dict(rig.daemon.state.nodes), dict(mine.targets)) == ({}, {"cloud": 0})
    assert store.open_actions() == ()
    store.close()


def test_an_export_is_a_copy_of_one_moment_while_the_project_runs(fleet: Fleet) -> None:
    """Another process that writes all the time neither stops the export nor gets half a transaction into it."""
    writer = SqliteStore(fleet.here.database)
    for number in range(20):
        with writer.atomic():
            writer.put_intent("control", "a", {"n": number}, expected_revision=None, at_s=1.0)
            if number == 10:
                fleet.leave()  # from a connection of its own, in the middle of a transaction
            writer.put_intent("control", "b", {"n": number}, expected_revision=None, at_s=1.0)
    writer.close()
    fleet.arrive()
    store = opened(fleet.there)
    assert [document.body["n"] for document in store.intents("control") if document.name in "ab"] == [9, 9]
    store.close()


def test_the_archive_is_the_owners_alone_and_replaces_nothing(fleet: Fleet) -> None:
    """Mode 0600; a file that exists is not written over, nor is a link followed."""
    fleet.leave()
    assert stat.S_IMODE(fleet.archive.stat().st_mode) == 0o600
    with pytest.raises(InvalidInput, match="exists already"):
        export_state(fleet.here, fleet.archive, project="shop", hcctl="", versions=False, at_s=6.0)
    link = fleet.archive.with_name("link.tar")
    link.symlink_to("nowhere")
    with pytest.raises(InvalidInput, match="exists already"):
        export_state(fleet.here, link, project="shop", hcctl="", versions=False, at_s=6.0)


def test_a_version_that_is_not_there_is_named(fleet: Fleet) -> None:
    """Without `--versions` the versions that services want are listed, so that they can be pushed again."""
    fleet.leave(versions=False)
    assert fleet.arrive().missing == (fleet.version,)
    assert not fleet.there.registry_dir.exists() or list(fleet.there.registry_dir.iterdir()) == []


def test_state_that_is_here_is_never_lost(fleet: Fleet) -> None:
    """Without `--force` nothing changes; with it the former database is kept beside, whole."""
    fleet.leave()
    store = SqliteStore(fleet.there.database)
    store.put_intent("control", "autoscaler", {"paused": True}, expected_revision=0, at_s=1.0)
    store.close()
    before = fleet.there.database.read_bytes()
    with pytest.raises(InvalidInput, match="state here already"):
        fleet.arrive()
    assert fleet.there.database.read_bytes() == before
    former = fleet.arrive(force=True).former
    kept = SqliteStore(former)
    assert kept.intent("control", "autoscaler") is not None
    kept.close()
    assert content(fleet.there) == content(fleet.here)


def test_an_empty_state_is_no_state(fleet: Fleet) -> None:
    """A database that only a look with `hcctl status` made does not stand in the way."""
    SqliteStore(fleet.there.database).close()
    fleet.leave()
    assert fleet.arrive().former is None


def test_damaged_state_is_replaced_by_an_archive(fleet: Fleet) -> None:
    """With `--force` an import mends a database that cannot be read, and keeps its bytes."""
    fleet.leave()
    fleet.there.state_dir.mkdir()
    fleet.there.database.write_bytes(b"no database" * 1_000)
    assert fleet.arrive(force=True).former.read_bytes() == b"no database" * 1_000
    assert content(fleet.there) == content(fleet.here)


def arrived_or_error(fleet: Fleet) -> HcctlError | None:
    try:
        fleet.arrive(force=True)
    except (CorruptArtefact, UnsupportedState) as problem:
        return problem
    return None


def test_a_flipped_bit_anywhere_is_named_or_harmless(fleet: Fleet) -> None:
    """With any bit of the archive flipped, the import is refused by a name in it, or brings all that was sent."""
    fleet.leave()
    sound, chance, refused = fleet.archive.read_bytes(), random.Random(20261122), 0
    for position in [*range(0, 2_000, 41), *range(2_000, len(sound), 997)]:
        damaged = bytearray(sound)
        damaged[position] ^= 1 << chance.randrange(8)
        fleet.archive.write_bytes(damaged)
        problem = arrived_or_error(fleet)
        if problem is None:
            assert content(fleet.there) == content(fleet.here), f"byte {position}"
        else:
            refused += 1
            assert problem.where.startswith(str(fleet.archive))
            assert problem.next_step
    assert refused > 60


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.95])
def test_an_archive_cut_short_is_refused(fleet: Fleet, share: float) -> None:
    """A torn archive brings nothing in: neither state nor versions."""
    fleet.leave()
    whole = fleet.archive.read_bytes()
    end = whole.rstrip(b"\0")
    fleet.archive.write_bytes(end[: int(len(end) * share)])
    with pytest.raises(CorruptArtefact, match="damaged"):
        fleet.arrive()
    assert not fleet.there.database.exists()


def rewritten(archive: Path, change: Callable[[tarfile.TarFile, list[tarfile.TarInfo], tarfile.TarFile], None]) -> None:
    """Write the archive anew with a change by somebody who knows its form."""
    made = io.BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=made, mode="w", format=tarfile.GNU_FORMAT) as new:
        change(old, old.getmembers(), new)
    archive.write_bytes(made.getvalue())


def resealed(archive: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Write the archive anew with an edited manifest that is sound in itself."""

    def change(old: tarfile.TarFile, members: list[tarfile.TarInfo], new: tarfile.TarFile) -> None:
        content = old.extractfile(members[0])
        assert content is not None
        fields = json.loads(content.read())
        edit(fields)
        body = json.dumps(fields).encode()
        with contextlib.suppress(ValueError):  # what is not valid is sent as it is
            body = ArchiveManifest.model_validate_json(body).sealed().model_dump_json().encode()
        members[0].size = len(body)
        new.addfile(members[0], io.BytesIO(body))
        for member in members[1:]:
            new.addfile(member, old.extractfile(member))

    rewritten(archive, change)


@pytest.mark.parametrize(
    "path",
    [
        "../state.db",
        "/etc/passwd",
        "registry/../../x.json",
        "registry/" + "0" * 64 + "/../x.json",
        "registry/" + "0" * 64 + "/x.pkl",
        "keys.json",
        "state.db\n",
    ],
)
def test_no_path_leads_elsewhere(fleet: Fleet, path: str) -> None:
    """A manifest, sound in itself, that names any other place than the two forms is refused, and nothing is written."""
    fleet.leave()

    def edit(fields: dict[str, Any]) -> None:
        fields["files"][-1]["path"] = path

    resealed(fleet.archive, edit)
    before = files_below(fleet.there.root.parent)
    with pytest.raises(CorruptArtefact, match="damaged"):
        fleet.arrive()
    assert {name for name in files_below(fleet.there.root.parent) - before if ".hcctl" not in name} == set()
    assert not fleet.there.database.exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("place", [0, 1])
def test_no_link_folder_or_device_is_unpacked(fleet: Fleet, kind: bytes, place: int) -> None:
    """A member that is no plain file is refused by its type, wherever it stands."""
    fleet.leave()

    def change(old: tarfile.TarFile, members: list[tarfile.TarInfo], new: tarfile.TarFile) -> None:
        strange = tarfile.TarInfo(members[place].name)
        strange.type, strange.linkname = kind, "/etc/passwd"
        for number, member in enumerate(members):
            if number == place:
                new.addfile(strange)
            new.addfile(member, old.extractfile(member))

    rewritten(fleet.archive, change)
    with pytest.raises(CorruptArtefact, match="no plain file"):
        fleet.arrive()


def test_sizes_are_bound_before_anything_is_written(fleet: Fleet) -> None:
    """A manifest that promises more than the disk holds is refused at once."""
    fleet.leave()

    def edit(fields: dict[str, Any]) -> None:
        fields["files"][0]["size_bytes"] = 1 << 60

    resealed(fleet.archive, edit)
    with pytest.raises(HcctlError, match="does not fit on the disk"):
        fleet.arrive()


def test_a_member_too_many_is_refused(fleet: Fleet) -> None:
    """What the manifest does not list does not come along."""
    fleet.leave()

    def change(old: tarfile.TarFile, members: list[tarfile.TarInfo], new: tarfile.TarFile) -> None:
        for member in [*members, members[-1]]:
            new.addfile(member, old.extractfile(member))

    rewritten(fleet.archive, change)
    with pytest.raises(CorruptArtefact, match="more than its manifest says"):
        fleet.arrive()


def test_a_newer_archive_is_refused_by_its_format(fleet: Fleet) -> None:
    """An archive of a later format says `upgrade`, not `damaged`, whatever else its manifest holds."""
    fleet.leave()

    def edit(fields: dict[str, Any]) -> None:
        fields |= {"format": 2, "new_field": True}

    resealed(fleet.archive, edit)
    with pytest.raises(UnsupportedState, match="newer hcctl"):
        fleet.arrive()


def test_newer_state_is_refused_and_older_is_migrated(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database in an archive may be of an older schema, which is migrated; never of a newer one."""
    present = sqlite_store.MIGRATIONS
    newer = (*present, ("CREATE TABLE extra (n INTEGER, crc INTEGER)",))
    fleet.leave()
    monkeypatch.setattr(sqlite_store, "MIGRATIONS", newer)
    fleet.arrive()
    assert content(fleet.there) == content(fleet.here)  # both of the newer schema now
    fleet.leave()
    monkeypatch.setattr(sqlite_store, "MIGRATIONS", present)
    with pytest.raises(UnsupportedState, match="newer hcctl") as caught:
        fleet.arrive(force=True)
    assert caught.value.where == f"{fleet.archive}: state.db"


def test_a_database_with_a_trigger_is_refused(fleet: Fleet) -> None:
    """A schema that hcctl does not make is not taken over, even with sound rows."""
    connection = sqlite3.connect(fleet.here.database)
    connection.execute("CREATE TRIGGER t AFTER INSERT ON document BEGIN DELETE FROM ledger; END")
    connection.close()
    fleet.leave()
    with pytest.raises(CorruptArtefact, match="trigger t"):
        fleet.arrive()


def test_a_damaged_version_does_not_leave_and_damaged_state_does_not_either(fleet: Fleet) -> None:
    """An export of damage is refused by name, and no file is left."""
    file = fleet.here.registry_dir / fleet.version / "manifest.json"
    sound = file.read_bytes()
    file.chmod(0o600)
    file.write_bytes(sound.replace(b"metrics", b"metricz"))
    with pytest.raises(CorruptArtefact):
        fleet.leave()
    file.write_bytes(sound)
    fleet.here.database.write_bytes(fleet.here.database.read_bytes().replace(b"p99 0.4", b"p99 0.1"))
    with pytest.raises(HcctlError, match="checksum"):
        fleet.leave()
    assert not fleet.archive.exists()
    assert ".transfer" not in files_below(fleet.here.state_dir)


def test_a_changed_file_of_a_version_is_found_on_arrival(fleet: Fleet) -> None:
    """A version is checked against its own manifest too: its id is the hash of its content."""
    weights = next(path for path in (fleet.here.registry_dir / fleet.version).iterdir() if path.name == "items.json")
    weights.chmod(0o600)
    weights.write_bytes(weights.read_bytes() + b" ")
    fleet.leave()
    with pytest.raises(CorruptArtefact) as caught:
        fleet.arrive()
    assert caught.value.where == f"{fleet.archive}: registry/{fleet.version}/items.json"
    assert not fleet.there.database.exists()


def test_a_full_disk_leaves_no_archive_and_no_state(fleet: Fleet) -> None:
    """Export and import that do not fit fail with one error; with room both work."""

    def export() -> None:
        limit_file_size(20_000)
        with pytest.raises(HcctlError) as caught:
            fleet.leave()
        assert caught.value.next_step

    def load() -> None:
        limit_file_size(20_000)
        with pytest.raises(HcctlError) as caught:
            fleet.arrive()
        assert caught.value.next_step

    assert in_child(export) == 0
    assert files_below(fleet.archive.parent) & {"state.tar", ".state.tar.new", "here/.hcctl/.transfer"} == set()
    fleet.leave()
    assert in_child(load) == 0
    assert files_below(fleet.there.state_dir) & {"state.db", ".transfer"} == set()
    fleet.arrive()
    assert content(fleet.there) == content(fleet.here)


def test_kill_9_at_any_step_of_an_export_leaves_a_whole_archive_or_none(fleet: Fleet) -> None:
    """Killed before each durable step in turn; the next export works."""
    for _ in killed_at_each_step(fleet.leave, least_steps=8):
        if fleet.archive.exists():
            fleet.arrive(force=fleet.there.database.exists())
    assert content(fleet.there) == content(fleet.here)


def test_kill_9_at_any_step_of_an_import_leaves_the_former_state_or_the_new(fleet: Fleet) -> None:
    """Killed before each durable step in turn, the database opens, and holds one of the two, whole."""
    fleet.leave()
    store = SqliteStore(fleet.there.database)
    store.put_intent("control", "autoscaler", {"paused": True}, expected_revision=0, at_s=1.0)
    store.close()
    former, new = content(fleet.there), content(fleet.here)
    seen = []
    for _ in killed_at_each_step(lambda: fleet.arrive(force=True), least_steps=20):
        seen.append(content(fleet.there))
        assert seen[-1] in (former, new)
    assert (seen[0], seen[-1]) == (former, new)


def hcctl(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def test_the_verbs(tmp_path: Path) -> None:
    """`hcctl state export`, then `import` in another folder; refusals end with their exit codes and one error."""
    here, there, archive = tmp_path / "a", tmp_path / "b", str(tmp_path / "state.tar")
    for folder in (here, there):
        assert hcctl("init", str(folder), "--name", "shop").exit_code == 0
    assert hcctl("--project", str(here), "state", "export", archive).exit_code == 2
    assert hcctl("--project", str(here), "autoscaler", "pause").exit_code == 0
    assert hcctl("--project", str(here), "state", "export", archive, "--versions").exit_code == 0
    assert hcctl("--project", str(there), "state", "import", archive).exit_code == 0
    again = hcctl("--project", str(there), "state", "import", archive)
    assert (again.exit_code, again.stderr.count("error:")) == (2, 1)
    assert "--force" in again.stderr
    forced = hcctl("--project", str(there), "state", "import", archive, "--force")
    assert "former state is kept in" in forced.stderr
    with wiring.daemon_lock(ProjectPaths(there)):
        running = hcctl("--project", str(there), "state", "import", archive, "--force")
    assert running.exit_code == 1
    assert "hcctl down" in running.stderr
