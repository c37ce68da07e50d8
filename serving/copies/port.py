"""The port to a copy of versions that sites can reach: object storage, or a volume that this computer has mounted.

Implementations: `serving.copies.bucket.BucketCopy`, `serving.copies.folder.FolderCopy`. Both pass the contract in
tests/contract/test_copies.py. Nothing is ever deleted from a copy, nor overwritten but to mend it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Copy(Protocol):
    """Where versions are kept beside the registry."""

    @property
    def where(self) -> str:
        """What users know it by."""
        ...

    def put(self, folder: Path) -> bool:
        """Copy the version in `folder`, a registry's; returns whether anything had to be written.

        What is there already and has the right hash is left alone, so that a put that was broken off goes on. Whoever
        reads the copy meanwhile finds the version whole, or not at all.

        Raises:
            CorruptArtefact: the version in `folder` is damaged.
            HcctlError: the copy cannot be written, or does not encrypt; the next step says what to do.
        """
        ...
