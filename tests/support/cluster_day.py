"""A day of the daemon in minutes: two API doubles with KubeRay behind them are the sites, moto rents out machines.

State, sites and machines are reached as in a real cluster, over HTTP and boto3. Time is a number, clients are a fluid
queue, and a machine boots for two minutes before a worker may take it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from autoscaler.capacity.hands import Rented
from autoscaler.daemon import Daemon
from autoscaler.handles import InlineExecutor
from autoscaler.money.market import taken
from autoscaler.observing.receiver import RequestLog
from autoscaler.plan import ProbeApplication
from autoscaler.snapshot import ProbeResult, Signals, TrackSignals, Wanted
from serving.errors import HcctlError
from serving.gateway.gateway import GatewayObservation
from serving.gateway.routes import TRACKS
from serving.kubernetes_state.leading import leading
from serving.project import HybridProject
from serving.sites.kubernetes.api import connect
from serving.sites.kubernetes.manifest import Identity
from serving.sites.kubernetes.site import KubernetesSite
from serving.sites.site import SiteObservation
from tests.support.clients import Clients
from tests.support.clusters import access
from tests.support.declared import service
from tests.support.fake_gateway import FakeGateway
from tests.support.fake_site import FakeClock
from tests.support.kuberay import FakeKubeRay
from tests.support.kubernetes_api import KubernetesDouble
from tests.support.moto_machines import MotoMachines

START_S, BOOT_S, LOAD_S = 1_800_000_000.0, 120.0, 20.0
OWNED, MOST = 4, {"spot": 6, "on-demand": 6}
STATE = ("configmaps", "hybridservices", "hybridreleases")
"""Read from memory; listed by a watch that begins anew, and looked at when pages are made anew."""
EVENTS = (True, "events")
"""Read for a site, and written for people."""
QUIET_TICKS = 5
"""So long after the last change a tick is one in which nothing changes."""
NEWS_S, MOST_AT_ONCE = 0.1, 2
"""A look or action that ends wakes the daemon, so soon; and how often, before the world goes on."""


@dataclass(frozen=True)
class Asked:
    """What a tick asked of a site's API server, but for watches and the lease, which are beside the ticks."""

    at_s: float
    reads: int
    writes: int
    """Reads and writes of the site itself."""
    told: int
    """Writes of the daemon's state, and of what people see of it."""
    quiet: bool
    """Nothing had changed for a while."""


class _Requests(RequestLog):
    """The gateway's records as the clients would leave them."""

    def __init__(self, clients: Clients, tick_s: float) -> None:
        super().__init__()
        self._clients, self._tick_s = clients, tick_s

    def signals(self, service: str, now_s: float) -> Signals:
        return self._clients.signals(self._tick_s)

    def candidate_sample(self, service: str) -> Mapping[str, TrackSignals]:
        return {site: TrackSignals(int(n), int(errors)) for site, (n, errors) in self._clients.sample.items()}

    def forget_sample(self, service: str) -> None:
        self._clients.sample = {}


class _Site(KubernetesSite):
    """A site that remembers whether its last look went well: one that did not asks why, with more questions."""

    troubled = False

    def observe(self) -> SiteObservation:
        seen = super().observe()
        self.troubled = bool(seen.message)
        return seen


class _Gateway(FakeGateway):
    """A gateway whose limits are those that the clients meet."""

    def __init__(self, clock: Callable[[], float], clients: Clients) -> None:
        super().__init__(clock)
        self._clients = clients

    def observe(self) -> GatewayObservation:
        queued = {self._clients.spec.name: round(sum(self._clients.queue.values()))}
        return GatewayObservation(tuple(self._clients.servers()), queued, self.clock())


class Day:
    """The world. Use it inside `moto.mock_aws`.

    Args:
        folder: for kubeconfigs.
        opened: closes what is opened here.
        rate_rps: requests per second, by seconds since the start.
        tick_s: between two ticks of the daemon.
        calm_s: of the service: so long a replica too many is kept.
    """

    def __init__(
        self, folder: Path, opened: ExitStack, rate_rps: Callable[[float], float], *, tick_s: float, calm_s: float
    ) -> None:
        self.clock, self.skew_s, self.tick_s = FakeClock(START_S), 0.0, tick_s
        self._since_s, self._news = 0.0, False
        self.spec = service(
            sites={"private": {"min_replicas": 1, "max_replicas": OWNED}, "cloud": {"max_replicas": 10}},
            burst={"calm_s": calm_s, "cooldown_s": 20.0},
            release={"judge_s": 30.0, "probe_requests": 5, "min_sample": 10},
        )
        self.clients = Clients(self.spec, rate_rps, epoch_s=START_S)
        self.aws = MotoMachines("eks", MOST, self._daemons_clock)
        self.doubles = {name: opened.enter_context(KubernetesDouble()) for name in ("private", "cloud")}
        self.operators = {
            name: opened.enter_context(
                FakeKubeRay(double, poll_s=0.02, clock=self.clock, load_s=LOAD_S, nodes=partial(self._nodes, name))
            )
            for name, double in self.doubles.items()
        }
        self._booted: dict[str, float] = {}
        """When each node was first there."""
        self._leaving: dict[str, float] = {}
        """When each machine that was called back ends."""
        self.asked: dict[str, list[Asked]] = {name: [] for name in self.doubles}
        """By site, of each tick."""
        self.targets: list[tuple[float, int]] = []
        """Of the cloud, whenever it changed, with the second."""
        self.failed_ticks = self.reclaims = 0
        self.late = self.arrived = 0.0
        self._busy_s = 0.0
        """When something last changed."""
        self.due: deque[tuple[float, Callable[[], None]]] = deque()
        """Faults to come, by second."""
        kubeconfigs = {}
        for name, double in self.doubles.items():
            (folder / name).mkdir()
            kubeconfigs[name] = double.kubeconfig(folder / name)
        self.project = HybridProject.model_validate(_declaration(kubeconfigs, tick_s))
        led = opened.enter_context(
            leading(
                access("private/kubeconfig.yaml", folder, agent="daemon"),
                "default",
                "shop",
                identity="a",
                stopping=lambda: False,
                news=lambda: None,
            )
        )
        assert led is not None
        self.store = led.store
        self.sites = {name: self._site(name, folder) for name in self.project.site_order}
        self.requests = _Requests(self.clients, tick_s)
        self.gateway = _Gateway(self._daemons_clock, self.clients)
        self.daemon = self._daemon()
        self._paid: Counter[str] = Counter()

    @property
    def at_s(self) -> float:
        """Seconds since the start."""
        return self.clock() - START_S

    def deploy(self, version: str) -> None:
        """Ask for a version, named by a letter."""
        found = self.store.intent("service", "shop")
        wanted = asdict(Wanted(f"deploy-{version}", version * 64, f"/versions/{version}"))
        body = {"spec": self.spec.model_dump(mode="json", by_alias=True), "wanted": wanted}
        revision = found.revision if found else 0
        self.store.put_intent("service", "shop", body, expected_revision=revision, at_s=self._daemons_clock())

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass, or until something holds; whether it came to hold."""
        for _ in range(round(seconds / self.tick_s)):
            self.tick()
            if until is not None and until():
                return True
        return until is None

    def tick(self) -> None:
        """Some seconds of everybody, then a tick of the daemon, and at once another one where there is news."""
        self.clock.advance(self.tick_s)
        while self.due and self.due[0][0] <= self.at_s:
            self.due.popleft()[1]()
            self._busy_s = self.at_s
        self._machines()
        for operator in self.operators.values():
            operator.look()
        self._serve()
        self._since_s, self._news = 0.0, True
        while self._news and self._since_s < MOST_AT_ONCE * NEWS_S:
            self._news = False
            self._daemon_ticks()
            self._since_s += NEWS_S
        self._check()

    def _daemon_ticks(self) -> None:
        for double in self.doubles.values():
            double.requests.clear()
        try:
            plan = self.daemon.tick().plan
            changes = bool(plan.decisions or plan.site_actions or plan.probes)
        except HcctlError:  # as the loop does: tried again
            self.failed_ticks, changes = self.failed_ticks + 1, True
        self._note(changes=changes)

    def reclaim(self) -> None:
        """AWS takes a spot machine back in two minutes; the next one that there is, if there is none now."""
        spot = self.aws.capacity.observe().of("spot")
        if not spot:
            self.due.appendleft((self.at_s + self.tick_s, self.reclaim))
            return
        machine = spot[0]
        self.reclaims += 1
        self.aws.reclaim(machine, self._daemons_clock() + 120.0)
        self._leaving[machine.id] = self.clock() + 120.0

    def replicas(self, site: str) -> dict[str, int]:
        """Replicas that run on a site, by application."""
        return {name: count for serve in self._serves(site) for name, count in serve.running().items()}

    @property
    def serving(self) -> bool:
        """A version is promoted and nothing is under way."""
        mine = self.daemon.state.services.get("shop")
        return mine is not None and mine.stable is not None and mine.release is None

    @property
    def paid(self) -> Counter[str]:
        """Nodes on the bill, by pool."""
        found = taken(self.daemon.state.nodes)
        return Counter({pool: count for (site, pool), count in found.items() if site == "cloud"})

    def _daemons_clock(self) -> float:
        return self.clock() + self._since_s + self.skew_s

    def _hear(self) -> None:
        self._news = True

    def _daemon(self) -> Daemon:
        daemon = Daemon(
            self.project,
            store=self.store,
            sites=self.sites,
            rented={"cloud": Rented(self.aws.capacity, self.sites["cloud"].nodes_in_use)},
            gateway=self.gateway,
            requests=self.requests,
            prober=self._probe,
            executor=InlineExecutor(),
            clock=self._daemons_clock,
            chance=lambda: 0.5,
            news=self._hear,
        )
        daemon.resume()
        return daemon

    def _site(self, name: str, folder: Path) -> _Site:
        spec = self.project.sites[name]
        assert spec.kubernetes is not None
        reach = partial(connect, spec.kubernetes, folder, agent="daemon")
        return _Site(Identity("shop", name, "default"), spec, reach, clock=self._daemons_clock, poll_s=0.02)

    def _probe(self, action: ProbeApplication) -> ProbeResult:
        errors = 0 if self.replicas(action.site).get(action.application) else action.requests
        return ProbeResult(action.site, action.application, action.requests, errors, "")

    def _nodes(self, site: str) -> list[str]:
        """Nodes that workers may take."""
        if site == "private":
            return [f"owned-{number}" for number in range(OWNED)]
        return [node for node, since_s in self._booted.items() if self.clock() - since_s >= BOOT_S]

    def _serves(self, site: str) -> list[Any]:
        return list(self.doubles[site].services.values())

    def _machines(self) -> None:
        """What AWS ends by now is gone; what it has launched begins to boot."""
        for machine in [name for name, ends_s in self._leaving.items() if ends_s <= self.clock()]:
            self._leaving.pop(machine)
            self.aws.ec2.client.terminate_instances(InstanceIds=[machine])
        there = self.aws.nodes().values()
        self._booted = {node: self._booted.get(node, self.clock()) for node in there}

    def _serve(self) -> None:
        """Requests of a tick, over the routes that the gateway has, as far as replicas run."""
        routes = next((found for found in self.gateway.routes if found.service.name == "shop"), None)
        slots = {}
        for track in TRACKS:
            route = (routes.stable if track == "stable" else routes.candidate) if routes else None
            for site in self.sites:
                running = self.replicas(site).get(route.path_prefix.strip("/"), 0) if route else 0
                slots[track, site] = running * self.spec.model.slots_per_replica
        self.clients.serve(self.at_s, self.tick_s, routes, slots, lambda track, site: 0.0)
        last = self.clients.ticks[-1]
        self.arrived += last.arrived
        if last.wait_s + self.clients.service_s > self.spec.slo.latency_p99_s:
            self.late += last.arrived

    def _note(self, *, changes: bool) -> None:
        """What was asked in this tick, and the cloud's target."""
        troubled = any(site.troubled for site in self.sites.values())
        if changes or troubled or len(self._nodes("cloud")) != self.paid.total():
            self._busy_s = self.at_s
        quiet = self.at_s - self._busy_s >= QUIET_TICKS * self.tick_s
        for name, double in self.doubles.items():
            asked = [(verb in ("get", "list"), kind) for verb, kind in double.requests if verb != "watch"]
            site = [read for read, kind in asked if kind not in (*STATE, "events", "leases") or (read, kind) == EVENTS]
            told = sum(not read and kind in (*STATE, "events") for read, kind in asked)
            self.asked[name].append(Asked(self.at_s, sum(site), len(site) - sum(site), told, quiet))
        mine = self.daemon.state.services.get("shop")
        target = mine.targets.get("cloud", 0) if mine else 0
        if not self.targets or self.targets[-1][1] != target:
            self.targets.append((self.at_s, target))

    def _check(self) -> None:
        """What must hold in every tick: nothing is there twice, and nothing is launched that is not paid for."""
        for name, operator in self.operators.items():
            assert len(operator.all("rayservices")) <= 1, name
            assert len(operator.all("rayclusters")) <= 1, name
            placed = [pod["spec"]["nodeName"] for pod in operator.all("pods") if "nodeName" in pod["spec"]]
            assert len(placed) == len(set(placed)), "two workers on one node"
        for pool in MOST:
            asked, there = self.aws.size(pool)
            assert asked <= max(self.paid[pool], self._paid[pool], there), f"{pool}: more is asked for than is paid for"
        self._paid = self.paid


def turns(targets: list[tuple[float, int]], within_s: float) -> list[float]:
    """Seconds at which a target went up within some time after it went down, or down after up: flapping."""
    found, last = [], (0.0, 0)
    for (_, before), (at_s, after) in pairwise(targets):
        way = 1 if after > before else -1
        if last[1] == -way and at_s - last[0] < within_s:
            found.append(at_s)
        last = (at_s, way)
    return found


def _declaration(kubeconfigs: Mapping[str, Path], tick_s: float) -> dict[str, Any]:
    worker = {"cpus": 3.0, "memory_gib": 12.0}
    rented = {"max_nodes": 6, "lead_time_s": BOOT_S, "worker": worker}
    pools = {
        "private": [{"name": "owned", "kind": "fixed", "max_nodes": OWNED, "worker": worker}],
        "cloud": [
            {"name": "on-demand", "kind": "on_demand", "price_usd_per_hour": 1.0, **rented},
            {"name": "spot", "kind": "spot", "price_usd_per_hour": 0.4, **rented},
        ],
    }
    sites = {
        name: {
            "role": name,
            "kind": "kubernetes",
            "kubernetes": {
                "kubeconfig": str(file),
                "namespace": "default",
                "image": "registry.example.org/shop:1.4.0",
                "artefacts": {"claim": "versions"},
            },
            "pools": pools[name],
        }
        for name, file in kubeconfigs.items()
    }
    daemon = {"tick_s": tick_s, "stale_after_s": 3 * tick_s}
    return {"kind": "HybridProject", "name": "shop", "sites": sites, "daemon": daemon}
