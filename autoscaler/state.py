"""What the daemon remembers between ticks and over restarts. Plain frozen values, stored as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import JsonValue, TypeAdapter, ValidationError

from autoscaler.policy.bids import PolicyState
from autoscaler.policy.leads import Lead
from autoscaler.routing.relief import ReliefState
from serving.errors import UnsupportedState
from serving.spec import HybridService, ModelSpec
from serving.state import Document

ReleasePhase = Literal["making_room", "loading", "probing", "judging", "shifting", "draining", "reverting", "done"]
Verdict = Literal["promoted", "rolled_back", "aborted", "superseded"]


@dataclass(frozen=True)
class Deployed:
    """A version together with the model section it was released with."""

    version: str
    version_dir: str
    model: ModelSpec
    application: str
    """Name of its Serve application on every site."""

    def spec_of(self, service: HybridService) -> HybridService:
        """The service's present declaration, with the model section of this version."""
        return service.model_copy(update={"model": self.model})


@dataclass(frozen=True)
class ReleaseEvent:
    """One line of a release's story."""

    at_s: float
    phase: ReleasePhase
    text: str


@dataclass(frozen=True)
class Release:
    """The rollout of one version over all open sites, with one verdict."""

    deployment: str
    candidate: Deployed
    former: Deployed | None
    """What serves until the verdict; None for the first version of a service."""
    started_at_s: float
    phase: ReleasePhase = "loading"
    phase_since_s: float = 0.0
    rollback: bool = False
    share: float = 0.0
    """Share of real requests that the candidate gets."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Per site, where the candidate's first replica comes from: surge, take over or rent."""
    intended: Verdict | None = None
    """The verdict a reverting release will end with."""
    verdict: Verdict | None = None
    reason: str = ""
    events: tuple[ReleaseEvent, ...] = ()


@dataclass(frozen=True)
class Admission:
    """Whether one application on one site has answered its probes; only then it gets traffic."""

    ok: bool = False
    requests: int = 0
    errors: int = 0
    attempts: int = 0
    at_s: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class Ejection:
    """A site taken out of one track for failing fast."""

    until_s: float
    times: int


@dataclass(frozen=True)
class ServiceState:
    """What is decided for one service."""

    stable: Deployed | None = None
    previous: Deployed | None = None
    """What `hcctl rollback` returns to."""
    release: Release | None = None
    seen_deployment: str = ""
    """The last deployment request that was taken up."""
    targets: Mapping[str, int] = field(default_factory=dict)
    """Replicas per site in force."""
    last_change_s: Mapping[str, float] = field(default_factory=dict)
    policy: PolicyState = field(default_factory=PolicyState)
    admissions: Mapping[str, Admission] = field(default_factory=dict)
    """By `site/application`."""
    ejections: Mapping[str, Ejection] = field(default_factory=dict)
    """By `track/site`."""
    emptying_since_s: Mapping[str, float] = field(default_factory=dict)
    """Sites whose target is 0, since when."""
    known_ready: Mapping[str, int] = field(default_factory=dict)
    """By `application@site`, the replicas last seen ready of what is wanted there: what is out of sight keeps
    its routes."""
    unlisted_since_s: Mapping[str, float] = field(default_factory=dict)
    """By `application@site`, since when an open site does not list what was ready there."""
    home_served: bool = False
    """The private site has served this service since it was opened: its loss is a failover."""
    home_down_since_s: float | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    """Per site, what last held a change back: recorded once, not each tick."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Per site, why its target last changed."""
    affordable: Mapping[str, int] = field(default_factory=dict)
    """Per rented site, the replicas that its room and every spend cap allow: a release stays below it."""
    leads: Mapping[str, Lead] = field(default_factory=dict)
    """Per rented site, how long capacity takes there, as learned."""
    going_s: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Per rented site, when the nodes end that are announced to go; as of this tick."""
    relief: ReliefState = field(default_factory=ReliefState)


@dataclass(frozen=True)
class RentedNode:
    """One rented node, from its launch until it is given back."""

    pool: str
    launched_at_s: float
    ends_s: float | None = None
    """When it will be gone: its provider takes it, or another takes its place. None: when it is given back."""
    notice: str = ""
    """The provider's notice of that; empty if it is our own choice."""


@dataclass(frozen=True)
class DaemonState:
    """Everything the daemon knows that the world cannot tell it again."""

    services: Mapping[str, ServiceState] = field(default_factory=dict)
    nodes: Mapping[str, tuple[RentedNode, ...]] = field(default_factory=dict)
    """By `site/service`, the nodes that are being paid for, oldest first."""
    stays_s: Mapping[str, float] = field(default_factory=dict)
    """By `site/service`, how long nodes served there on average before they were given back; absent: none was yet."""
    notices: Mapping[str, float] = field(default_factory=dict)
    """By `site/id`, the notices of providers that were taken in, and until when they are remembered from."""
    rests_until_s: Mapping[str, float] = field(default_factory=dict)
    """By `site/pool`, until when a pool that gave trouble is avoided."""
    cheaper_since_s: Mapping[str, float] = field(default_factory=dict)
    """By `site/service`, since when a node there pays more than the cheapest pool asks."""
    billed_s: float | None = None
    """Up to when the ledger has what the nodes cost; None: nothing was billed yet."""
    retry_at_s: Mapping[str, float] = field(default_factory=dict)
    """Not before this is a failed action on a site tried again."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """Failed actions in a row, per site."""
    seen_s: float | None = None
    """When the last tick was, by the wall clock."""


_STATE: TypeAdapter[DaemonState] = TypeAdapter(DaemonState)
_SERVICE: TypeAdapter[ServiceState] = TypeAdapter(ServiceState)
STATE = "state"
"""Name of the document with the daemon's state; those of its services are below it: `state/<service>`."""


def stored_state(documents: Iterable[Document]) -> DaemonState:
    """The state that a daemon stored, from its documents; empty if there is none.

    A former hcctl had the services in the one document. Each has its own since: a document is bounded.

    Raises:
        UnsupportedState: it is not in this hcctl's form. Starting from nothing instead would forget rented nodes.
    """
    state, services = DaemonState(), {}
    for document in documents:
        try:
            if document.name == STATE:
                state = _STATE.validate_python(dict(document.body), strict=False)
            elif document.name.startswith(f"{STATE}/"):
                mine = _SERVICE.validate_python(dict(document.body), strict=False)
                services[document.name.partition("/")[2]] = mine
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = (document.name, *map(str, first["loc"]))
            raise UnsupportedState(
                "the daemon's state was written by another hcctl",
                where=".".join(where)[:200],
                why=first["msg"][:200],
                next_step="run the hcctl that wrote it, or `hcctl down` and move .hcctl/state.db elsewhere",
            ) from None
    return replace(state, services={**state.services, **services})


def stored_form(state: DaemonState) -> dict[str, JsonValue]:
    """All but the services, as it is stored in `STATE`; `stored_state` reads it."""
    form: dict[str, JsonValue] = _STATE.dump_python(replace(state, services={}), mode="json")
    return form


def stored_service(state: ServiceState) -> dict[str, JsonValue]:
    """One service's part, as it is stored in a document of its own."""
    form: dict[str, JsonValue] = _SERVICE.dump_python(state, mode="json")
    return form


def state_name(service: str) -> str:
    """Name of the document with a service's part."""
    return f"{STATE}/{service}"


def words(name: ReleasePhase | Verdict) -> str:
    """A phase or verdict as people read it: `rolled back`."""
    return name.replace("_", " ")


def admission_key(site: str, application: str) -> str:
    """Key of `ServiceState.admissions`."""
    return f"{site}/{application}"


def ready_key(application: str, site: str) -> str:
    """Key of `ServiceState.known_ready`."""
    return f"{application}@{site}"
