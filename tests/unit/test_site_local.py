"""A local site's phases from what is on disk and in the process table; no Ray here."""

from __future__ import annotations

import os
import shutil
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.errors import HcctlError, InvalidInput, SiteUnreachable
from serving.paths import ProjectPaths
from serving.project import SiteSpec
from serving.sites.local import LocalSite
from serving.sites.ports import recorded_ports
from serving.sites.processes import ProcessRecord, members, read_record, spawn, write_record

SPEC = {"role": "private", "pools": [{"name": "own", "kind": "fixed", "max_nodes": 2}]}


LAUNCHER = ("sh", "-c", "exec sleep 60", "launcher")
"""Stands in for the launcher: ignores its arguments."""


class Rig:
    """A site whose cluster is a sleeping process."""

    def __init__(self, root: Path) -> None:
        self.paths = ProjectPaths(root)
        self.paths.state_dir.mkdir()
        self.folder = self.paths.site_dir("private")
        self.site = self.another()

    def another(self, **spec: object) -> LocalSite:
        """Another object for the same site."""
        whole = SiteSpec.model_validate({**SPEC, **spec})
        return LocalSite("private", whole, self.paths, clock=lambda: 77.0, launcher=LAUNCHER)

    @property
    def record(self) -> ProcessRecord:
        record = read_record(self.folder / "process.json")
        assert record is not None
        return record

    @property
    def phase(self) -> str:
        return self.site.observe().phase

    def answer(self) -> None:
        """What the launcher does when the ingress answers."""
        (self.folder / "opened.json").write_text("{}")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.site.close()
    shutil.rmtree(rig.paths.run_dir)


def test_never_opened_is_closed(rig: Rig) -> None:
    """A site that was never opened is closed, with nothing known of applications."""
    seen = rig.site.observe()
    assert (seen.phase, seen.applications, seen.ingress, seen.at_s) == ("closed", None, None, 77.0)


def test_opening_until_the_ingress_answers(rig: Rig) -> None:
    """`open` returns with the site opening; it is open once the launcher says so."""
    rig.site.open()
    assert rig.phase == "opening"
    rig.answer()
    assert rig.phase == "open"


def test_opening_again_changes_nothing(rig: Rig) -> None:
    """Whether opening or open, a second `open`, from whatever object, starts nothing."""
    rig.site.open()
    record = rig.record
    rig.another().open()
    rig.answer()
    rig.another().open()
    assert rig.record == record


def test_out_of_sight_is_open_with_unknown_applications(rig: Rig) -> None:
    """An open site whose ingress does not answer stays open at its endpoint; what it runs is unknown."""
    rig.site.open()
    rig.answer()
    seen = rig.site.observe()
    assert (seen.phase, seen.applications) == ("open", None)
    assert seen.ingress is not None
    assert "refused" in seen.message


def test_dead_process_is_lost(rig: Rig) -> None:
    """A site whose process died is lost, says where to look, and gives no endpoint."""
    rig.site.open()
    rig.answer()
    os.kill(rig.record.pid, 9)
    while rig.phase == "open":
        pass
    seen = rig.site.observe()
    assert (seen.phase, seen.applications, seen.ingress) == ("lost", None, None)
    assert "site-private.log" in seen.message


def test_a_lost_site_is_never_closed_while_it_is_opened_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at any moment sees it lost, then opening: closed would mean that nobody misses it."""
    rig.site.open()
    os.kill(rig.record.pid, signal.SIGKILL)
    while rig.phase != "lost":
        pass
    before, seen = rig.record, []

    def look(*arguments: Any, **options: Any) -> Any:
        seen.append(rig.phase)
        return spawn(*arguments, **options)

    monkeypatch.setattr("serving.sites.local.spawn", look)
    rig.site.open()
    assert (seen, rig.phase) == (["lost"], "opening")
    assert rig.record != before


def test_rebooted_machine_lost_its_sites(rig: Rig) -> None:
    """A record of another boot is a lost site, whoever has the pid now; opening it starts it anew."""
    rig.site.open()
    rig.answer()
    stranger = rig.record
    write_record(rig.folder / "process.json", stranger.model_copy(update={"boot_id": "former"}))
    assert rig.phase == "lost"
    rig.site.open()
    assert rig.phase == "opening"


def test_crash_before_the_record_leaves_no_orphan(rig: Rig) -> None:
    """A process that was started but not recorded is ended by the next `open`."""
    rig.site.open()
    orphan = rig.record
    (rig.folder / "process.json").unlink()
    assert rig.phase == "closed"
    rig.site.open()
    assert rig.record.pid != orphan.pid
    assert list(members(rig.record, rig.record.marker)) == [rig.record.pid]


def test_interrupted_close_is_finished(rig: Rig) -> None:
    """A close that was cut short shows as closing; either `close` or `open` finishes it first."""
    rig.site.open()
    record = rig.record
    (rig.folder / "closing").touch()
    assert rig.phase == "closing"
    rig.site.open()
    assert rig.phase == "opening"
    assert rig.record.pid != record.pid
    (rig.folder / "closing").touch()
    rig.site.close()
    assert rig.phase == "closed"


def test_close_removes_everything_but_the_ports(rig: Rig) -> None:
    """After `close` the processes and folders are gone; the ports are remembered."""
    rig.site.open()
    record, ports = rig.record, recorded_ports(rig.paths.ports_file, "private")
    rig.site.close()
    assert members(record, record.marker) == {}
    assert not rig.folder.exists()
    assert not rig.paths.ray_dir("private").exists()
    rig.site.open()
    assert recorded_ports(rig.paths.ports_file, "private") == ports is not None


def test_orders_need_an_open_site(rig: Rig) -> None:
    """Before it is open, and without answer afterwards, a site cannot be ordered about."""
    for step in (lambda: None, rig.site.open, rig.answer):
        step()
        with pytest.raises(SiteUnreachable):
            rig.site.apply(())
        with pytest.raises(SiteUnreachable):
            rig.site.scale("echo", 1)


def test_secrets_are_private(rig: Rig) -> None:
    """Token and folders are their owner's only, and every start has a new token."""
    rig.site.open()
    token = rig.folder / "token"
    first = token.read_text()
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    for folder in (rig.folder, rig.paths.ray_dir("private")):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    rig.site.close()
    rig.site.open()
    assert token.read_text() != first
    assert len(first) == 64


def test_folder_of_a_stranger_is_refused(rig: Rig, tmp_path: Path) -> None:
    """A link in the place of a folder in the shared temporary directory is not followed."""
    rig.paths.ray_dir("private").symlink_to(tmp_path)
    try:
        with pytest.raises(HcctlError, match="not this user's own"):
            rig.site.open()
        assert rig.phase == "closed"
    finally:
        rig.paths.ray_dir("private").unlink()


def test_unknown_cores_are_the_users_mistake(rig: Rig) -> None:
    """Cores that this machine lacks are refused before anything runs."""
    with pytest.raises(InvalidInput, match="cores"):
        rig.another(cores=[4_000]).open()
    assert rig.phase == "closed"


@pytest.mark.parametrize("name", ["process.json", "opened.json", "token"])
def test_observing_damaged_files_never_raises(rig: Rig, name: str) -> None:
    """Whatever became of its files, a site can be observed and closed."""
    rig.site.open()
    rig.answer()
    (rig.folder / name).unlink()
    (rig.folder / name).mkdir()
    assert rig.site.observe().applications is None
    (rig.folder / name).rmdir()
    rig.site.close()
    assert rig.phase == "closed"


@pytest.mark.parametrize("content", [b"5ecre7" * 10 + b"\n", b"\xff" * 64, b""], ids=["newline", "no text", "empty"])
def test_a_damaged_token_is_not_shown(rig: Rig, content: bytes) -> None:
    """The site is out of reach, for a reason that says nothing of what the file holds."""
    rig.site.open()
    rig.answer()
    (rig.folder / "token").write_bytes(content)
    with pytest.raises(SiteUnreachable, match="token is damaged") as caught:
        rig.site.scale("echo", 1)
    assert "5ecre7" not in str(caught.value)
    assert rig.site.observe().applications is None
