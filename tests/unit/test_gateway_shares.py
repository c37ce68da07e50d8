"""Parts of limits for several gateways: never more than the limit together, and nobody waits for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.gateway import GatewayObservation, ServerObservation
from serving.gateway.routes import ReliefRoute
from serving.gateway.shares import granted, limits_of, merged, parts, with_limits
from serving.sites.site import Endpoint
from tests.support.gateway_routes import routes, service, track

HERE = Endpoint("127.0.0.1", 9)
LIMIT = st.integers(0, 200)
MEMBERS = st.integers(1, 12).map(lambda count: [f"g{number:02d}" for number in range(count)])
COUNTS = st.dictionaries(st.sampled_from([f"g{number:02d}" for number in range(14)]), st.integers(0, 40))


@given(LIMIT, MEMBERS)
def test_parts_are_the_limit_and_nearly_equal(limit: int, members: list[str]) -> None:
    """They add up to it exactly where it is enough for all, and no two ever differ by more than one slot."""
    found = parts(limit, members, key="shop")
    assert list(found) == members
    assert sum(found.values()) == (limit if limit >= len(members) else len(members) * (limit > 0))
    assert max(found.values()) - min(found.values()) <= 1


@given(LIMIT, MEMBERS)
def test_nobody_starves(limit: int, members: list[str]) -> None:
    """Where there is any slot each gateway has one, and where there is none nobody has."""
    assert all(bool(part) == bool(limit) for part in parts(limit, members, key="shop").values())


def test_remainders_of_many_limits_are_spread() -> None:
    """The same gateway does not get every odd slot."""
    members = ["g0", "g1", "g2"]
    totals = dict.fromkeys(members, 0)
    for number in range(90):
        for name, part in parts(4, members, key=f"service-{number}").items():
            totals[name] += part
    assert max(totals.values()) - min(totals.values()) <= 30


@given(COUNTS, COUNTS)
def test_what_is_given_and_what_is_held_never_pass_the_limit(wanted: dict[str, int], held: dict[str, int]) -> None:
    """Together at most what all parts are, or what is held already; nobody gets more than its part."""
    given_now = granted(wanted, held)
    together = sum(max(held.get(name, 0), given_now.get(name, 0)) for name in {*held, *given_now})
    assert together <= max(sum(wanted.values()), sum(held.values()))
    assert all(0 <= given_now[name] <= part for name, part in wanted.items())


@given(LIMIT, MEMBERS)
def test_when_nothing_is_held_everybody_gets_its_part(limit: int, members: list[str]) -> None:
    """Giving is delayed by what others hold, and by nothing else."""
    wanted = parts(limit, members, key="shop")
    assert granted(wanted, {}) == wanted
    assert granted(wanted, wanted) == wanted


@given(LIMIT, LIMIT, MEMBERS)
def test_a_limit_that_falls_is_given_at_once(former: int, limit: int, members: list[str]) -> None:
    """Nobody dips below its new part on the way down."""
    before = parts(former, members, key="shop")
    after = parts(min(limit, former), members, key="shop")
    if all(after[name] <= before[name] for name in members):
        assert granted(after, before) == after


def test_one_gateway_is_as_before() -> None:
    """Alone it has everything, and its queue is the declared one."""
    whole = (routes(service(max_queue=7), track("/shop-1", private=(HERE, 4), cloud=(HERE, 8))),)
    limits = {server: parts(limit, ["g"], key="k")["g"] for server, limit in limits_of(whole).items()}
    assert with_limits(whole, limits, 1) == whole


def test_queues_are_shared_out_like_limits() -> None:
    """The declared length is that of all together, rounded up; relief begins at its part of the length."""
    relief = ReliefRoute({"light": 0, "shed_low": 9}, "v", "/v")
    (whole,) = (routes(service(max_queue=10), track("/shop-1", private=(HERE, 4)), relief=relief),)
    (part,) = with_limits((whole,), {}, 4)
    assert part.service.routing.max_queue == 3
    assert part.relief is not None
    assert part.relief.queue_from == {"light": 0, "shed_low": 3}
    assert [server.limit for server in part.stable.servers] == [0]


def seen(queued: int, in_use: int, *, up: bool = True, limit: int = 2) -> GatewayObservation:
    return GatewayObservation(
        (ServerObservation("shop", "stable", "private", up, limit, in_use),), {"shop": queued}, 5.0
    )


def test_all_together_are_one() -> None:
    """Limits, requests and queues add up; a site is up where one gateway reaches it."""
    found = merged([seen(1, 2, up=False), seen(3, 0)], 9.0)
    assert found.servers == (ServerObservation("shop", "stable", "private", True, 4, 2),)
    assert (found.queued, found.at_s) == ({"shop": 4}, 9.0)
