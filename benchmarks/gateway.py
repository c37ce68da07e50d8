"""Gateway and site against Serve's default proxy: the same trivial handler behind each path."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks.client import Load, Target, measure, measure_in_turn
from benchmarks.figures import Figure, Goal, Section
from benchmarks.stand import CLOUD, ONE_REPLICA, PRIVATE, service, stand
from serving.gateway.routes import ServerRoute, ServiceRoutes, TrackRoute
from serving.sites.site import Application, Endpoint
from serving.spec import HybridService

MANY = 16
SLOTS = 64
PRODUCT, PEER, SITE, GATEWAY_PEER = (
    "gateway -> site (the product)",
    "Serve's default proxy",
    "site direct (HA_PROXY ingress)",
    "gateway -> Serve's default proxy",
)

HOW = f"""\
The same deployment, which answers "ok" at once, runs on one replica each of two sites of kind `local`: one with
`ingress: haproxy`, one with `ingress: default` (Serve's own HTTP proxy). Clients are closed loops on keep-alive
connections in a process of their own. Every repetition loads each path with c = {MANY}, one after the other, and
then lets one client (c = 1) ask all paths in turn, request by request."""


def run(*, repetitions: int, seconds: float, say: Callable[[str], None]) -> Section:
    """Measure all paths, side by side."""
    model = {"slots_per_replica": SLOTS, "max_queued_requests": SLOTS}
    specs = {
        site: service(
            site, "benchmarks.models:Trivial", {site: ONE_REPLICA}, model=model, routing={"prefix": f"/{site}"}
        )
        for site in ("product", "peer")
    }
    with stand(product=PRIVATE, peer={**CLOUD, "ingress": "default"}) as at:
        say("opening two sites")
        version = at.push_nothing("trivial")
        where = at.open(*specs)
        applications = {site: at.application(spec, version) for site, spec in specs.items()}
        for site, application in applications.items():
            at.run(site, application)
        with at.gateway(*specs.values()) as (gateway, front):
            gateway.assert_routes(tuple(_route(specs[site], applications[site], where[site]) for site in specs))
            home, peer = (applications[site].route_prefix for site in ("product", "peer"))
            targets = {  # those that goals compare stand side by side
                GATEWAY_PEER: Target(front.host, front.port, "/peer"),
                PEER: Target(where["peer"].host, where["peer"].port, peer),
                PRODUCT: Target(front.host, front.port, "/product"),
                SITE: Target(where["product"].host, where["product"].port, home),
            }
            return section(_measure(targets, repetitions, seconds, say))


def _route(spec: HybridService, application: Application, where: Endpoint) -> ServiceRoutes:
    (site,) = spec.sites
    stable = TrackRoute(application.route_prefix, (ServerRoute(site, where, SLOTS),))
    return ServiceRoutes(spec, stable, TrackRoute("/", (ServerRoute(site, where, 0),)), 0.0)


def _measure(
    targets: Mapping[str, Target], repetitions: int, seconds: float, say: Callable[[str], None]
) -> dict[tuple[str, int], list[Load]]:
    found: dict[tuple[str, int], list[Load]] = {(name, c): [] for name in targets for c in (MANY, 1)}
    for repetition in range(repetitions):
        say(f"repetition {repetition + 1} of {repetitions}")
        for name, target in targets.items():
            found[name, MANY].append(measure(target, connections=MANY, seconds=seconds))
        for name, load in zip(targets, measure_in_turn(list(targets.values()), seconds=seconds), strict=True):
            found[name, 1].append(load)
    return found


def section(found: Mapping[tuple[str, int], list[Load]]) -> Section:
    """Figures and goals from the loads of all repetitions, paired by repetition."""
    figures = []
    for name in dict.fromkeys(name for name, _ in found):
        many, one = found[name, MANY], found[name, 1]
        figures += [
            Figure(name, f"c={MANY} req/s", tuple(load.rate_rps for load in many)),
            Figure(name, f"c={MANY} p50 ms", tuple(load.p50_ms for load in many)),
            Figure(name, f"c={MANY} p99 ms", tuple(load.p99_ms for load in many)),
            Figure(name, "c=1 req/s", tuple(load.rate_rps for load in one)),
            Figure(name, "c=1 p50 ms", tuple(load.p50_ms for load in one)),
        ]
    ratio = tuple(a.rate_rps / b.rate_rps for a, b in zip(found[PRODUCT, MANY], found[PEER, MANY], strict=True))
    added = tuple(a.p50_ms - b.p50_ms for a, b in zip(found[PRODUCT, 1], found[SITE, 1], strict=True))
    goals = (
        Goal(f"gateway and site: requests/s over Serve's default proxy, c={MANY}", "times", 5.0, "at least", ratio),
        Goal("gateway: added p50 at c=1", "ms", 0.7, "at most", added, reach=0.3),
    )
    return Section("gateway", "Gateway and site", HOW, tuple(figures), goals)
