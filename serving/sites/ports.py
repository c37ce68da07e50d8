"""The ports of local sites: one block each, chosen free, written down, kept over restarts.

A cluster listens on its last port seconds after it was started. Until then nobody sees that its block is taken, so
a claim also stands in a file that all projects of this user share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import HcctlError
from serving.files import exclusive, write_atomic

FIRST_PORT = 20_000
LAST_PORT = 32_000
"""Below Linux's ephemeral range (32768 and up), whose ports come and go with every connection."""

INTERNAL_PORTS = 20
"""Ports of a block that are not for replicas."""

CLAIM_S = 300.0
"""A claim keeps others away for so long; then its cluster listens, or has failed to start."""

_LISTEN = "0A"
"""State LISTEN in /proc/net/tcp."""


class SitePorts(BaseModel):
    """A block of ports: what is fixed first, then one port for each replica's HTTP server."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    base: int = Field(ge=FIRST_PORT, le=LAST_PORT)
    replicas: int = Field(ge=1, le=LAST_PORT - FIRST_PORT, description="Ports for replicas.")

    @property
    def end(self) -> int:
        """The first port after the block."""
        return self.base + INTERNAL_PORTS + self.replicas

    @property
    def dashboard(self) -> int:
        """Ray's and Serve's REST interface."""
        return self.base

    @property
    def ingress(self) -> int:
        """Serve's HTTP ingress: where requests go."""
        return self.base + 1

    @property
    def metrics(self) -> int:
        """Prometheus metrics of Ray and Serve."""
        return self.base + 2

    @property
    def statistics(self) -> int:
        """Statistics of Serve's HAProxy."""
        return self.base + 3

    def internal(self, index: int) -> int:
        """A port for Ray's inner life: `index` 0 to 15; `serving.sites.ray_head` gives them out."""
        return self.base + 4 + range(INTERNAL_PORTS - 4)[index]

    @property
    def first_replica(self) -> int:
        return self.base + INTERNAL_PORTS


class _Book(BaseModel):
    """The file: sites beside whatever else the project keeps there."""

    model_config = ConfigDict(extra="allow", strict=True)

    sites: dict[str, SitePorts] = Field(default_factory=dict)


class _Claim(BaseModel):
    """What a site is about to listen on."""

    model_config = ConfigDict(extra="forbid", strict=True)

    ports: SitePorts
    at_s: float


class _Claims(BaseModel):
    """The file that all projects of a user share."""

    model_config = ConfigDict(extra="forbid", strict=True)

    claims: dict[str, _Claim] = Field(default_factory=dict, description="By ports file and site.")


def recorded_ports(file: Path, site: str) -> SitePorts | None:
    """The ports that `site` was given; None before its first start."""
    return _read(file).sites.get(site)


def claim_ports(file: Path, site: str, replicas: int, *, shared: Path, at_s: float) -> SitePorts:
    """Ports for a site that is about to start: the recorded ones if still free, else others.

    `file` is the project's, `shared` the one of all projects; `at_s` is the wall-clock time.

    Raises:
        HcctlError: no block is free, or a file cannot be written.
    """
    with exclusive(shared.with_suffix(".lock")), exclusive(file.with_suffix(".lock")):
        book, me = _read(file), f"{file}:{site}"
        claims = {
            name: claim
            for name, claim in _read_claims(shared).claims.items()
            if name != me and abs(at_s - claim.at_s) < CLAIM_S
        }
        ports = book.sites.pop(site, None)
        others = [*book.sites.values(), *(claim.ports for claim in claims.values())]
        taken = listening_ports()

        def usable(block: SitePorts) -> bool:
            apart = all(block.end <= other.base or other.end <= block.base for other in others)
            return apart and taken.isdisjoint(range(block.base, block.end))

        if ports is None or ports.replicas != replicas or not usable(ports):
            ports = choose_block(me, replicas, usable)
        book.sites[site] = ports
        claims[me] = _Claim(ports=ports, at_s=at_s)
        write_atomic(shared, _Claims(claims=claims).model_dump_json(indent=1).encode())
        write_atomic(file, book.model_dump_json(indent=1).encode())
        return ports


def release_ports(file: Path, site: str, *, shared: Path) -> None:
    """Take the claim of a site back; the last one takes the shared file along. Its ports stay recorded.

    Raises:
        HcctlError: a file cannot be written.
    """
    lock = shared.with_suffix(".lock")
    with exclusive(lock):
        claims = _read_claims(shared).claims
        claims.pop(f"{file}:{site}", None)
        if claims:
            write_atomic(shared, _Claims(claims=claims).model_dump_json(indent=1).encode())
            return
        shared.unlink(missing_ok=True)
        lock.unlink()


def choose_block(seed: str, replicas: int, usable: Callable[[SitePorts], bool]) -> SitePorts:
    """The first usable block, searched from a place that depends on `seed`.

    Projects that never ran together so rarely have each other's ports.

    Raises:
        HcctlError: no block is usable.
    """
    size = INTERNAL_PORTS + replicas
    count = (LAST_PORT - FIRST_PORT) // size
    start = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4], "big")
    for step in range(count):
        ports = SitePorts(base=FIRST_PORT + (start + step) % count * size, replicas=replicas)
        if usable(ports):
            return ports
    raise HcctlError(
        f"no {size} free ports in a row",
        where=f"ports {FIRST_PORT} to {LAST_PORT}",
        next_step="stop other projects with `hcctl down`",
    )


def listening_ports() -> frozenset[int]:
    """TCP ports that something on this machine listens on, on any address.

    Trying to bind would also fail on ports whose last connections are still fading away.
    """
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN:
                found.add(int(fields[1].rpartition(":")[2], 16))
    return frozenset(found)


def _read(file: Path) -> _Book:
    try:
        return _Book.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return _Book()


def _read_claims(file: Path) -> _Claims:
    try:
        return _Claims.model_validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError):
        return _Claims()
