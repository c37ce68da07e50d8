"""A cold start of a local site, stage by stage, until a torch model answers through the gateway."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

from benchmarks.batching import BODY, save_tower, tower_service
from benchmarks.figures import Figure, Section
from benchmarks.stand import PRIVATE, stand, wait
from serving.gateway.routes import ServerRoute, ServiceRoutes, TrackRoute

HOW = """\
One site of kind `local` alone, opened from nothing, running a torch model (3 dense layers, about 34 MB of weights) and
closed again. Seconds from the call of `open()`: the ingress of the new Ray cluster answers; the site reports the
application running with a replica that its ingress reaches; a request through the gateway is answered. Then the
seconds that closing takes, until no process is left."""


def run(*, repetitions: int, say: Callable[[str], None]) -> Section:
    """Open, run, ask, close; as often as told."""
    laps: dict[str, list[float]] = {}
    for repetition in range(repetitions):
        say(f"start {repetition + 1} of {repetitions}")
        for stage, took_s in _once().items():
            laps.setdefault(stage, []).append(took_s)
    figures = tuple(Figure(stage, "s", tuple(values)) for stage, values in laps.items())
    return Section("start", "Cold start", HOW, figures, ())


def _once() -> dict[str, float]:
    spec = tower_service(max_batch_size=8)
    laps = {}
    with stand(private=PRIVATE) as at, at.gateway(spec) as (gateway, front):
        version = at.push(spec.name, save_tower(at.project.paths.root / "tower"))
        application = at.application(spec, version)
        begun_s = time.monotonic()
        site = at.sites["private"]
        where = at.open("private")["private"]
        laps["site open"] = time.monotonic() - begun_s
        at.run("private", application)
        laps["application running"] = time.monotonic() - begun_s
        stable = TrackRoute(application.route_prefix, (ServerRoute("private", where, 8),))
        gateway.assert_routes((ServiceRoutes(spec, stable, TrackRoute("/", (ServerRoute("private", None, 0),)), 0.0),))
        wait(lambda: _ask(front.host, front.port), "the first answer")
        laps["first answer"] = time.monotonic() - begun_s
        begun_s = time.monotonic()
        site.close()
        laps["closing"] = time.monotonic() - begun_s
    return laps


def _ask(host: str, port: int) -> bool:
    return httpx.post(f"http://{host}:{port}/", content=BODY, timeout=10.0, trust_env=False).status_code == 200
