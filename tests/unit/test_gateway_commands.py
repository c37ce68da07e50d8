"""Run-time commands: checked by an interpreter that does to a model what HAProxy does to itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from serving.gateway.commands import commands, key_commands, next_step
from serving.gateway.relief import map_lines
from serving.gateway.routes import TRACKS, ReliefRoute, Routes, ServerRoute, ServiceRoutes, TrackRoute
from serving.gateway.values import SHARE_PARTS, app_path, limit, share_parts, track
from serving.sites.site import Endpoint
from tests.support.gateway_routes import routes, service
from tests.support.gateway_routes import track as make_track

HERE, THERE = Endpoint("127.0.0.1", 8001), Endpoint("127.0.0.1", 8002)
SITES = ("private", "cloud")


@dataclass
class Server:
    endpoint: Endpoint
    maxconn: int
    state: str

    @property
    def room(self) -> int:
        return self.maxconn if self.state == "ready" else 0


@dataclass
class Model:
    """What the commands change in HAProxy."""

    servers: dict[str, Server] = field(default_factory=dict)
    maps: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, current: Routes) -> Model:
        model = cls()
        for one in current:
            name = one.service.name
            model.maps["share.map", name] = str(share_parts(one))
            model.maps |= {("relief.map", key): str(length) for key, length in map_lines(one).items()}
            for t in TRACKS:
                model.maps["paths.map", f"{name}.{t}"] = app_path(track(one, t))
                for server in track(one, t).servers:
                    state = "maint" if server.endpoint is None else "ready" if server.limit else "drain"
                    endpoint = server.endpoint or Endpoint("127.0.0.1", 1)
                    model.servers[f"{name}.{t}/{server.site}"] = Server(endpoint, limit(server) or 99, state)
        return model

    def run(self, command: str) -> None:
        match command.split(" "):
            case ["set", "maxconn", "server", where, number] if int(number) > 0:
                self.servers[where].maxconn = int(number)
            case ["set", "server", where, "state", ("ready" | "drain" | "maint") as state]:
                self.servers[where].state = state
            case ["set", "server", where, "addr", host, "port", port]:
                self.servers[where].endpoint = Endpoint(host, int(port))
            case ["set", "server", where, "health", "up"]:
                assert self.servers[where].state == "ready"
            case ["set", "map", name, key, value]:
                assert (name, key) in self.maps
                self.maps[name, key] = value
            case _:
                raise AssertionError(command)

    def room(self, service_name: str, track_name: str) -> int:
        return sum(s.room for where, s in self.servers.items() if where.startswith(f"{service_name}.{track_name}/"))

    def held(self, service_name: str, site: str) -> int:
        return sum(self.servers[f"{service_name}.{t}/{site}"].room for t in TRACKS)

    def part(self, service_name: str, track_name: str) -> int:
        parts = int(self.maps["share.map", service_name])
        return parts if track_name == "candidate" else SHARE_PARTS - parts


def visible(model: Model) -> dict[str, object]:
    """What differs to a request."""
    servers = {w: (s.room, s.state, s.endpoint if s.state != "maint" else None) for w, s in model.servers.items()}
    return {**servers, **{f"{a} {b}": value for (a, b), value in model.maps.items()}}


def passed_through(current: Routes, desired: Routes) -> Iterator[Model]:
    """Every state between two routes, in order, the last one included; nothing waits in a queue."""
    model = Model.of(current)
    while current != desired:
        step = next_step(current, desired, {})
        assert step != current
        for command in commands(current, step):
            model.run(command)
            yield model
        current = step
    yield model


servers = st.builds(
    ServerRoute, site=st.just(""), endpoint=st.sampled_from([None, HERE, THERE]), limit=st.integers(0, 4)
)
tracks = st.builds(
    lambda path, a, b: TrackRoute(path, (replace(a, site="private"), replace(b, site="cloud"))),
    st.sampled_from(["/", "/shop-1", "/shop-2"]),
    servers,
    servers,
)
SHOP = service(relief={"shed": {"normal_over": 9.0}})
reliefs = st.builds(ReliefRoute, st.dictionaries(st.sampled_from(["shed_low", "shed_normal"]), st.integers(0, 99)))
services = st.builds(
    ServiceRoutes,
    st.just(SHOP),
    tracks,
    tracks,
    st.sampled_from([0.0, 0.00001, 0.2, 0.5, 0.99999, 1.0]),
    st.none() | reliefs,
)


def works(one: ServiceRoutes) -> bool:
    """Whether every track that gets requests has room."""
    model = Model.of((one,))
    return all(model.part("shop", t) == 0 or model.room("shop", t) > 0 for t in TRACKS)


@settings(deadline=None)
@given(services, services)
def test_the_commands_reach_what_is_desired(current: ServiceRoutes, desired: ServiceRoutes) -> None:
    """From any routes to any others, the commands end at exactly what was desired; then none is left."""
    *_, last = passed_through((current,), (desired,))
    assert visible(last) == visible(Model.of((desired,)))
    assert commands((desired,), (desired,)) == []


@settings(deadline=None)
@given(services)
def test_an_unknown_state_is_stated_in_full(desired: ServiceRoutes) -> None:
    """Without knowledge of the present, the commands end at what is desired from anywhere."""
    wild = replace(desired, candidate_share=0.123)
    for t, endpoint in (("stable", None), ("candidate", THERE)):
        made = TrackRoute("/other", tuple(ServerRoute(site, endpoint, 3) for site in SITES))
        wild = replace(wild, stable=made) if t == "stable" else replace(wild, candidate=made)
    model = Model.of((wild,))
    for command in commands(None, (desired,)):
        model.run(command)
    assert visible(model) == visible(Model.of((desired,)))


@settings(deadline=None)
@given(services.filter(works), services.filter(works))
def test_no_request_meets_a_track_without_room(current: ServiceRoutes, desired: ServiceRoutes) -> None:
    """If both ends can serve every request, so can every state in between."""
    for model in passed_through((current,), (desired,)):
        for t in TRACKS:
            assert model.part("shop", t) == 0 or model.room("shop", t) > 0


@settings(deadline=None)
@given(services, services)
def test_limits_are_withdrawn_before_others_grow(current: ServiceRoutes, desired: ServiceRoutes) -> None:
    """While every track keeps a site, none is ever asked to hold more than it is before or after."""
    before, after = Model.of((current,)), Model.of((desired,))
    for t in TRACKS:
        rooms = [(before.servers[f"shop.{t}/{s}"].room, after.servers[f"shop.{t}/{s}"].room) for s in SITES]
        if any(a for a, _ in rooms) and not any(a and b for a, b in rooms):
            return  # it leaves all its sites: covered by the test above
    for model in passed_through((current,), (desired,)):
        for site in SITES:
            assert model.held("shop", site) <= max(before.held("shop", site), after.held("shop", site))


@settings(deadline=None)
@given(services, services)
def test_no_limit_is_ever_zero_or_unlimited(current: ServiceRoutes, desired: ServiceRoutes) -> None:
    """`set maxconn ... 0` would mean no limit, so it is never said."""
    assert not any(line.endswith(" 0") for line in commands((current,), (desired,)) if "maxconn" in line)
    assert not any(line.endswith(" 0") for line in commands(None, (desired,)) if "maxconn" in line)


def test_one_changed_limit_is_one_command() -> None:
    """The usual change touches nothing else."""
    few, more = (routes(service(), make_track("/shop-1", private=(HERE, n), cloud=(THERE, 8))) for n in (2, 5))
    assert commands((few,), (more,)) == ["set maxconn server shop.stable/private 5"]
    assert commands((more,), (few,)) == ["set maxconn server shop.stable/private 2"]


def test_a_level_that_begins_is_one_command() -> None:
    """And one that ends; the lengths of the others stay."""
    stable = make_track("/shop-1", private=(HERE, 4), cloud=(THERE, 8))
    calm, busy = (routes(SHOP, stable, relief=ReliefRoute({"shed_low": n, "shed_normal": 40})) for n in (10, 0))
    assert commands((calm,), (busy,)) == ["set map relief.map shop/shed_low 0"]
    assert commands((busy,), (calm,)) == ["set map relief.map shop/shed_low 10"]


def test_a_promotion_drains_the_candidate_when_none_waits_for_it() -> None:
    """First the stable track takes over and the share falls; the candidate keeps its room while it is needed."""
    old = make_track("/shop-1", private=(HERE, 4), cloud=(THERE, 0))
    new = make_track("/shop-2", private=(HERE, 2), cloud=(THERE, 0))
    before, after = routes(service(), old, new, 0.5), routes(service(), new)
    between = next_step((before,), (after,), {})
    assert commands((before,), between) == [
        "set maxconn server shop.stable/private 2",
        "set map paths.map shop.stable /shop-2/",
        "set server shop.stable/private health up",
        "set maxconn server shop.stable/private 2",
        "set map share.map shop 0",
    ]
    assert next_step(between, (after,), {"shop.candidate": 1, "shop.stable": 0}) == between
    assert next_step(between, (after,), {"shop.candidate": 0, "shop.stable": 9}) == (after,)
    assert commands(between, (after,)) == [
        "set server shop.candidate/private state drain",
        "set map paths.map shop.candidate /",
    ]


hashes = st.dictionaries(st.text("0123456789abcdef", min_size=64, max_size=64), st.just("key"), max_size=4)


@settings(deadline=None)
@given(hashes, hashes)
def test_keys_in_force_become_the_keys_desired(current: dict[str, str], desired: dict[str, str]) -> None:
    """Exactly the missing keys are added and the surplus ones removed, these first."""
    lines = key_commands(current, desired)
    live = dict(current)
    for line in lines:
        match line.split(" "):
            case ["del", "map", "keys.map", digest]:
                assert live.pop(digest)
            case ["add", "map", "keys.map", digest, name]:
                live[digest] = name
    assert live == desired
    assert sorted(lines, key=lambda line: not line.startswith("del")) == lines
