"""`write_atomic`: the old content or the new, never a mixture, never a leftover that grows."""

from __future__ import annotations

import errno
import os
import signal
import stat
from pathlib import Path

import pytest

from serving.errors import HcctlError
from serving.files import disk_errors, exclusive, write_atomic
from tests.support.processes import ended, files_below, in_child, killed_at_each_step, limit_file_size, start


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400])
def test_a_file_is_written_with_its_mode(tmp_path: Path, mode: int) -> None:
    """Content and mode are as asked, whatever the file and the umask were."""
    path = tmp_path / "f.json"
    path.write_text("older and longer content")
    write_atomic(path, b"new", mode=mode)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert files_below(tmp_path) == {"f.json"}


def test_the_mode_is_private_unless_asked(tmp_path: Path) -> None:
    """By default only the owner can read the file."""
    write_atomic(tmp_path / "f", b"")
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    """Writing to a link leaves what it points to alone."""
    (tmp_path / "target").write_text("keep")
    (tmp_path / "f").symlink_to(tmp_path / "target")
    write_atomic(tmp_path / "f", b"new")
    assert (tmp_path / "target").read_text() == "keep"
    assert not (tmp_path / "f").is_symlink()


def test_kill_9_at_any_step_leaves_old_or_new(tmp_path: Path) -> None:
    """Killed before each durable step: the content is whole, and the next write leaves no draft."""
    path = tmp_path / "f"
    write_atomic(path, b"old")
    for _ in killed_at_each_step(lambda: write_atomic(path, b"new"), least_steps=3):
        assert path.read_bytes() in {b"old", b"new"}
        write_atomic(path, b"old")
        assert files_below(tmp_path) == {"f"}


def test_writers_at_once_never_mix(tmp_path: Path) -> None:
    """Processes that write one file at once leave one of their contents, whole."""
    path = tmp_path / "f"

    def work(letter: bytes) -> None:
        for _ in range(20):
            write_atomic(path, letter * 5_000)
            assert len(set(path.read_bytes())) == 1

    assert [ended(child) for child in [start(lambda c=c: work(c)) for c in (b"a", b"b", b"c")]] == [0, 0, 0]
    assert files_below(tmp_path) == {"f"}
    assert path.stat().st_size == 5_000


def test_a_full_disk_leaves_the_old_content(tmp_path: Path) -> None:
    """What does not fit is one error that names the file; the file is untouched and no draft stays."""
    path = tmp_path / "f"
    write_atomic(path, b"old")

    def work() -> None:
        limit_file_size(1_000)
        with pytest.raises(HcctlError, match="ulimit") as caught:
            write_atomic(path, bytes(10_000))
        assert caught.value.where == str(path)

    assert in_child(work) == 0
    assert path.read_bytes() == b"old"
    assert files_below(tmp_path) == {"f"}


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """The folder is the caller's to make; without it the error names the file."""
    with pytest.raises(HcctlError, match="No such file") as caught:
        write_atomic(tmp_path / "missing" / "f", b"")
    assert caught.value.where == str(tmp_path / "missing" / "f")


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "free some disk space"), (errno.EROFS, "read-only"), (errno.EBADF, "check the path")],
)
def test_an_error_of_the_disk_says_what_to_do(tmp_path: Path, number: int, advice: str) -> None:
    """Each common cause has its own next step, any other a general one."""
    with pytest.raises(HcctlError) as caught, disk_errors("it failed", tmp_path):
        raise OSError(number, os.strerror(number))
    assert (caught.value.what, caught.value.where, caught.value.why) == (
        "it failed",
        str(tmp_path),
        os.strerror(number),
    )
    assert advice in caught.value.next_step


def test_a_lock_is_dropped_by_a_dead_holder(tmp_path: Path) -> None:
    """A process killed inside the block does not keep others out."""

    def work() -> None:
        with exclusive(tmp_path / "lock"):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == -signal.SIGKILL
    with exclusive(tmp_path / "lock"):
        pass
