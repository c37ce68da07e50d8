"""Versions on a volume that this computer has mounted, as pods read it: one folder each, like a registry's."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from serving.artefact import verify_version
from serving.errors import CorruptArtefact, HcctlError
from serving.files import disk_errors, sha256_copy, sync_dir, sync_file

_FOLDER_MODE, _FILE_MODE = 0o755, 0o444
"""Pods run under another user id than whoever pushes."""


class FolderCopy:
    """Versions in folder `root`, which must be there: a volume that is not mounted is not an empty one."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def where(self) -> str:
        return str(self._root)

    def put(self, folder: Path) -> bool:
        manifest = verify_version(folder)
        if not self._root.is_dir():
            raise HcctlError(
                "the volume of the versions is not there",
                where=self.where,
                why="it is no folder",
                next_step="mount the volume, or correct artefacts.folder in hcctl.yaml",
            )
        target = self._root / manifest.version
        with suppress(CorruptArtefact):
            verify_version(target)
            return False
        draft, damaged = (self._root / f".{manifest.version}.{os.getpid()}.{part}" for part in ("new", "damaged"))
        with disk_errors("the version was not copied", self._root):
            try:
                draft.mkdir()
                for source in sorted(folder.iterdir()):
                    _copy(source, draft / source.name)
                draft.chmod(_FOLDER_MODE)
                sync_dir(draft)
                if os.path.lexists(target):
                    target.rename(damaged)
                _publish(draft, target)
                sync_dir(self._root)
            finally:
                for leftover in (draft, damaged):
                    shutil.rmtree(leftover, ignore_errors=True)
        return True


def _publish(draft: Path, target: Path) -> None:
    try:
        draft.rename(target)
    except OSError:
        with suppress(CorruptArtefact):
            verify_version(target)  # somebody else was quicker
            return
        raise


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as file, target.open("xb") as copy:
        sha256_copy(file, copy)
        os.fchmod(copy.fileno(), _FILE_MODE)
        sync_file(copy)
