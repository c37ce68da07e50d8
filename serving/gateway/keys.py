"""API keys of the gateway: a secret is shown once, only its SHA-256 is kept.

A secret has 256 random bits, so that a plain hash is as good as a slow one.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints, TypeAdapter, ValidationError

from serving.declared import Model, Name
from serving.errors import HcctlError, InvalidInput
from serving.files import disk_errors, exclusive, write_atomic

MOST_KEYS = 1_000

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")


class ApiKey(Model):
    """What is kept of a key."""

    name: Name
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    created_at_s: float = Field(ge=0)


_KEYS = TypeAdapter(list[ApiKey])


class KeyFile:
    """the API keys of one project, in one file for its owner only; writers take turns.

    Raises (all methods): HcctlError when the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = path.with_suffix(".lock")

    def list(self) -> tuple[ApiKey, ...]:
        """All keys, by name."""
        with disk_errors("reading the API keys failed", self._path):
            try:
                text = self._path.read_bytes()
            except FileNotFoundError:
                return ()
        try:
            return tuple(_KEYS.validate_json(text))
        except ValidationError as error:
            raise HcctlError(
                "the file of API keys is damaged",
                where=str(self._path),
                why=error.errors(include_input=False)[0]["msg"],
                next_step="restore it from a backup, or remove it and create new keys",
            ) from None

    def create(self, name: str, *, at_s: float) -> SecretStr:
        """Make a key; returns its secret, which is kept nowhere and prints as asterisks.

        Raises:
            InvalidInput: the name is malformed or taken, or there are `MOST_KEYS` already.
        """
        if not _NAME.fullmatch(name):
            raise _refused(name, "it is not a lower-case label of at most 40 characters", "choose another name")
        secret = SecretStr(f"hcctl_{secrets.token_urlsafe(32)}")
        digest = hashlib.sha256(secret.get_secret_value().encode()).hexdigest()
        with exclusive(self._lock):
            keys = self.list()
            if any(key.name == name for key in keys):
                raise _refused(name, "there is one with this name", "revoke it first or choose another name")
            if len(keys) >= MOST_KEYS:
                raise _refused(name, f"there are {MOST_KEYS} already", "revoke one that is not used")
            self._write([*keys, ApiKey(name=name, sha256=digest, created_at_s=at_s)])
        return secret

    def revoke(self, name: str) -> None:
        """Remove a key; the gateway refuses it from its next assertion on.

        Raises:
            InvalidInput: there is no key with this name.
        """
        with exclusive(self._lock):
            keys = self.list()
            if all(key.name != name for key in keys):
                raise _refused(name, "there is none with this name", "hcctl key list shows them")
            self._write([key for key in keys if key.name != name])

    def _write(self, keys: Iterable[ApiKey]) -> None:
        write_atomic(self._path, _KEYS.dump_json(sorted(keys, key=lambda key: key.name), indent=1))


def _refused(name: str, why: str, next_step: str) -> InvalidInput:
    return InvalidInput("the API key cannot be changed", where=name[:60], why=why, next_step=next_step)
