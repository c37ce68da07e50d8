"""HAProxy's files, from routes: pure text, in which nothing stands that was not checked here.

    haproxy.cfg    one frontend; per service two backends, `<service>.stable` and `<service>.candidate`
    outlier.lua    the rule that takes traffic from a failing site (see there)
    services.map   path prefix -> service          rules.map   service and path -> `again|once:priority`
    share.map      service -> candidate's share    paths.map   backend -> path of the version's application
    keys.map       SHA-256 of an API key -> its name
    relief.map, relief.json    only where a service declares relief; see `relief.py`

What changes at run time (limits, addresses, shares, paths, keys, relief) stands in the files as well, so
that a gateway that restarts comes back with it. `static_digest` names all the rest: only when
that changes is a reload needed. Paths are relative to the gateway's folder, so none is written here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from serving.errors import InvalidInput
from serving.gateway import framing, relief
from serving.gateway.answers import QUEUE_FULL, answer
from serving.gateway.routes import TRACKS, Routes, ServerRoute, ServiceRoutes, Track, TrackRoute
from serving.gateway.values import (
    KEYS,
    PATHS,
    RELIEF,
    RULES,
    SERVICES,
    SHARE,
    SHARE_PARTS,
    address_text,
    app_path,
    backend,
    folder,
    host_name,
    host_text,
    integer,
    label,
    limit,
    milliseconds,
    refused,
    sha256,
    share_parts,
    track,
)
from serving.sites.site import Endpoint
from serving.spec import Routing

CONFIG = "haproxy.cfg"
OUTLIER = "outlier.lua"
ADMIN_SOCKET, MASTER_SOCKET, LOG_SOCKET, TLS_PEM = "admin.sock", "master.sock", "requests.sock", "tls.pem"
SITES_PEM, SITES_CA = "sites.pem", "sites-ca.pem"

RING = "requests"

BUFFER_BYTES = 32_768
"""A request is sent again only from this buffer: a 16 KiB body and its headers fit."""

_OUTLIER_LUA = Path(__file__).with_name(OUTLIER).read_text(encoding="ascii")


@dataclass(frozen=True)
class ListenSettings:
    """Where and how the gateway listens; changing one needs a reload or a restart."""

    host: str
    """IP address to bind."""
    port: int
    gateway_dir: Path
    """Absolute; the gateway's files and control sockets, for its owner only."""
    log_socket: Path
    """Stream socket that gets one line per request; see `logstream.LogStream`."""
    tls_certificate: Path | None = None
    """PEM file with certificate and key. None: plain HTTP."""
    sites_tls: Path | None = None
    """Folder with tls.crt, tls.key and ca.crt: sites are reached by TLS, show a certificate of that authority for their
    own name, and ask for this one. None: plain HTTP."""
    require_api_key: bool = False
    keys_file: Path | None = None
    """API keys (`keys.KeyFile`); None: there are none, so with `require_api_key` nobody gets in."""
    allowed_hosts: tuple[str, ...] = ()
    """Names for this gateway besides its own address and `localhost`; matter only without keys."""
    max_connections: int = 10_000
    """Connections held at once, queued requests included; more wait in the kernel."""
    threads: int = 2
    request_timeout_s: float = 5.0
    """How long a client may take to send headers and as much of the body as fits the buffer."""
    eject_s: float = 5.0
    """How long a failing site gets no traffic before it is tried again."""


def render(routes: Routes, listen: ListenSettings, keys: Iterable[tuple[str, str]] = ()) -> dict[str, str]:
    """All files (name -> text) that make the gateway do `routes`.

    Args:
        routes: what to do.
        listen: where to listen.
        keys: (hex SHA-256, name) of each API key.

    Raises:
        InvalidInput: a value is outside its pattern, or two services share a prefix.
    """
    services = sorted(routes, key=lambda service: service.service.name)
    _refuse_shared_prefix(services)
    files = {
        SERVICES: _map((folder(s.service.routing.prefix), label(s.service.name)) for s in services),
        RULES: _map(line for s in services for line in _rules(s)),
        SHARE: _map((label(s.service.name), str(share_parts(s))) for s in services),
        PATHS: _map((backend(s, t), app_path(track(s, t))) for s in services for t in TRACKS),
        KEYS: _map((sha256(digest), label(name)) for digest, name in sorted(keys)),
        OUTLIER: _OUTLIER_LUA,
    }
    if relief.any_relief(services):
        files[RELIEF] = _map((key, str(length)) for s in services for key, length in relief.map_lines(s).items())
    if relief.any_light(services):
        files[relief.RELIEF_SERVICES] = relief.services_file(services)
    files[CONFIG] = _config(services, listen, static_digest(routes, listen))
    return files


def listen_header(listen: ListenSettings) -> str:
    """First line of haproxy.cfg: names the settings it was made for, not the routes."""
    return f"# hcctl gateway {hashlib.sha256(_config([], listen, '').encode()).hexdigest()[:16]}"


def static_digest(routes: Routes, listen: ListenSettings) -> str:
    """Names everything that only a reload can change; the running gateway tells its own."""
    blank = sorted((_without_run_time(s) for s in routes), key=lambda service: service.service.name)
    text = [_config(blank, listen, ""), _OUTLIER_LUA]
    text += [_map([(folder(s.service.routing.prefix), s.service.name), *_rules(s)]) for s in blank]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()[:16]


def _config(services: Sequence[ServiceRoutes], listen: ListenSettings, digest: str) -> str:
    head = f"{listen_header(listen)}\n" if digest else ""
    spans = [(s.service.routing.queue_timeout_s, s.service.routing.timeout_s) for s in services]
    longest = max((milliseconds(queued) + milliseconds(sent) for queued, sent in spans), default=0)
    tracks = (_backend(service, name, listen) for service in services for name in TRACKS)
    front = _frontend(listen, any_relief=relief.any_relief(services), light=relief.any_light(services))
    return head + "\n".join([_global(listen, digest, longest), _RING, _defaults(listen), front, *tracks])


def _global(listen: ListenSettings, digest: str, longest_ms: int) -> str:
    return f"""\
global
  description hcctl-{digest}
  stats socket unix@{ADMIN_SOCKET} mode 600 level admin expose-fd listeners
  stats timeout 10s
  nbthread {integer(listen.threads, "threads", 1, 64)}
  fd-hard-limit {2 * integer(listen.max_connections, "max_connections", 10, 1_000_000) + 200}
  # A second gateway on the same port is refused instead of sharing it silently.
  noreuseport
  tune.bufsize {BUFFER_BYTES}
  tune.maxrewrite 2048
  ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
  # What a reload leaves behind may finish every request that it holds.
  hard-stop-after {longest_ms + 15_000}ms
  mworker-max-reloads 10
  lua-load {OUTLIER} {milliseconds(listen.eject_s)}
"""


_RING = f"""\
# Keeps the last log lines (about 8,000) while their reader is busy or away.
ring {RING}
  format raw
  maxlen 512
  size 1048576
  timeout connect 1s
  timeout server 10s
  server reader unix@{LOG_SOCKET} log-proto legacy
"""


def _defaults(listen: ListenSettings) -> str:
    return f"""\
defaults
  mode http
  timeout connect 1s
  timeout check 1s
  timeout http-request {milliseconds(listen.request_timeout_s)}ms
  timeout http-keep-alive 20s
  timeout client 30s
  # Only complete requests take a slot; those whose client has gone leave the queue.
  option http-buffer-request
  option abortonclose
  option http-restrict-req-hdr-names delete
  # HTTP/1 only, whatever preface a client sends: bodies of HTTP/2 need no length that could be held to the limit.
  option disable-h2-upgrade
  option dontlognull
  # On a reload, a keep-alive connection is closed with its next answer, never under a request.
  option idle-close-on-response
  # Nothing was sent when a connection fails, so every request may try the next site. The other
  # causes are for idempotent routes (`disable-l7-retry` in the frontend). Not response-timeout:
  # a slow request would hold four slots in turn.
  retries 4
  option redispatch 1
  retry-on conn-failure empty-response junk-response 500 502 503
  # Each request goes to its site on a connection of its own. A kept one may lead to a site that has just died (and
  # each retry to another one), or to the former process of an ingress that was reloaded, which still sends to replicas
  # that are gone.
  option http-server-close
  http-reuse never
  # Two refused connections in a row: it is gone, long before its checks say so. What overflowed there waits for the
  # other site. Idle connections are kept shorter than usual HTTP servers do, so that none closes under a request.
  default-server check inter 1s fall 2 rise 2 pool-purge-delay 2s observe layer4 error-limit 2 on-error mark-down
  http-error {answer(400, "bad_request", "The request is not valid HTTP.")}
  http-error {answer(408, "request_timeout", "The request did not arrive in time.")}
  http-error {answer(500, "gateway_error", "The gateway could not handle the request.")}
  http-error {answer(502, "bad_answer", "The site broke off or sent no valid answer.")}
"""


def _frontend(listen: ListenSettings, *, any_relief: bool, light: bool) -> str:
    tls = f" ssl crt {TLS_PEM} alpn http/1.1" if listen.tls_certificate else ""
    told = " %[var(txn.relief)]" if any_relief else ""
    again = f"{{ so_id {relief.AGAIN_BIND} }}"
    first = f" !{again}" if light else ""
    return f"""\
frontend gateway
  bind {address_text(Endpoint(listen.host, listen.port))}{tls}
{relief.frontend_bind() if light else ""}\
  unique-id-format %[uuid()]
  # One line per request, of our own values only; `logline.py` reads it. Only the frontend logs.
  log ring@{RING} len 512 format raw local0
  log-format '%Ts%ms %Th %Ti %[var(txn.service)] %[var(txn.track)] %s %ST %Tw %Ta %ts %B %ID{told}'
  error-log-format '%Ts%ms 0 0 - - <NOSRV> 400 -1 0 PR 0 -'
{relief.answer_headers(any_relief=any_relief, light=light)}\
{framing.FRAMING}\
{_key_check(f" || {again}" if light else "") if listen.require_api_key else _browser_check(listen)}\
{framing.PATH}\
  http-request set-var(txn.path) path,concat(/)
  http-request set-var(txn.service) var(txn.path),map_beg({SERVICES})
  http-request return {answer(404, "unknown_path", "No service has this path.")} \
unless {{ var(txn.service) -m found }}
  http-request set-var(txn.rule) var(txn.service),concat(,txn.path),map_beg({RULES},once:normal)
  http-request disable-l7-retry unless {{ var(txn.rule) -m beg again: }}
  http-request set-priority-class int(-1) if {{ var(txn.rule) -m end :high }}
  http-request set-priority-class int(1) if {{ var(txn.rule) -m end :low }}
  http-request set-var(txn.share) var(txn.service),map_str_int({SHARE},0)
  http-request set-var(txn.track) str(stable)
  http-request set-var(txn.track) str(candidate) if {{ rand({SHARE_PARTS}),sub(txn.share) lt 0 }}{first}
  http-request set-var(txn.app) var(txn.service),concat(.,txn.track),map_str({PATHS},/)
  http-request del-header Upgrade
  http-request del-header X-Hcctl- -m beg
  http-request set-header X-Request-Id %[unique-id]
  use_backend %[var(txn.service)].%[var(txn.track)]
"""


def _key_check(or_else: str) -> str:
    """Rules that let in who has a key; `or_else` is another condition to be let in."""
    unauthorized = answer(
        401, "unauthorized", "Send a valid key: Authorization: Bearer KEY.", "WWW-Authenticate Bearer"
    )
    return f"""\
  http-request set-var(txn.key) http_auth_bearer,sha2(256),hex,lower,map_str({KEYS})
  http-request return {unauthorized} unless {{ var(txn.key) -m found }}{or_else}
  http-request del-header Authorization
"""


def _browser_check(listen: ListenSettings) -> str:
    """Rules that keep web pages out where no key does: a page open on this computer reaches loopback.

    It comes under a name of its own that it lets point here (DNS rebinding), which Host tells; or from
    its own origin, which Origin tells, or Sec-Fetch-Site where a browser sends no Origin. Other
    clients send neither.
    """
    named = [host_name(name) for name in listen.allowed_hosts]
    hosts = " ".join(dict.fromkeys(["localhost", "127.0.0.1", "[::1]", host_text(listen.host), *named]))
    declared = f" !{{ var(txn.origin),host_only -m str {' '.join(named)} }}" if named else ""
    foreign = answer(403, "foreign_origin", "Web pages of other origins are not served.")
    return f"""\
  http-request set-var(txn.host) req.fhdr(host),lower
  http-request return {answer(421, "foreign_host", "This gateway does not go by that host name.")} \
if {{ var(txn.host) -m found }} !{{ var(txn.host),host_only -m str {hosts} }}
  http-request set-var(txn.origin) req.fhdr(origin),lower,regsub(^https?://,)
  http-request return {foreign} if {{ var(txn.origin) -m found }} \
!{{ var(txn.origin),strcmp(txn.host) eq 0 }}{declared}
  http-request return {foreign} if !{{ var(txn.origin) -m found }} {{ req.fhdr(sec-fetch-site) -m str cross-site }}
"""


def _backend(service: ServiceRoutes, name: Track, listen: ListenSettings) -> str:
    routing: Routing = service.service.routing
    this, other = (backend(service, t) for t in sorted(TRACKS, key=lambda t: t != name))
    retry_s = integer(routing.retry_after_s, "retry_after_s", 1, 3_600)
    retry = f"Retry-After {retry_s}"
    body = integer(routing.max_body_bytes, "max_body_bytes", 1, 1 << 30)
    depth = integer(routing.max_queue, "max_queue", 1, 100_000)
    full = answer(429, *QUEUE_FULL, retry)
    if service.service.relief:
        refusals = relief.backend_rules(service, name, depth=depth, full=full, retry_after_s=retry_s)
    else:
        refusals = _refusals(this, depth, full)
    return f"""\
backend {this}
  balance first
  timeout queue {milliseconds(routing.queue_timeout_s)}ms
  timeout server {milliseconds(routing.timeout_s)}ms
  http-error {answer(503, "no_capacity", "No site could take the request; try again later.", retry)}
  http-error {answer(504, "site_timeout", "The site did not answer in time.", retry)}
  http-request return {answer(413, "body_too_large", f"A body may have {body} bytes.")} \
if {{ req.body_size gt {body} }}
  http-request set-var(txn.waiting) queue({other})
{refusals}\
  http-request set-path %[var(txn.app)]%[path,bytes({len(folder(routing.prefix))})]
  option httpchk GET /-/healthz
  http-check expect status 200
{relief.backend_server(service, name)}\
{_servers(track(service, name), tls=listen.sites_tls is not None)}"""


def _refusals(this: str, depth: int, full: str) -> str:
    """Too many wait already, in both tracks together."""
    return f"""\
  http-request return {full} if {{ queue({this}),add(txn.waiting) ge {depth} }}
  http-request return {full} if {{ var(txn.rule) -m end :low }} \
{{ queue({this}),add(txn.waiting) ge {max(1, depth // 4)} }}
"""


def _servers(route: TrackRoute, *, tls: bool) -> str:
    return "".join(_server(number, server, tls=tls) for number, server in enumerate(route.servers, 1))


def _server(number: int, server: ServerRoute, *, tls: bool) -> str:
    """A server line. One that may take nothing starts in maintenance: maxconn 0 would mean no limit."""
    where = address_text(server.endpoint or Endpoint("127.0.0.1", 1))
    off = "" if limit(server) else " disabled"
    name = label(server.site)
    secure = (
        f" ssl verify required crt {SITES_PEM} ca-file {SITES_CA} ssl-min-ver TLSv1.2"
        f" sni str({name}) check-sni {name} verifyhost {name}"
        if tls
        else ""
    )
    return f"  server {name} {where} id {number} maxconn {max(1, limit(server))}{secure}{off}\n"


def _rules(service: ServiceRoutes) -> list[tuple[str, str]]:
    """Lines of rules.map; the first of two rules for the same path counts."""
    routing = service.service.routing
    found: dict[str, str] = {}
    for rule in routing.rules:
        if rule.priority not in ("high", "normal", "low"):
            raise refused("priority", rule.priority)
        path = folder(routing.prefix) + folder(rule.path)[1:]
        again = "again" if rule.idempotent else "once"
        entry = f"{again}:{relief.sharing(rule.relief)}{rule.priority}"
        found.setdefault(f"{label(service.service.name)}{path}", entry)
    return list(found.items())


def _map(lines: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{key} {value}\n" for key, value in lines)


def _without_run_time(service: ServiceRoutes) -> ServiceRoutes:
    def blank(route: TrackRoute) -> TrackRoute:
        return TrackRoute("/", tuple(replace(s, endpoint=None, limit=0) for s in route.servers))

    return replace(
        service, stable=blank(service.stable), candidate=blank(service.candidate), candidate_share=0.0, relief=None
    )


def _refuse_shared_prefix(services: Iterable[ServiceRoutes]) -> None:
    owner: dict[str, str] = {}
    for service in services:
        name, prefix = service.service.name, folder(service.service.routing.prefix)
        if prefix in owner:
            raise InvalidInput(
                "two services have the same path",
                where=f"{name}: routing.prefix",
                why=f"{owner[prefix]} already has {prefix}",
                next_step="give one of them another prefix",
            )
        owner[prefix] = name
