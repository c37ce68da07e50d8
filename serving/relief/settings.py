"""What the relief process is to do: the file that `serving.gateway` writes beside those of HAProxy."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from serving.artefact import first_problem
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
        services = ReliefServices.model_validate_json(content).services
    except ValidationError as error:
        raise _refused(path, ": ".join(filter(None, first_problem(error)))) from None
    named = {service.name: service for service in services}
    if len(named) < len(services):
        raise _refused(path, "services: two have the same name")
    return named


def _refused(path: Path, why: str) -> InvalidInput:
    return InvalidInput("the settings of the relief process are not valid", where=str(path), why=why)
