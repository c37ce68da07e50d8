"""The copies of versions that a project's sites read, as it declares them; `cli.wiring` is its front."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli import output
from cli.context import Project
from serving.errors import HcctlError, InvalidInput

if TYPE_CHECKING:
    from serving.copies.port import Copy


def copies(project: Project) -> list[Copy]:
    """One for each bucket and each mounted volume, however many sites share it; nothing is asked yet.

    A bucket that sites want encrypted in different ways is one for each: what one of them refuses is refused.

    Raises:
        InvalidInput: a volume's folder cannot be told.
    """
    from serving.copies.bucket import BucketCopy
    from serving.copies.folder import FolderCopy

    found: dict[object, Copy] = {}
    for site in project.spec.sites.values():
        artefacts = site.kubernetes.artefacts if site.kubernetes is not None else None
        if artefacts is None:
            continue
        if artefacts.bucket is not None:
            bucket = artefacts.bucket.model_copy(update={"credentials_secret": None})  # for pods alone
            found.setdefault(bucket, BucketCopy(bucket))
        elif artefacts.folder is not None:
            folder = _volume(project, artefacts.folder)
            found.setdefault(folder, FolderCopy(folder))
    return list(found.values())


def _volume(project: Project, declared: str) -> Path:
    try:
        return project.paths.root / Path(declared).expanduser()
    except RuntimeError as error:
        raise InvalidInput(
            "the folder of the versions cannot be found",
            where="artefacts.folder",
            why=str(error),
            next_step="write it without ~",
        ) from None


def replicate(project: Project, folder: Path) -> None:
    """Bring the version in `folder` to all copies, with a word on stderr for each.

    Raises:
        HcctlError: a copy cannot be written. The version is in the registry all the same, and it can be run again.
    """
    for copy in copies(project):
        output.progress(f"to {copy.where} ...")
        try:
            written = copy.put(folder)
        except HcctlError as error:
            again = f"then run `hcctl version replicate {folder.name[:12]}`"
            error.next_step = f"{error.next_step}; {again}" if error.next_step else again
            raise
        output.progress(f"to {copy.where}: {'copied' if written else 'it was there'}")
