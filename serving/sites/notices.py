"""Notices of providers on a local site: no provider takes its nodes, so `hcctl rehearse reclaim` says that one does.

They are a file in the site's folder, and gone with it when the site closes.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from serving.artefact import first_problem
from serving.errors import HcctlError
from serving.files import disk_errors, exclusive, write_atomic
from serving.sites.site import Notice

FILE = "notices.json"
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_NOTICES: TypeAdapter[tuple[Notice, ...]] = TypeAdapter(tuple[Notice, ...], config=_STRICT)


def read_notices(folder: Path) -> tuple[Notice, ...]:
    """The notices of the site in `folder`, also those that are over; none without a file.

    Raises:
        HcctlError: the file cannot be read or is damaged.
    """
    file = folder / FILE
    with disk_errors("notices cannot be read", file):
        try:
            return _NOTICES.validate_json(file.read_bytes())
        except FileNotFoundError:
            return ()
        except ValidationError as error:
            why = ": ".join(filter(None, first_problem(error)))
            raise HcctlError("notices cannot be read", where=str(file), why=why, next_step="remove the file") from None


def add_notice(folder: Path, notice: Notice, *, now_s: float) -> None:
    """Give the site in `folder` one more notice; those whose nodes are gone are dropped.

    Raises:
        HcctlError: the file cannot be read or written.
    """
    with disk_errors("the notice cannot be written", folder), exclusive(folder / "notices.lock"):
        kept = [known for known in read_notices(folder) if known.ends_s > now_s]
        write_atomic(folder / FILE, _NOTICES.dump_json((*kept, notice)))
