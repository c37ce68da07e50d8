"""A site's token: Ray obeys nobody without it (token authentication). One file, for its owner only.

In the program it is a `SecretStr`, which prints as asterisks wherever it goes. It is passed on by the
path of its file, never on a command line or in an environment, which other processes can read.
"""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from pydantic import SecretStr

from serving.errors import SiteUnreachable
from serving.files import write_atomic

_TOKEN = re.compile(rb"[0-9a-f]{64}")


def write_token(path: Path) -> None:
    """Make a new token, of 256 random bits, in file `path`.

    Raises:
        HcctlError: the file cannot be written.
    """
    write_atomic(path, secrets.token_hex(32).encode())


def read_token(path: Path) -> SecretStr:
    """The token that `write_token` wrote.

    Raises:
        SiteUnreachable: the file cannot be read or holds something else; says nothing of what it holds.
    """
    try:
        with path.open("rb") as file:
            content = file.read(65)
    except OSError as error:
        raise SiteUnreachable("the site's token cannot be read", where=str(path), why=str(error)) from error
    if not _TOKEN.fullmatch(content):
        raise SiteUnreachable(
            "the site's token is damaged",
            where=str(path),
            why="it is not 64 hexadecimal digits",
            next_step="run `hcctl down`, then `hcctl up`: each start of a site makes a new one",
        )
    return SecretStr(content.decode("ascii"))
