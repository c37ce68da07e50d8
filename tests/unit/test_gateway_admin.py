"""HAProxy's answers: read exactly, or refused."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.errors import GatewayUnreachable
from serving.gateway import admin
from serving.gateway.admin import AdminSocket
from serving.gateway.live import Live, LiveServer, parse_live, parse_map, routes_in_force
from serving.gateway.routes import ReliefRoute, ServerRoute
from serving.sites.site import Endpoint
from tests.support.gateway_routes import routes, service, track

STATE = """\
1
# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_port srv_fqdn
3 shop.stable 1 private 127.0.0.1 2 0 1 18001 -
3 shop.stable 2 cloud 127.0.0.1 0 8 1 18002 -
4 shop.candidate 1 private ::1 2 12 1 18003 -
4 shop.candidate 2 cloud 127.0.0.1 0 5 1 1 -

"""
STAT = """\
# pxname,svname,qcur,qmax,scur,smax,slim,
shop.stable,private,2,9,4,4,4,
shop.stable,cloud,0,0,1,8,8,
shop.stable,BACKEND,3,9,5,9,200,
shop.candidate,private,0,0,0,0,5,
shop.candidate,cloud,0,0,0,0,1,
shop.candidate,BACKEND,1,0,0,0,200,

"""


def test_servers_are_read_with_state_limit_and_use() -> None:
    """Drain and maintenance mean limit 0; maintenance has no endpoint; queues count server and backend."""
    assert parse_live(STATE, STAT) == Live(
        servers=(
            LiveServer("shop.stable", "private", Endpoint("127.0.0.1", 18001), 4, up=True, in_use=4),
            LiveServer("shop.stable", "cloud", Endpoint("127.0.0.1", 18002), 0, up=False, in_use=1),
            LiveServer("shop.candidate", "private", Endpoint("::1", 18003), 0, up=True, in_use=0),
            LiveServer("shop.candidate", "cloud", None, 0, up=False, in_use=0),
        ),
        queued={"shop.stable": 5, "shop.candidate": 1},
    )


def test_the_relief_process_is_no_site() -> None:
    """Its server has no address, holds no slot, and its queue waits for no site; only whether it is up is told."""
    state = STATE.replace("4 shop.candidate 1", "3 shop.stable 99 _relief - 2 0 0 0 -\n4 shop.candidate 1", 1)
    stat = STAT.replace("shop.stable,BACKEND", "shop.stable,_relief,4,9,2,2,16,\nshop.stable,BACKEND")
    assert parse_live(state, stat) == replace(parse_live(STATE, STAT), relief_up={"shop.stable": True})
    down = parse_live(state.replace("_relief - 2", "_relief - 0"), stat)
    assert down.relief_up == {"shop.stable": False}


def test_quoted_texts_in_the_counters_are_one_value() -> None:
    """What HAProxy tells of a failed connection holds commas: `"Health analyze, ..."`."""
    told = STAT.replace("slim,", "slim,last_chk,").replace(",\n", ',"Layer4 problem, ""refused"", twice",\n')
    told = told.replace('slim,last_chk,"Layer4 problem, ""refused"", twice",', "slim,last_chk,")
    assert parse_live(STATE, told) == parse_live(STATE, STAT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1\n#", "2\n#"),
        ("127.0.0.1", "localhost"),
        ("18001", "1e3"),
        ("18001", "-1"),
        ("srv_port", "srv_prt"),
        (" 0 1 18001 -", " 0 1 18001"),
        ("shop.stable 1 private", "shop.stable 1 prviate"),
    ],
)
def test_a_strange_server_state_is_refused(old: str, new: str) -> None:
    """Another version, name, number or column count is an error, never a guess."""
    with pytest.raises(GatewayUnreachable):
        parse_live(STATE.replace(old, new, 1), STAT)


@settings(deadline=None)
@given(st.text(max_size=200), st.text(max_size=200))
def test_hostile_answers_are_refused(state: str, stat: str) -> None:
    """Any text is read or refused with the gateway's own error."""
    for a, b in ((state, stat), (STATE, stat), (state, STAT), (STATE + state, STAT), (STATE, STAT + stat)):
        with contextlib.suppress(GatewayUnreachable):
            assert parse_live(a, b).queued.keys() >= {server.backend for server in parse_live(a, b).servers}


@settings(deadline=None)
@given(st.text(max_size=200))
def test_hostile_maps_are_refused(text: str) -> None:
    """Any text is read or refused; what is read has a key and a value per line."""
    try:
        entries = parse_map(text)
    except GatewayUnreachable:
        return
    assert len(entries) <= len(text.splitlines())


def test_a_map_is_read() -> None:
    """Lines are id, key, value; an empty map is empty."""
    assert parse_map("0x1a shop.stable /shop-1/\n0x2b shop.candidate /\n\n") == {
        "shop.stable": "/shop-1/",
        "shop.candidate": "/",
    }
    assert parse_map("\n\n") == {}


def test_routes_in_force_are_read_back() -> None:
    """From what HAProxy says come the routes that it follows, in the shape of those that are wanted."""
    here = Endpoint("127.0.0.1", 1)
    wanted = routes(service(), track("/shop-9", private=(here, 1), cloud=(here, 1)))
    paths = {"shop.stable": "/shop-1/", "shop.candidate": "/"}
    (found,) = routes_in_force((wanted,), parse_live(STATE, STAT), {"shop": "2500"}, paths)
    assert (found.candidate_share, found.stable.path_prefix) == (0.25, "/shop-1/")
    assert found.stable.servers == (
        ServerRoute("private", Endpoint("127.0.0.1", 18001), 4),
        ServerRoute("cloud", Endpoint("127.0.0.1", 18002), 0),
    )
    for bad in ("20000", "-1", "x"):
        assert routes_in_force((wanted,), parse_live(STATE, STAT), {"shop": bad}, paths) == ()
    assert routes_in_force((wanted,), parse_live(STATE, STAT), {"shop": "0"}, {**paths, "shop.stable": "x y"}) == ()
    with pytest.raises(GatewayUnreachable):
        routes_in_force((wanted,), parse_live(STATE, STAT), {}, paths)
    with pytest.raises(GatewayUnreachable):
        routes_in_force((routes(service("other"), wanted.stable),), parse_live(STATE, STAT), {"other": "0"}, paths)


def test_levels_in_force_are_read_back() -> None:
    """The map as HAProxy has it; a line that is missing or no number leaves the service out, or means another one."""
    spec = service(relief={"shed": {"normal_over": 9.0}})
    wanted = routes(spec, track("/shop-9", private=(Endpoint("127.0.0.1", 1), 1)))
    parts = (parse_live(STATE, STAT), {"shop": "0"}, {"shop.stable": "/shop-1/", "shop.candidate": "/"})
    (found,) = routes_in_force((wanted,), *parts, {"shop/shed_low": "0", "shop/shed_normal": "7"})
    assert found.relief == ReliefRoute({"shed_low": 0, "shed_normal": 7})
    assert routes_in_force((wanted,), *parts, {"shop/shed_low": "x", "shop/shed_normal": "7"}) == ()
    with pytest.raises(GatewayUnreachable):
        routes_in_force((wanted,), *parts, {"shop/shed_low": "0"})


@contextmanager
def answering(folder: Path, *answers: bytes, close: bool = True) -> Iterator[list[bytes]]:
    """A control socket that gives these answers, one per connection."""
    asked: list[bytes] = []
    path = folder / "admin.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            for answer in answers:
                client, _ = server.accept()
                with client:
                    asked.append(client.recv(65_536))
                    client.sendall(answer)
                    if not close:
                        client.recv(1)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield asked
        thread.join(timeout=5)


def test_a_refused_command_is_an_error(tmp_path: Path) -> None:
    """Silence and a note about an address are consent; anything else names the command."""
    consent = b"\nno need to change the addr, port changed from '1' to '2' by 'stats socket command'\n\n\n"
    with answering(tmp_path, consent, b"\nNo such server.\n\n") as asked:
        client = AdminSocket(tmp_path / "admin.sock")
        client.run(["set server a/b addr 127.0.0.1 port 2", "set maxconn server a/b 3"])
        with pytest.raises(GatewayUnreachable, match="No such server"):
            client.run(["set maxconn server a/c 3"])
    assert asked[0] == b"set server a/b addr 127.0.0.1 port 2;set maxconn server a/b 3\n"


def test_many_commands_are_sent_in_order_and_in_pieces(tmp_path: Path) -> None:
    """No line is longer than HAProxy's buffer."""
    lines = [f"set map paths.map service-{number}.stable /service-{number}-0123456789ab/" for number in range(600)]
    with answering(tmp_path, *[b"\n"] * 3) as asked:
        AdminSocket(tmp_path / "admin.sock").run(lines)
    assert max(len(line) for line in asked) <= admin.LONGEST_COMMAND_BYTES
    assert ";".join(line.decode().strip() for line in asked).split(";") == lines


def test_a_gateway_that_hangs_is_given_up(tmp_path: Path) -> None:
    """An answer that does not end in time is an error."""
    with answering(tmp_path, b"Pid: 1\n", close=False), pytest.raises(GatewayUnreachable, match="timed out"):
        AdminSocket(tmp_path / "admin.sock", timeout_s=0.05).ask("show info")


def test_an_endless_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is too long is an error."""
    monkeypatch.setattr(admin, "LONGEST_ANSWER_BYTES", 100)
    with answering(tmp_path, b"x" * 101), pytest.raises(GatewayUnreachable, match="does not end"):
        AdminSocket(tmp_path / "admin.sock").ask("show info")


@pytest.mark.parametrize("info", [b"", b"description: x\n", b"\xff\xfe", b"description: hcctl-zz\n"])
def test_somebody_elses_haproxy_is_not_ours(tmp_path: Path, info: bytes) -> None:
    """A process without our description is not told anything."""
    with answering(tmp_path, info), pytest.raises(GatewayUnreachable):
        AdminSocket(tmp_path / "admin.sock").digest()


def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    """A missing socket is the gateway's own error, with a next step."""
    with pytest.raises(GatewayUnreachable) as refusal:
        AdminSocket(tmp_path / "admin.sock").ask("show info")
    assert refusal.value.next_step
