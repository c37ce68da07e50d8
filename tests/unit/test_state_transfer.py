"""`hcctl state export|import`: what comes in is what went out, checked byte by byte, or nothing."""

from __future__ import annotations

import json
import sqlite3
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import wiring
from cli.main import app
from serving import sqlite_store
from serving.archive import describe, unpack_archive, write_archive
from serving.errors import CorruptArtefact, HcctlError, InvalidInput, UnsupportedState
from serving.paths import ProjectPaths
from serving.registry import verify_version
from serving.sqlite_store import SqliteStore
from serving.transfer import export_state
from tests.support.daemon_rig import DaemonRig
from tests.support.processes import files_below, in_child, killed_at_each_step, limit_file_size
from tests.support.two_projects import Fleet, content, opened


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


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


def test_a_changed_file_of_a_version_does_not_leave(fleet: Fleet) -> None:
    """An export reads each version as a whole: a backup of damage would be found when it is needed."""
    items = fleet.here.registry_dir / fleet.version / "items.json"
    items.chmod(0o600)
    items.write_bytes(items.read_bytes() + b" ")
    with pytest.raises(CorruptArtefact, match=fleet.version[:12]) as caught:
        fleet.leave()
    assert caught.value.where == "items.json"
    assert not fleet.archive.exists()


def test_a_changed_file_of_a_version_is_found_on_arrival(fleet: Fleet) -> None:
    """In an archive that is whole a version is checked too: its id is the hash of its content."""
    fleet.leave()
    unpacked = fleet.archive.with_name("unpacked")
    unpacked.mkdir()
    manifest = unpack_archive(fleet.archive, unpacked)
    with (unpacked / "registry" / fleet.version / "items.json").open("ab") as items:
        items.write(b" ")
    sources = {file.path: unpacked / file.path for file in manifest.files}
    files = tuple(describe(path, file) for path, file in sources.items())
    write_archive(fleet.archive, manifest.model_copy(update={"files": files}), sources)
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
