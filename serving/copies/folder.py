"""Versions on a volume that this computer has mounted, as pods read it: one folder each, like a registry's."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from serving.artefact import is_sound, verify_version
from serving.errors import HcctlError
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
        if is_sound(target):
            return False
        with disk_errors("the version was not copied", self._root):
            # No process id: computers and containers that share the volume have the same ones.
            work = Path(tempfile.mkdtemp(prefix=f".{manifest.version}.", dir=self._root))
            draft = work / "new"
            try:
                draft.mkdir()
                for source in sorted(folder.iterdir()):
                    _copy(source, draft / source.name)
                draft.chmod(_FOLDER_MODE)
                sync_dir(draft)
                if os.path.lexists(target) and not is_sound(target):
                    target.rename(work / "damaged")
                _publish(draft, target)
                sync_dir(self._root)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        return True


def _publish(draft: Path, target: Path) -> None:
    try:
        draft.rename(target)
    except OSError:
        if not is_sound(target):  # otherwise somebody else was quicker
            raise


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as file, target.open("xb") as copy:
        sha256_copy(file, copy)
        os.fchmod(copy.fileno(), _FILE_MODE)
        sync_file(copy)
