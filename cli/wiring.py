"""The only place that chooses real parts: store, registry, sites, gateway, daemon, supervisor."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cli import clusters, copies, gateways, machines, observing, stores
from cli.context import Project, installed_version
from serving.errors import HcctlError, InvalidInput, RefusedByBudget
from serving.paths import ProjectPaths, private_dir

if TYPE_CHECKING:
    from autoscaler.observing.fleet_receiver import FleetReceiver
    from serving.gateway.haproxy import HaproxyGateway
    from serving.registry import Registry
    from serving.sites.site import Site
    from serving.spec import HybridService
    from serving.state import Store
    from serving.supervisor import Plan

GATEWAY_PORTS = range(18_000, 20_000)
UNSUPERVISED_GRACE_S = 3.0
"""How long a command waits for a daemon that no supervisor of this computer brings: a candidate elsewhere may lead."""
SOURCE_ROOT = Path(__file__).resolve().parents[1]
"""Where the packages lie: child processes must import the same hcctl."""

store = stores.store
rented = machines.rented
pod_logs, own_logs, OWN_PODS = clusters.pod_logs, clusters.own_logs, clusters.OWN_PODS
copies_of, replicate = copies.copies, copies.replicate


def registry(paths: ProjectPaths) -> Registry:
    """The project's versions."""
    from serving.registry import Registry

    private_dir(paths.state_dir)
    return Registry(paths.registry_dir)


def sites(project: Project, *, guard: Callable[[], None] = lambda: None) -> dict[str, Site]:
    """The project's sites, in the order in which the gateway fills them.

    Args:
        project: declares them.
        guard: raises NotLeading when nothing may be changed any more; asked before each change in a cluster.
    """
    return {name: _site(project, name, guard) for name in project.spec.site_order}


def _site(project: Project, name: str, guard: Callable[[], None]) -> Site:
    spec = project.spec.sites[name]
    if spec.kubernetes is None:
        from serving.sites.local import LocalSite

        return LocalSite(name, spec, project.paths, python_path=(project.paths.root, SOURCE_ROOT))
    from serving.sites.kubernetes.manifest import Identity
    from serving.sites.kubernetes.site import KubernetesSite

    identity = Identity(project.spec.name, name, spec.kubernetes.namespace)
    return KubernetesSite(identity, spec, clusters.access(project, spec.kubernetes, guard))


def gateway(project: Project) -> HaproxyGateway:
    """The project's gateway, on the port recorded for it."""
    from serving.gateway.config import ListenSettings
    from serving.gateway.haproxy import HaproxyGateway

    spec = project.spec.gateway
    certificate = None
    if spec.tls_certificate is not None:
        certificate = (project.paths.root / spec.tls_certificate).resolve()
        if not certificate.is_file():
            raise InvalidInput(
                "the gateway's certificate is not there",
                where="gateway.tls_certificate",
                why=f"{certificate} is no file",
                next_step="give a PEM file with certificate and key",
            )
    private_dir(project.paths.run_dir)  # refuses another user's, before anything is made in it
    return HaproxyGateway(
        ListenSettings(
            host=spec.host,
            port=gateway_port(project),
            tls_certificate=certificate,
            require_api_key=spec.require_api_key,
            allowed_hosts=tuple(spec.allowed_hosts),
            gateway_dir=private_dir(project.paths.gateway_dir),
            log_socket=project.paths.gateway_log_socket,
            keys_file=project.paths.keys_file,
            sites_tls=gateways.sites_folder(project),
        )
    )


def gateway_port(project: Project) -> int:
    """The declared port, or a free one below those of the sites, chosen once and recorded.

    Raises:
        HcctlError: no port is free, or the record is damaged.
    """
    from serving.files import exclusive, write_atomic
    from serving.sites.ports import listening_ports

    if project.spec.gateway.port:
        return project.spec.gateway.port
    file = private_dir(project.paths.state_dir) / "gateway-port"
    with exclusive(file.with_suffix(".lock")):
        if file.exists():
            recorded = file.read_bytes()[:6]
            if recorded.isdigit() and 0 < int(recorded) < 65_536:
                return int(recorded)
            raise HcctlError(
                "the recorded port of the gateway cannot be read",
                where=str(file),
                next_step="run `hcctl down`, delete the file, then `hcctl up`: it chooses another port",
            )
        taken = listening_ports()
        start = zlib.crc32(str(project.paths.root).encode())  # projects side by side rarely meet
        for step in range(len(GATEWAY_PORTS)):
            port = GATEWAY_PORTS[(start + step) % len(GATEWAY_PORTS)]
            if port not in taken:
                write_atomic(file, str(port).encode())
                return port
    raise HcctlError("no port is free for the gateway", next_step="stop other projects, or set gateway.port")


def endpoint(project: Project) -> str | None:
    """URL of the gateway; None before its port was chosen."""
    spec = project.spec.gateway
    if not spec.port and not (project.paths.state_dir / "gateway-port").exists():
        return None
    host = f"[{spec.host}]" if ":" in spec.host else spec.host
    return f"{'https' if spec.tls_certificate else 'http'}://{host}:{gateway_port(project)}"


def daemon_alive(paths: ProjectPaths) -> bool:
    """Whether some daemon holds the project's lock, or its lease where the state is in a cluster."""
    declared = stores.cluster_state(paths)
    if declared is not None:
        from serving.kubernetes_state.lease import leader

        _, state = declared
        return leader(stores.state_api(paths, state), state.namespace, time.time()) is not None
    try:
        with paths.daemon_lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def require_daemon(paths: ProjectPaths) -> None:
    """Refuse a command that only the daemon can carry out, once nothing is about to start one.

    Raises:
        HcctlError: no daemon runs, and none came while a supervisor, or another candidate, could have brought it.
    """
    from cli.intents import DAEMON_GRACE_S
    from serving.sites.processes import is_alive, read_record

    began_s = time.monotonic()
    while not daemon_alive(paths):
        supervisor = read_record(paths.supervisor_record)
        supervised = supervisor is not None and is_alive(supervisor)
        if time.monotonic() - began_s > (DAEMON_GRACE_S if supervised else UNSUPERVISED_GRACE_S):
            raise HcctlError("the daemon is not running", where=str(paths.root), next_step="start it with `hcctl up`")
        time.sleep(0.1)


def run_daemon(project: Project, *, shadow: bool, metrics: str = "") -> None:
    """Run the daemon until SIGTERM. One per project and computer; where the state is in a cluster, one leads of all.

    Args:
        project: what to run.
        shadow: decide and record, change nothing.
        metrics: `HOST:PORT` for `/metrics`; empty: where the project file says.

    Raises:
        HcctlError: another daemon runs here, or metrics cannot be served there.
        InvalidInput: `metrics` is no address.
        NotLeading: another one has taken over.
    """
    from autoscaler.daemon import Daemon
    from autoscaler.handles import ThreadExecutor
    from autoscaler.observing.probe import send_probes
    from autoscaler.observing.receiver import Receiver, RequestLog
    from autoscaler.service import Wakeup, run, stop_on_signals
    from autoscaler.telemetry import Telemetry

    private_dir(project.paths.state_dir)
    private_dir(project.paths.run_dir)
    requests, telemetry, fleet = RequestLog(), Telemetry(), project.spec.gateway.fleet
    wakeup = Wakeup()
    stop_on_signals(wakeup)
    # Metrics first of all: one that stands by is asked how it is as well.
    with (
        observing.told(project, metrics, telemetry, requests),
        daemon_lock(project.paths),
        stores.led(project, wakeup) as leading,
    ):
        if leading is None:
            return
        executor = ThreadExecutor(4 * len(project.spec.sites))
        tls = gateways.sites_tls(project)
        found = sites(project, guard=leading.require)
        daemon = Daemon(
            project.spec,
            store=leading.store,
            sites=found,
            rented=rented(project, found),
            chance=random.random,
            gateway=gateways.fleet(project, fleet) if fleet else gateway(project),
            requests=requests,
            prober=partial(send_probes, tls=tls) if tls else send_probes,
            executor=executor,
            clock=time.time,
            shadow=shadow,
            news=wakeup.news,
            fence=leading.require,
            telemetry=telemetry,
            past=observing.prometheus(project),
        )
        receiver: Receiver | FleetReceiver = (
            gateways.fleet_receiver(project, fleet, requests)
            if fleet
            else Receiver(project.paths.gateway_log_socket, requests)
        )
        run(daemon, receiver, executor, wakeup, tick_s=project.spec.daemon.tick_s, deposed=leading.deposed)


@contextlib.contextmanager
def daemon_lock(paths: ProjectPaths) -> Iterator[None]:
    """Hold the project's daemon lock; the kernel frees it when the process dies.

    Raises:
        HcctlError: another daemon holds it.
    """
    with os.fdopen(os.open(paths.daemon_lock, os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HcctlError(
                "another daemon runs for this project",
                where=str(paths.root),
                why=f"it holds {paths.daemon_lock.name}, pid {file.read().strip() or 'unknown'}",
                next_step="stop it with `hcctl down`",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def project_down(paths: ProjectPaths) -> Iterator[None]:
    """Hold the daemon's lock, so that nothing of the project starts meanwhile.

    Raises:
        HcctlError: the project runs.
    """
    from serving.sites.processes import is_alive, read_record

    private_dir(paths.state_dir)
    record = read_record(paths.supervisor_record)
    if record is not None and is_alive(record):
        raise HcctlError(
            "the project is up",
            where=str(paths.root),
            why=f"its supervisor runs, pid {record.pid}",
            next_step="run `hcctl down` first",
        )
    with daemon_lock(paths):
        yield


def supervisor_plan(project: Project, *, shadow: bool) -> Plan:
    """What the supervisor keeps alive."""
    import hashlib
    import signal

    from serving.supervisor import Child, Plan

    paths, code = project.paths, _code_digest()
    front = gateway(project)
    longest_s = 30.0
    environment = own_environment()
    daemon = [sys.executable, "-m", "autoscaler", "--project", str(paths.root), *(["--shadow"] if shadow else [])]
    children = [
        Child(
            name="gateway",
            command=front.command(),
            environment=environment,
            cwd=paths.gateway_dir,
            log=paths.log_dir / "gateway.log",
            record=paths.run_dir / "gateway.json",
            stop_signal=int(signal.SIGUSR1),
            stop_grace_s=longest_s,
        ),
        Child(
            name="daemon",
            command=daemon,
            environment=environment,
            cwd=paths.root,
            log=paths.log_dir / "daemon.log",
            record=paths.daemon_record,
            reads=hashlib.sha256(f"{code}{project.spec.model_dump_json()}".encode()).hexdigest(),
        ),
        Child(
            name="relief",
            command=[sys.executable, "-m", "serving.relief", str(paths.gateway_dir)],
            environment=environment,
            cwd=paths.root,
            log=paths.log_dir / "relief.log",
            record=paths.run_dir / "relief.json",
            reads=code,
            stop_grace_s=2.0,
            only_while=paths.relief_services,
        ),
    ]
    return Plan(
        children=children,
        code=code,
        metrics=observing.on_loopback(project.spec.metrics.supervisor_port),
        version=installed_version() or "",
    )


def _code_digest() -> str:
    """Names the hcctl that runs now: installed or in a source tree, changed or not."""
    import hashlib

    digest = hashlib.sha256()
    for package in ("autoscaler", "cli", "serving"):
        for file in sorted((SOURCE_ROOT / package).rglob("*")):
            if file.suffix in (".py", ".lua"):
                digest.update(f"{file.relative_to(SOURCE_ROOT)}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def child_environment() -> dict[str, str]:
    """Environment of child processes: the caller's, and what hcctl adds."""
    return {**os.environ, **own_environment()}


def own_environment() -> dict[str, str]:
    """What hcctl adds to the environment of its processes, so that they import this hcctl."""
    former = os.environ.get("PYTHONPATH")
    path = str(SOURCE_ROOT) if not former else f"{SOURCE_ROOT}{os.pathsep}{former}"
    return {"PYTHONPATH": path}


def refuse_over_budget(
    project: Project, opened: Store, spec: HybridService, wanted: dict[str, int], now_s: float
) -> None:
    """Refuse replica counts that the budget does not pay for even now.

    Raises:
        RefusedByBudget: names the cap and what it leaves.
    """
    from autoscaler.money.cost import spend
    from autoscaler.money.market import Use, ranked
    from autoscaler.sizing.allocate import within_budget

    spent = spend([e for e in opened.ledger() if e.service == spec.name], now_s)
    for site, replicas in wanted.items():
        if project.spec.sites[site].role != "cloud":
            continue
        found = project.spec.sites[site]
        allowed, _ = within_budget(
            spec, found, (), spent, offers=ranked(found.pools, Use()), room=replicas, wanted=replicas, now_s=now_s
        )
        if allowed.nodes < replicas:
            raise RefusedByBudget(
                "the budget does not pay for it",
                where=f"{site}={replicas}",
                why=allowed.reason,
                next_step="ask for fewer, or raise the budget in the service file and deploy it",
            )
