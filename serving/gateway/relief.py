"""Relief in HAProxy's files: which requests are refused, or go to the relief process. Pure.

`relief.map` has the queue length from which each level of a service applies; the daemon sets it at run time,
0 for a level that is in force. So HAProxy itself acts on a queue that grows between two ticks.

The relief process is a server of the stable backend that balancing never chooses (`weight 0`); `use-server`
sends requests to it. What it cannot answer it gives back with 503, and HAProxy sends it on like any failed
attempt of an idempotent request: to a site, or into the queue. The same happens while it is full or away.

To keep answers it asks the gateway for them like a client, through the socket `again.sock`. Such a request
is ordinary in all but this: no key is asked for, since its original has shown one, and it gets no light answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping

from serving.gateway.answers import PRIORITY_REFUSED, answer
from serving.gateway.routes import ServiceRoutes, Track
from serving.gateway.values import (
    RELIEF,
    RELIEF_SERVER,
    app_path,
    backend,
    folder,
    integer,
    label,
    milliseconds,
    refused,
)
from serving.spec_relief import RELIEF_LEVELS, SHED, ReliefLevel, ReliefLight

RELIEF_SOCKET, AGAIN_SOCKET = "relief.sock", "again.sock"
RELIEF_SERVICES = "relief.json"
"""What the relief process does, service by service; it runs while this file is there."""
AGAIN_BIND = 2
"""Id of the gateway's listener for the relief process."""
NEVER = 1_000_000_000
LONGEST_BODY_BYTES = 16_384
"""A longer body might not fit the buffer from which a request is sent on."""

_FROM_RELIEF = f"{{ srv_name -m str {RELIEF_SERVER} }}"
_PASSED = "{ var(txn.relief) -m str pass }"


def any_relief(services: Iterable[ServiceRoutes]) -> bool:
    """Whether some service declares relief."""
    return any(service.service.relief for service in services)


def any_light(services: Iterable[ServiceRoutes]) -> bool:
    """Whether some service needs the relief process."""
    return any(_light(service) for service in services)


def sharing(rule_relief: str | None) -> str:
    """The part of a rule's entry in rules.map that says who may share its kept answers; empty: nobody."""
    if rule_relief is None:
        return ""
    if rule_relief not in ("shared", "per_caller"):
        raise refused("relief", rule_relief)
    return f"{rule_relief}:"


def map_lines(service: ServiceRoutes) -> dict[str, int]:
    """Lines of relief.map: per declared level, the queue length from which it applies."""
    if service.service.relief is None:
        return {}
    known = service.relief.queue_from if service.relief else {}
    return {
        f"{label(service.service.name)}/{level}": integer(min(known.get(level, NEVER), NEVER), "queue_from", 0, NEVER)
        for level in _levels(service)
    }


def levels_in_force(service: ServiceRoutes, lines: Mapping[str, str]) -> dict[ReliefLevel, int]:
    """The inverse of `map_lines`, from the map as HAProxy has it.

    Raises:
        KeyError, ValueError: a line is missing, or is no number.
    """
    return {level: int(lines[f"{service.service.name}/{level}"]) for level in _levels(service)}


def services_file(services: Iterable[ServiceRoutes]) -> str:
    """What the relief process reads: the services with light answers, their settings and versions."""
    entries = [
        {
            "name": label(service.service.name),
            "version": service.relief.version if service.relief else "",
            "version_dir": service.relief.version_dir if service.relief else "",
            "application": app_path(service.stable),
            "light": light.model_dump(mode="json"),
        }
        for service in services
        if (light := _light(service))
    ]
    return json.dumps({"services": entries}, indent=1)


def frontend_bind() -> str:
    """The listener for the relief process, for this user only."""
    return f"  bind unix@{AGAIN_SOCKET} mode 600 id {AGAIN_BIND}\n"


def answer_headers(*, any_relief: bool, light: bool) -> str:
    """Headers of every answer. What the relief process passes on has those of the original answer already.

    Args:
        any_relief: some service declares relief; without it nothing of it stands here.
        light: some service has light answers.
    """
    not_passed = f" !{_PASSED}" if light else ""
    lines = [
        f"set-header X-Request-Id %[unique-id]{f' unless {_PASSED}' if light else ''}",
        f"del-header X-Hcctl- -m beg{f' unless {_PASSED}' if light else ''}",
        f"set-header X-Hcctl-Site %[srv_name] if {{ srv_name -m found }}{f' !{_FROM_RELIEF}' if light else ''}",
        f"set-header X-Hcctl-Track %[var(txn.track)] if {{ var(txn.track) -m found }}{not_passed}",
    ]
    if any_relief:
        lines.append(f"set-header X-Hcctl-Relief %[var(txn.relief)] if {{ var(txn.relief) -m found }}{not_passed}")
    if light:
        lines.append(f"del-header X-Hcctl-Relief if {_PASSED}")
        lines.append(f"set-header X-Hcctl-App %[var(txn.app)] if {{ so_id {AGAIN_BIND} }}")
    return "".join(f"  http-after-response {line}\n" for line in lines)


def backend_rules(service: ServiceRoutes, name: Track, *, depth: int, full: str, retry_after_s: int) -> str:
    """Rules of one track of a service that declares relief, in the place of the plain refusals.

    Args:
        service: the service.
        name: the track; only the stable one has light answers.
        depth: `max_queue`.
        full: the answer when too many wait.
        retry_after_s: seconds that a refused client is asked to wait.
    """
    light = _light(service) if name == "stable" else None
    not_light = " !{ var(txn.way) -m found }" if light else ""
    refuse = answer(429, *PRIORITY_REFUSED, f"Retry-After {retry_after_s}")
    return f"""\
  http-request set-var(txn.waiting) queue({backend(service, name)}),add(txn.waiting)
{"".join(_shed(service))}\
  http-request set-var(txn.full) bool(true) if {{ var(txn.waiting) -m int ge {depth} }}
  http-request set-var(txn.full) bool(true) if {{ var(txn.rule) -m end :low }} \
{{ var(txn.waiting) -m int ge {max(1, depth // 4)} }}
{_light_rules(service, light, retry_after_s) if light else ""}\
  http-request set-var-fmt(txn.relief) shed;priority=%[var(txn.shed)] if {{ var(txn.shed) -m found }}{not_light}
  http-request return {refuse} if {{ var(txn.shed) -m found }}{not_light}
  http-request return {full} if {{ var(txn.full) -m bool }}{not_light}
"""


def backend_server(service: ServiceRoutes, name: Track) -> str:
    """The relief process as a server of the stable backend; empty without light answers."""
    light = _light(service) if name == "stable" else None
    if light is None:
        return ""
    slots, queue = integer(light.slots, "slots", 2, 1_000), integer(light.max_queue, "max_queue", 1, 10_000)
    return f"""\
  use-server {RELIEF_SERVER} if {{ var(txn.way) -m found }}
  server {RELIEF_SERVER} unix@{RELIEF_SOCKET} id 99 weight 0 maxconn {slots} maxqueue {queue}
"""


def _shed(service: ServiceRoutes) -> Iterator[str]:
    """`txn.shed` is the priority for whose sake a request is refused."""
    for level in _levels(service):
        if level in SHED:
            yield _from(service, level)
            yield (
                f"  http-request set-var(txn.shed) str({SHED[level]}) "
                f"if {{ var(txn.rule) -m end :{SHED[level]} }} {{ var(txn.waiting),sub(txn.from) ge 0 }}\n"
            )


def _light_rules(service: ServiceRoutes, light: ReliefLight, retry_after_s: int) -> str:
    """`txn.way` is `light` for a request that gets a light answer, `fill` for one whose answer is to be kept."""
    where = f"{backend(service, 'stable')}/{RELIEF_SERVER}"
    parts = round(light.fill_share * 1_000) if light.max_stale_s > 0 else 0
    routing = service.service.routing
    # What passes through the relief process may wait in the queue there.
    span_ms = milliseconds(routing.queue_timeout_s) + milliseconds(routing.timeout_s)
    return f"""\
  http-request set-var(txn.may) bool(true) if {{ var(txn.rule) -m sub :shared: :per_caller: }} {{ method GET POST }} \
{{ req.body_size le {LONGEST_BODY_BYTES} }} !{{ so_id {AGAIN_BIND} }}
{_from(service, "light")}\
  # With room for it there; else it is refused or waits like others.
  http-request set-var(txn.way) str(light) if {{ var(txn.may) -m bool }} {{ var(txn.waiting),sub(txn.from) ge 0 }} \
{{ srv_is_up({where}) }} {{ srv_queue({where}) lt {light.max_queue} }}
  http-request set-var(txn.way) str(fill) if {{ var(txn.may) -m bool }} !{{ var(txn.way) -m found }} \
!{{ var(txn.shed) -m found }} {{ var(txn.waiting) -m int eq 0 }} {{ rand(1000) lt {parts} }} \
{{ srv_conn({where}) lt {light.slots // 2} }}
  http-request set-timeout server {span_ms}ms if {{ var(txn.way) -m found }}
  http-request set-header X-Hcctl-Way %[var(txn.way)] if {{ var(txn.way) -m found }}
  http-request set-header X-Hcctl-Service {label(service.service.name)} if {{ var(txn.way) -m found }}
  http-request set-header X-Hcctl-Prefix {folder(routing.prefix)} if {{ var(txn.way) -m found }}
  http-request set-header X-Hcctl-Sharing %[var(txn.rule),field(2,:)] if {{ var(txn.way) -m found }}
  http-request set-header X-Hcctl-Caller %[var(txn.key)] if {{ var(txn.way) -m found }} {{ var(txn.key) -m found }}
  http-request set-header X-Hcctl-Refuse full if {{ var(txn.way) -m str light }} {{ var(txn.full) -m bool }}
  http-request set-header X-Hcctl-Refuse %[var(txn.shed)] if {{ var(txn.way) -m str light }} \
{{ var(txn.shed) -m found }}
  http-response set-var(txn.relief) res.hdr(X-Hcctl-Relief) if {_FROM_RELIEF}
  http-response set-header Retry-After {retry_after_s} if {_FROM_RELIEF} {{ status 429 }}
"""


def _from(service: ServiceRoutes, level: ReliefLevel) -> str:
    """`txn.from` is the queue length from which the level applies."""
    key = f"{label(service.service.name)}/{level}"
    return f"  http-request set-var(txn.from) str({key}),map_str_int({RELIEF},{NEVER})\n"


def _light(service: ServiceRoutes) -> ReliefLight | None:
    return service.service.relief.light if service.service.relief else None


def _levels(service: ServiceRoutes) -> list[ReliefLevel]:
    declared = service.service.relief.entries_s(1.0) if service.service.relief else {}
    return [level for level in RELIEF_LEVELS if level in declared]
