"""Port blocks of local sites: free, apart from each other, kept."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import HcctlError
from serving.sites.ports import (
    CLAIM_S,
    FIRST_PORT,
    INTERNAL_PORTS,
    LAST_PORT,
    SitePorts,
    choose_block,
    claim_ports,
    listening_ports,
    recorded_ports,
    release_ports,
)


def claim(file: Path, site: str, replicas: int, at_s: float = 0.0) -> SitePorts:
    """A claim of the project of `file`, beside others of the same test."""
    return claim_ports(file, site, replicas, shared=file.parent / "claims.json", at_s=at_s)


def span(ports: SitePorts) -> range:
    """All ports of a block."""
    return range(ports.base, ports.end)


@given(st.text(), st.integers(1, 1_000), st.sets(st.integers(FIRST_PORT, LAST_PORT), max_size=50))
def test_chosen_block_is_usable_and_in_range(seed: str, replicas: int, taken: set[int]) -> None:
    """Whatever is taken, the chosen block avoids it and lies below the ephemeral ports, or there is none."""
    try:
        ports = choose_block(seed, replicas, lambda block: taken.isdisjoint(span(block)))
    except HcctlError:
        assert len(taken) >= (LAST_PORT - FIRST_PORT) // (INTERNAL_PORTS + replicas)
        return
    assert taken.isdisjoint(span(ports))
    assert FIRST_PORT <= ports.base < ports.end <= LAST_PORT
    assert len(span(ports)) == INTERNAL_PORTS + replicas


def test_every_port_of_a_block_is_its_own() -> None:
    """No two uses share a port."""
    ports = SitePorts(base=20_000, replicas=8)
    internal = [ports.internal(index) for index in range(INTERNAL_PORTS - 4)]
    used = [ports.dashboard, ports.ingress, ports.metrics, ports.statistics, *internal]
    assert sorted(used) == list(range(ports.base, ports.first_replica))
    assert ports.first_replica + ports.replicas == ports.end
    with pytest.raises(IndexError):
        ports.internal(INTERNAL_PORTS - 4)


def test_claimed_ports_are_kept(tmp_path: Path) -> None:
    """A site gets the same ports every time, and they can be read back."""
    file = tmp_path / "ports.json"
    assert recorded_ports(file, "private") is None
    first = claim(file, "private", 16)
    assert claim(file, "private", 16) == first == recorded_ports(file, "private")


def test_sites_of_a_project_never_share(tmp_path: Path) -> None:
    """Many sites of one project have blocks apart, although none of them runs."""
    file = tmp_path / "ports.json"
    blocks = [claim(file, f"site-{number}", 100 + number) for number in range(40)]
    ports = [port for block in blocks for port in span(block)]
    assert len(set(ports)) == len(ports)


def test_taken_block_is_given_up(tmp_path: Path) -> None:
    """A recorded block in which somebody else listens by now is replaced, and the new one recorded."""
    file = tmp_path / "ports.json"
    first = claim(file, "private", 16)
    with socket.create_server(("127.0.0.1", first.end - 1)):
        second = claim(file, "private", 16)
    assert not set(span(first)) & set(span(second))
    assert recorded_ports(file, "private") == second


def test_projects_that_start_at_once_never_share(tmp_path: Path) -> None:
    """A block that another project has claimed is taken before anything listens there; after a while it is not."""
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    mine = claim(one, "private", 16)
    other.write_text(json.dumps({"sites": {"private": mine.model_dump()}}))
    theirs = claim(other, "private", 16, at_s=CLAIM_S - 1)
    assert not set(span(mine)) & set(span(theirs))
    other.write_text(json.dumps({"sites": {"private": mine.model_dump()}}))
    assert claim(other, "private", 16, at_s=CLAIM_S) == mine


def test_the_last_claim_that_is_released_leaves_nothing(tmp_path: Path) -> None:
    """What projects share goes with the last of them; the ports of each stay its own."""
    files = [tmp_path / "one.json", tmp_path / "other.json"]
    ports = [claim(file, "private", 16) for file in files]
    for file in files:
        assert (tmp_path / "claims.json").exists()
        release_ports(file, "private", shared=tmp_path / "claims.json")
    assert not list(tmp_path.glob("claims*"))
    release_ports(files[0], "private", shared=tmp_path / "claims.json")
    assert not list(tmp_path.glob("claims*"))
    assert [recorded_ports(file, "private") for file in files] == ports


def test_listening_ports_are_seen() -> None:
    """A listener on any address counts, IPv6 or IPv4; a closed one does not."""
    with socket.create_server(("127.0.0.1", 0)) as narrow, socket.create_server(("0.0.0.0", 0)) as wide:
        numbers = {narrow.getsockname()[1], wide.getsockname()[1]}
        assert numbers <= listening_ports()
    assert not numbers & listening_ports()


def test_what_else_the_project_records_stays(tmp_path: Path) -> None:
    """Claiming ports leaves other entries of the file alone."""
    file = tmp_path / "ports.json"
    file.write_text(json.dumps({"gateway": 12_345}))
    claim(file, "private", 16)
    assert json.loads(file.read_text())["gateway"] == 12_345


@pytest.mark.parametrize(
    "content", ["", "[]", '{"sites": 1}', '{"sites": {"private": {"base": 80, "replicas": 1}}}', "\0"]
)
def test_damaged_file_is_replaced(tmp_path: Path, content: str) -> None:
    """A damaged file costs only the memory of the former ports."""
    file = tmp_path / "ports.json"
    file.write_text(content)
    (tmp_path / "claims.json").write_text(content)
    assert recorded_ports(file, "private") is None
    ports = claim(file, "private", 16)
    assert recorded_ports(file, "private") == ports
