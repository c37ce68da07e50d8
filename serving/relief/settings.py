"""What the relief process is to do: the file that `serving.gateway` writes beside those of HAProxy."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from serving.declared import Model, Name, UrlPath
from serving.errors import InvalidInput
from serving.files import disk_errors
from serving.spec_relief import ReliefLight

MOST_BYTES = 1 << 20


class ReliefService(Model):
    """One service with light answers."""

    name: Name
    version: str = Field(max_length=200)
    """The version that serves; empty: none yet."""
    application: UrlPath
    """What HAProxy puts in front of the paths of requests to that version."""
    version_dir: str = Field(max_length=4_096)
    light: ReliefLight


class ReliefServices(Model):
    """All of them."""

    services: list[ReliefService] = Field(max_length=10_000)


_FILE = TypeAdapter(ReliefServices)


def read_services(path: Path) -> dict[str, ReliefService]:
    """The services by name; none if the file is gone.

    Raises:
        HcctlError: the file cannot be read, or is not in the form that `serving.gateway.relief` writes.
    """
    if not path.exists():
        return {}
    with disk_errors("the relief process cannot read its settings", path), path.open("rb") as file:
        content = file.read(MOST_BYTES)
    try:
        found = _FILE.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise InvalidInput(
            "the settings of the relief process are not valid", where=str(path), why=first["msg"]
        ) from None
    return {service.name: service for service in found.services}
