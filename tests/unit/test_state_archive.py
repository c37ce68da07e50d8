"""An archive of state, read without trust: damage is named, and nothing leads out of its folder."""

from __future__ import annotations

import contextlib
import io
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.archive import ArchiveManifest
from serving.errors import CorruptArtefact, HcctlError, UnsupportedState
from tests.support.processes import files_below
from tests.support.two_projects import Fleet, content


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


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
