"""`hcctl.yaml`: the sites, pools and gateway that a project owns (kind HybridProject)."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from serving.declared import ClockTime, Day, Model, Name, Seconds
from serving.spec import HybridService
from serving.spec_capacity import CapacitySpec
from serving.spec_kubernetes import KubernetesSpec, StateSpec, WorkerSpec

HostName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
WebAddress = Annotated[
    str, StringConstraints(pattern=r"^https?://[A-Za-z0-9.:\[\]-]{1,253}(/[A-Za-z0-9._~/-]{0,200})?$")
]
"""Without user and password: what is in the project file is shown."""

USUAL_RECLAIMS_PER_HOUR, USUAL_NOTICE_S = 0.05, 120.0
"""Of a spot pool that declares none."""


class TariffBand(Model):
    """An electricity price from one time of day (UTC) until another; a band may cross midnight."""

    start: ClockTime = Field(alias="from")
    until: ClockTime
    usd_per_kwh: float = Field(ge=0, le=1_000)


class Pool(Model):
    """Nodes of one kind and price inside a site. One node holds one replica."""

    name: Name
    kind: Literal["fixed", "on_demand", "spot"]
    max_nodes: int = Field(ge=1, le=10_000)
    gpus_per_node: float = Field(default=1.0, ge=0, le=64)
    price_usd_per_hour: float = Field(default=0.0, ge=0, le=100_000, description="Rent of one node; 0 for owned nodes.")
    price_as_of: Day | None = Field(
        default=None, description="Date of price_usd_per_hour, whose age `hcctl cost` shows. Unset: not known."
    )
    power_kw_per_gpu: float = Field(default=0.0, ge=0, le=100, description="Draw of one owned GPU under load.")
    tariff_usd_per_kwh: float = Field(default=0.0, ge=0, le=1_000)
    tariff_bands: list[TariffBand] = Field(
        default_factory=list, max_length=48, description="Times of day with another tariff; first match wins."
    )
    opportunity_usd_per_gpu_hour: float = Field(
        default=0.0,
        ge=0,
        le=100_000,
        description="What an owned GPU would earn elsewhere in that hour (training, lending out).",
    )
    lead_time_s: float = Field(
        default=60.0,
        ge=0,
        le=86_400,
        description="From the request to the first answer. A budget must pay a node for at least this long.",
    )
    min_billing_s: float = Field(default=60.0, ge=0, le=86_400, description="Least time a node is billed.")
    egress_usd_per_gb: float = Field(default=0.0, ge=0, le=1_000)
    reclaims_per_hour: float | None = Field(
        default=None,
        ge=0,
        le=60,
        description="Spot: how often the provider takes one node back, on average; 0.05, once in 20 hours, if unset.",
    )
    notice_s: float | None = Field(
        default=None,
        ge=0,
        le=86_400,
        description="Spot: from the notice of a reclaim until the node is gone; 120 if unset.",
    )
    worker: WorkerSpec | None = Field(default=None, description="Of a Kubernetes site, and needed there.")

    @model_validator(mode="after")
    def _reclaims_are_of_spot(self) -> Self:
        for name in ("reclaims_per_hour", "notice_s"):
            if self.kind != "spot" and getattr(self, name) is not None:
                raise ValueError(f"{name} is for spot pools, this one is {self.kind}; leave it out")
        return self

    @model_validator(mode="after")
    def _rented_has_price(self) -> Self:
        if self.kind != "fixed" and self.price_usd_per_hour == 0:
            raise ValueError("price_usd_per_hour of a rented pool is 0 or not set; set what one node costs per hour")
        if self.kind == "fixed" and self.price_usd_per_hour > 0:
            raise ValueError("price_usd_per_hour is for rented pools; use power, tariff and opportunity")
        if self.kind == "fixed" and self.price_as_of is not None:
            raise ValueError("price_as_of is for rented pools; leave it out")
        return self

    @property
    def expected_reclaims_per_hour(self) -> float:
        """As declared; for spot pools that say nothing, a usual one; 0 where nothing is taken back."""
        if self.kind != "spot":
            return 0.0
        return USUAL_RECLAIMS_PER_HOUR if self.reclaims_per_hour is None else self.reclaims_per_hour

    @property
    def reclaim_notice_s(self) -> float:
        """As declared, or a usual one: AWS gives two minutes."""
        return USUAL_NOTICE_S if self.notice_s is None else self.notice_s


class SiteSpec(Model):
    """A place with its own Ray cluster."""

    role: Literal["private", "cloud"]
    kind: Literal["local", "kubernetes"] = Field(
        default="local", description="Processes on this computer, or a RayService in a Kubernetes cluster."
    )
    ingress: Literal["haproxy", "default"] = Field(
        default="haproxy",
        description="Serve's HAProxy ingress (7-10x faster) or its default Python proxy. "
        "Of local sites; a Kubernetes site has the default one.",
    )
    cores: list[Annotated[int, Field(ge=0, le=4_095)]] = Field(
        default_factory=list,
        max_length=4_096,
        description="Processor cores that a local site's processes are pinned to; empty: all.",
    )
    kubernetes: KubernetesSpec | None = Field(
        default=None, description="Of a site of kind kubernetes, and needed there."
    )
    capacity: CapacitySpec | None = Field(
        default=None,
        description="Machines of AWS that hcctl launches for a cloud site of kind kubernetes. Unset: others add nodes "
        "(Karpenter, the cluster autoscaler), or their number is fixed.",
    )
    pools: list[Pool] = Field(min_length=1, max_length=16)

    @model_validator(mode="after")
    def _pools_fit_role(self) -> Self:
        names = [pool.name for pool in self.pools]
        if len(set(names)) != len(names):
            raise ValueError("two pools have the same name; rename one")
        for pool in self.pools:
            if (self.role == "private") != (pool.kind == "fixed"):
                raise ValueError(
                    f"pool {pool.name!r} is {pool.kind}; a private site owns fixed pools, "
                    "a cloud site rents on_demand or spot pools"
                )
        return self

    @model_validator(mode="after")
    def _fields_fit_kind(self) -> Self:
        if self.kind == "local":
            if self.kubernetes is not None:
                raise ValueError("kubernetes is for sites of kind kubernetes; leave it out, or set the kind")
            if any(pool.worker for pool in self.pools):
                raise ValueError("pools have a worker, which is for sites of kind kubernetes; leave it out")
            return self
        if self.kubernetes is None:
            raise ValueError("kubernetes is missing; say there in which namespace and with which image the site runs")
        if self.cores:
            raise ValueError("cores are for sites of kind local; leave them out")
        for pool in self.pools:
            if pool.worker is None:
                raise ValueError(f"pools: {pool.name!r} has no worker; add one with cpus and memory_gib")
            if pool.gpus_per_node % 1:
                raise ValueError(f"pools: {pool.name!r} has a part of a GPU per node; give a whole number")
        if self.role == "private" and self.kubernetes.upgrade == "new_cluster":
            raise ValueError(
                "kubernetes.upgrade is new_cluster, and a second cluster does not fit owned nodes; use none"
            )
        return self

    @model_validator(mode="after")
    def _capacity_fits(self) -> Self:
        if self.capacity is None:
            return self
        if self.kind != "kubernetes" or self.role != "cloud":
            raise ValueError("capacity is for cloud sites of kind kubernetes; leave it out")
        unknown = sorted(set(self.capacity.groups) - {pool.name for pool in self.pools})
        if unknown:
            raise ValueError(f"capacity.groups names {unknown[0]!r}, which is no pool of the site; correct the name")
        names = [self.capacity.groups.get(pool.name, pool.name) for pool in self.pools]
        if len(set(names)) != len(names):
            raise ValueError("two pools have the same group; give each its own in capacity.groups")
        return self

    @property
    def max_nodes(self) -> int:
        """Nodes over all pools."""
        return sum(pool.max_nodes for pool in self.pools)


LONGEST_FORECAST_TICK_S = 5.0
"""A step of arrivals that nobody looked at is unknown, so the daemon has to look in each."""
FIXED_OF_SITE = ("role", "kind", "ingress", "cores", "kubernetes", "capacity")
"""What a site is started with."""


class FleetSpec(Model):
    """Gateways that run as pods, each with its part of every limit."""

    service: HostName = Field(
        description="Name of the headless Service of their control port, e.g. `hcctl-gateway-control.serving.svc`."
    )
    port: int = Field(default=9_443, ge=1, le=65_535, description="Their control port.")
    certificates: str = Field(
        default="/secrets/control",
        description="Folder with tls.crt, tls.key and ca.crt: daemon and gateways know each other by them.",
    )


class GatewaySpec(Model):
    """The one endpoint in front of all sites."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=0, ge=0, le=65_535, description="0: a free port, chosen once and recorded.")
    tls_certificate: str | None = Field(
        default=None, description="PEM file with certificate and key; needed off loopback."
    )
    require_api_key: bool = Field(
        default=False, description="Requests need `Authorization: Bearer <key>`; see `hcctl key`."
    )
    allowed_hosts: list[HostName] = Field(
        default_factory=list,
        max_length=64,
        description="Without keys: host names, besides this computer's own, that requests and web pages may come "
        "under, e.g. of a reverse proxy in front. Others are refused (DNS rebinding, cross-site requests).",
    )

    sites_certificates: str | None = Field(
        default=None,
        description="Folder with tls.crt, tls.key and ca.crt. Set: sites are reached by TLS in which both sides show a "
        "certificate, the site's for its own name. Unset: plain HTTP.",
    )
    fleet: FleetSpec | None = Field(
        default=None, description="Set: the gateways run elsewhere, and listen as they were started."
    )

    @model_validator(mode="after")
    def _safe_off_loopback(self) -> Self:
        try:
            loopback = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            raise ValueError("host is not an IP address; write 127.0.0.1 or the address to bind") from None
        if not loopback and not (self.tls_certificate and self.require_api_key):
            raise ValueError("host is not loopback: set tls_certificate and require_api_key, or bind 127.0.0.1")
        return self


class DaemonSpec(Model):
    """The loop that keeps what is declared true."""

    tick_s: float = Field(default=0.5, ge=0.05, le=60)
    stale_after_s: Seconds = Field(default=5.0, description="Signals older than this freeze scale-in and new spend.")
    decisions_kept: int = Field(default=10_000, ge=100, le=10_000_000)


class MetricsSpec(Model):
    """Metrics for Prometheus, and where older ones are asked for. Nothing listens unless a port is given."""

    daemon_port: int = Field(default=0, ge=0, le=65_535, description="`/metrics` of the daemon on 127.0.0.1; 0: none.")
    supervisor_port: int = Field(default=0, ge=0, le=65_535, description="The same of the supervisor.")
    prometheus_url: WebAddress | None = Field(
        default=None,
        description="A Prometheus that scrapes the daemon, e.g. `http://127.0.0.1:9090`. The daemon asks it at its "
        "start for traffic of the last week that its own record lacks.",
    )

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.daemon_port and self.daemon_port == self.supervisor_port:
            raise ValueError("daemon_port and supervisor_port are the same; give one of them another port")
        return self


class HybridProject(Model):
    """Everything the platform owns, apart from the services on it."""

    kind: Literal["HybridProject"]
    name: Name
    sites: dict[Name, SiteSpec] = Field(min_length=1, max_length=16)
    gateway: GatewaySpec = Field(default_factory=GatewaySpec)
    daemon: DaemonSpec = Field(default_factory=DaemonSpec)
    metrics: MetricsSpec = Field(default_factory=MetricsSpec)
    state: StateSpec | None = Field(
        default=None, description="Where intents and all that the daemon knows lie. Unset: a file on this computer."
    )

    @model_validator(mode="after")
    def _state_sees_all_sites(self) -> Self:
        local = [name for name, site in self.sites.items() if site.kind == "local"]
        if self.state is not None and local:
            raise ValueError(
                f"state is in a cluster, and site {local[0]!r} runs on one computer, where another daemon does not "
                "see it; leave state out, or use sites of kind kubernetes"
            )
        return self

    @model_validator(mode="after")
    def _one_private_site(self) -> Self:
        if sum(site.role == "private" for site in self.sites.values()) != 1:
            raise ValueError("exactly one site has role private, the home of writes; correct the roles")
        return self

    @property
    def private_site(self) -> str:
        """Name of the home site."""
        return next(name for name, site in self.sites.items() if site.role == "private")

    @property
    def site_order(self) -> list[str]:
        """Sites in the order the gateway fills them: private first, then as declared."""
        return sorted(self.sites, key=lambda name: self.sites[name].role != "private")


def on_declared_sites(service: HybridService, project: HybridProject) -> tuple[HybridService | None, list[str]]:
    """The service on the sites that the project still declares, and the names of the others.

    None instead of the service: it has no share of the private site.
    """
    lost = [name for name in service.sites if name not in project.sites]
    if project.private_site not in service.sites:
        return None, lost or [project.private_site]
    if not lost:
        return service, []
    kept = {name: share for name, share in service.sites.items() if name in project.sites}
    return service.model_copy(update={"sites": kept}), lost


def fixed_while_up(running: HybridProject, declared: HybridProject) -> list[str]:
    """Fields that differ and that running processes were started with: they need `hcctl down` and `hcctl up`."""
    found = [name for name in ("name", "gateway", "state") if getattr(running, name) != getattr(declared, name)]
    for name, site in running.sites.items():
        new = declared.sites.get(name)
        if new is None:
            found.append(f"sites.{name}")
            continue
        was, will_be = _started_with(site), _started_with(new)
        found += [f"sites.{name}.{field}" for field in FIXED_OF_SITE if was[field] != will_be[field]]
    return found


def _started_with(site: SiteSpec) -> dict[str, object]:
    """The fields of `FIXED_OF_SITE`, without the images to pull beforehand: these are for what comes next."""
    kubernetes = site.kubernetes and site.kubernetes.model_copy(update={"pre_pull": []})
    return {field: getattr(site, field) for field in FIXED_OF_SITE} | {"kubernetes": kubernetes}


def conflicts(service: HybridService, project: HybridProject) -> list[tuple[str, str]]:
    """What service and project say against each other, as (field, problem and fix)."""
    found: list[tuple[str, str]] = []
    for name, share in service.sites.items():
        site = project.sites.get(name)
        if site is None:
            known = ", ".join(project.sites)
            found.append((f"sites.{name}", f"the project has no such site; use one of: {known}"))
        elif share.max_replicas > site.max_nodes:
            found.append(
                (
                    f"sites.{name}.max_replicas",
                    f"{share.max_replicas} replicas do not fit {site.max_nodes} nodes; "
                    "lower it or raise the pools' max_nodes",
                )
            )
    if project.private_site not in service.sites:
        found.append(("sites", f"the private site {project.private_site!r} is missing; add it"))
    if service.burst.policy == "predictive" and project.daemon.tick_s > LONGEST_FORECAST_TICK_S:
        found.append(
            (
                "burst.policy",
                f"predictive counts requests every {LONGEST_FORECAST_TICK_S:g} s, and the daemon looks every "
                f"{project.daemon.tick_s:g} s; lower daemon.tick_s in the project file, or use threshold",
            )
        )
    cloud = [
        n
        for n, s in service.sites.items()
        if n in project.sites and project.sites[n].role == "cloud" and s.max_replicas > 0
    ]
    if cloud:
        found.extend(_data_policy_conflicts(service, cloud[0]))
    return found


def _data_policy_conflicts(service: HybridService, cloud_site: str) -> list[tuple[str, str]]:
    found = []
    policies = [("data_policy", service.data_policy)]
    policies += [
        (f"routing.rules.{i}.data_policy", rule.data_policy)
        for i, rule in enumerate(service.routing.rules)
        if rule.data_policy
    ]
    for field, policy in policies:
        if policy == "private_only":
            found.append(
                (
                    field,
                    f"private_only data may not burst to {cloud_site!r}; "
                    f"set sites.{cloud_site}.max_replicas to 0 or relax the policy",
                )
            )
        elif policy == "pseudonymised" and not service.ids_pseudonymised:
            found.append(
                (
                    field,
                    f"pseudonymised data may reach {cloud_site!r} only with "
                    "ids_pseudonymised: true; set it or use private_only",
                )
            )
    return found
