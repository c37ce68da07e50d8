"""Writing files so that a crash leaves the old content or the new, never a mixture.

Bytes are on disk (fsync of file and folder) when a function returns. Errors of the
disk come out as one `HcctlError` that names the file and the next step.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, BinaryIO

from serving.errors import HcctlError
from serving.failpoints import failpoint

CHUNK_BYTES = 1 << 20

_NEXT_STEPS = {
    errno.ENOSPC: "free some disk space and run it again",
    errno.EDQUOT: "free some of your disk quota and run it again",
    errno.EFBIG: "raise the file size limit (ulimit -f) and run it again",
    errno.EROFS: "the file system is read-only; mount it writable or move the project",
    errno.EACCES: "make it accessible to this user",
    errno.EPERM: "make it accessible to this user",
    errno.EIO: "the disk reports an error; check it before you go on",
}


@contextmanager
def disk_errors(what: str, path: Path) -> Iterator[None]:
    """Turn an OSError of the block into an `HcctlError`: `what` failed on `path`."""
    try:
        yield
    except OSError as error:
        raise HcctlError(
            what,
            where=str(path),
            why=error.strerror or str(error),
            next_step=_NEXT_STEPS.get(error.errno or 0, "check the path and run it again"),
        ) from error


def write_atomic(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace file `path` by `data`; readers see the old or the new content, nothing between.

    Raises:
        HcctlError: the disk is full, read-only or failing; `path` is untouched.
    """
    with atomic_file(path, mode) as file:
        file.write(data)


@contextmanager
def atomic_file(path: Path, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A file to write that replaces `path` when the block ends; a block that raises leaves `path` as it was.

    Writers of the same file take turns. A writer that dies leaves at most one `.<name>.new`,
    which the next one reuses.

    Raises:
        HcctlError: the disk is full, read-only or failing; `path` is untouched.
    """
    with disk_errors("writing the file failed", path):
        draft = path.with_name(f".{path.name}.new")
        with _locked(draft) as file:
            try:
                file.truncate()
                os.fchmod(file.fileno(), mode)
                yield file
                sync_file(file)
                failpoint("file.before-rename")
                draft.replace(path)
                failpoint("file.after-rename")
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
        sync_dir(path.parent)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path` for the block. The kernel drops it when the process dies."""
    with _locked(path):
        yield


def sync_file(file: BinaryIO) -> None:
    """Flush and fsync an open file."""
    file.flush()
    os.fsync(file.fileno())


def sync_dir(path: Path) -> None:
    """Put the names in folder `path` on disk (creations, renames, removals)."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_plain(path: Path) -> BufferedReader | None:
    """Open a regular file for reading; None when it is missing, a link, a folder or a device."""
    try:
        # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as problem:
        if problem.errno in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}:
            return None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")


def sha256_copy(source: IO[bytes], target: IO[bytes]) -> tuple[str, int]:
    """Copy `source` to `target`; returns the hex SHA-256 and the number of bytes copied."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        target.write(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def sha256_of(file: BufferedReader) -> str:
    """Hex SHA-256 of an open file, from its beginning; memory does not grow with its size."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # While this one waited, the former holder may have renamed or removed the file.
            if _is_at(path, file):
                yield file
                return


def _is_at(path: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
