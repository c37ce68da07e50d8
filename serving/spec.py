"""`service.yaml`: what a user declares about one service (kind HybridService).

One spec, many readers: the command line, the daemon, the gateway and the model
replicas all read these models. Unknown fields are errors, units stand in names,
and numbers given as strings are refused rather than guessed.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from serving.declared import ImportPath, Model, Name, Seconds, Share, UrlPath
from serving.spec_events import Event
from serving.spec_relief import Relief

DataPolicy = Literal["any", "pseudonymised", "private_only"]
Priority = Literal["high", "normal", "low"]


class ModelSpec(Model):
    """What runs in a replica, and how much one replica takes on at a time."""

    import_path: ImportPath = Field(
        description="`package.module:attribute` of a Serve deployment, a torch.nn.Module class, "
        "or a class with `load(directory, config)` and `predict_batch(requests)`."
    )
    config: dict[str, JsonValue] = Field(default_factory=dict, description="Passed to the model when it is built.")
    slots_per_replica: int = Field(
        default=8,
        ge=1,
        le=10_000,
        description="Requests one replica may hold at once within the SLO "
        "(Serve's max_ongoing_requests; the gateway's limit is ready replicas x slots).",
    )
    max_queued_requests: int = Field(
        default=64,
        ge=0,
        le=1_000_000,
        description="Requests a site may queue behind its replicas. Small: the queue belongs "
        "at the gateway, where it is seen and can overflow to another site.",
    )
    max_batch_size: int = Field(default=8, ge=1, le=4_096, description="Most requests scored in one forward pass.")
    batch_wait_s: float = Field(default=0.005, ge=0, le=10, description="Longest wait for a batch to fill.")
    emulated_accelerator_s: float = Field(
        default=0.0,
        ge=0,
        le=60,
        description="Least time one batch holds the replica. For machines without an accelerator: "
        "declares how long the real one would take. 0 means real time only.",
    )
    num_cpus: float = Field(default=0.1, ge=0, le=1_024, description="CPU cores Ray reserves for one replica.")
    num_gpus: float = Field(default=0.0, ge=0, le=64, description="GPUs Ray reserves for one replica.")
    drain_s: Seconds = Field(default=30.0, description="Longest time a leaving replica may finish its requests.")


class RouteRule(Model):
    """One kind of request of the service; the longest matching path wins."""

    path: UrlPath = Field(description="Path prefix below the service's prefix.")
    idempotent: bool = Field(
        default=False, description="May be sent again after it has been sent once. Only then is it retried."
    )
    priority: Priority = Field(default="normal", description="Low priority is the first to be refused under overload.")
    data_policy: DataPolicy | None = Field(
        default=None, description="Where the data of this route may go; the service's policy if unset."
    )
    relief: Literal["shared", "per_caller"] | None = Field(
        default=None,
        description="May be answered by `relief.light`. `shared`: the answer depends on path, query and body alone, "
        "so anybody may get a kept one. `per_caller`: a kept answer goes only to a request with the same API key and "
        "the same headers. Unset: never.",
    )

    @model_validator(mode="after")
    def _relief_is_safe(self) -> Self:
        if self.relief and not self.idempotent:
            raise ValueError("relief may ask twice for one answer; set idempotent: true, or leave relief out")
        return self


class Routing(Model):
    """How the gateway treats the service's requests."""

    prefix: UrlPath = Field(default="/", description="Requests below this path belong to the service.")
    rules: list[RouteRule] = Field(default_factory=lambda: [RouteRule(path="/")], min_length=1, max_length=64)
    timeout_s: Seconds = Field(default=10.0, description="Longest time a site may take to answer.")
    queue_timeout_s: Seconds = Field(default=2.0, description="Longest wait at the gateway; then 503 with Retry-After.")
    max_queue: int = Field(
        default=500,
        ge=1,
        le=100_000,
        description="Requests waiting at the gateway beyond which 429 is answered.",
    )
    max_body_bytes: int = Field(
        default=1_048_576, ge=1, le=1_073_741_824, description="Larger bodies are answered with 413."
    )
    retry_after_s: int = Field(default=2, ge=1, le=3_600, description="Retry-After of a 429 or 503.")

    @model_validator(mode="after")
    def _paths_once(self) -> Self:
        paths = [rule.path for rule in self.rules]
        if len(set(paths)) != len(paths):
            raise ValueError("two rules have the same path; keep one")
        return self


class Slo(Model):
    """The promise, measured at the gateway with the queue included."""

    latency_p99_s: Seconds = Field(description="99 of 100 requests are answered within this time.")
    max_error_rate: Share = Field(default=0.01, description="Largest share of 5xx answers.")


class SiteShare(Model):
    """How many replicas of the service a site may hold."""

    min_replicas: int = Field(default=0, ge=0, le=10_000)
    max_replicas: int = Field(ge=0, le=10_000)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("min_replicas is larger than max_replicas; lower it or raise max_replicas")
        return self


class LatencyTriggers(Model):
    """Any one of these, over its window, asks for capacity. Unset means not used."""

    p99_over_s: Seconds | None = Field(
        default=None, description="p99 at the gateway above this; the SLO's latency if unset."
    )
    queue_p99_over_s: Seconds | None = Field(
        default=None, description="p99 wait at the gateway above this; half the SLO if unset."
    )
    slots_in_use_over: Share = Field(
        default=0.9, description="Share of the private slots in use above this, averaged over the window."
    )
    overflow_share_over: Share = Field(
        default=0.5, description="Share of requests that overflowed to the cloud above this."
    )
    window_s: Seconds = Field(default=10.0, description="Window each trigger looks at.")
    min_requests: int = Field(
        default=20, ge=1, le=1_000_000, description="Fewer requests in the window are no evidence."
    )


class CostTrigger(Model):
    """Moves traffic when serving it on the private site is the dearer choice."""

    private_over_cloud_ratio: float = Field(
        default=1.2,
        gt=0,
        le=1_000,
        description="Private usd per 1,000 requests above this multiple of the cloud's asks for the move.",
    )
    return_ratio: float = Field(default=1.0, gt=0, le=1_000, description="Below this multiple traffic comes home.")
    keep_private_share: Share = Field(
        default=0.25, description="Share of the private limit that stays in use while traffic is moved."
    )
    dwell_s: Seconds = Field(default=300.0, description="The ratio must hold this long, either way.")

    @model_validator(mode="after")
    def _hysteresis(self) -> Self:
        if self.return_ratio > self.private_over_cloud_ratio:
            raise ValueError("return_ratio is larger than private_over_cloud_ratio, so traffic would flap; lower it")
        return self


class Burst(Model):
    """When capacity is added, and when it leaves."""

    policy: Literal["threshold", "predictive"] = Field(
        default="threshold",
        description="`threshold` adds capacity when a threshold is crossed; `predictive` when the forecast a lead "
        "time ahead says that it pays.",
    )
    late_share: float = Field(
        default=0.001,
        gt=0,
        le=0.5,
        description="Policy `predictive`: share of a day's requests that may wait too long for the SLO.",
    )
    latency: LatencyTriggers = Field(default_factory=LatencyTriggers)
    cost: CostTrigger | None = Field(
        default=None, description="Unset: cost alone never moves traffic; spend caps always hold."
    )
    breach_s: float = Field(default=1.0, ge=0, le=3_600, description="A breach must last this long before it counts.")
    calm_s: Seconds = Field(
        default=60.0, description="Load must fit the smaller capacity this long before any leaves (dwell)."
    )
    cooldown_s: float = Field(default=5.0, ge=0, le=3_600, description="Least time between two scalings of one site.")
    max_step: int = Field(default=4, ge=1, le=1_000, description="Most replicas added or removed at once per site.")
    target_slots_in_use: Share = Field(
        default=0.7, gt=0, description="Share of the slots in use that capacity is sized for."
    )

    @model_validator(mode="after")
    def _cost_is_a_threshold(self) -> Self:
        if self.policy == "predictive" and self.cost is not None:
            raise ValueError(
                "policy predictive has no cost trigger; leave cost out, or set policy: threshold. "
                "It weighs the prices of all pools already"
            )
        return self


class Budget(Model):
    """Spend caps on rented capacity. They win over every threshold."""

    usd_per_hour: float | None = Field(default=None, ge=0)
    usd_per_day: float | None = Field(default=None, ge=0)
    usd_per_month: float | None = Field(default=None, ge=0)


class Probe(Model):
    """The request a version must answer before it gets any real one."""

    path: UrlPath = Field(default="/")
    method: Literal["GET", "POST"] = "POST"
    body: JsonValue = Field(default=None, description="Sent as JSON with POST.")


class Release(Model):
    """How a new version takes over. One verdict for all sites."""

    probe: Probe = Field(default_factory=Probe)
    probe_requests: int = Field(
        default=10, ge=1, le=10_000, description="Probes each open site must answer without an error."
    )
    candidate_share: Share = Field(
        default=0.2, gt=0, description="Share of real requests the candidate gets while it is judged."
    )
    min_sample: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        description="Requests, probed or real, per open site before the verdict.",
    )
    max_error_rate: Share = Field(default=0.02, description="Candidate's share of 5xx above which it is rolled back.")
    judge_s: Seconds = Field(default=5.0, description="How long the candidate carries its share before the verdict.")
    load_timeout_s: Seconds = Field(
        default=180.0, description="A site that has not loaded the version by then has failed."
    )


class HybridService(Model):
    """One endpoint with an SLO, running one model on its sites."""

    kind: Literal["HybridService"]
    name: Name
    model: ModelSpec
    slo: Slo
    sites: dict[Name, SiteShare] = Field(min_length=1, max_length=16)
    routing: Routing = Field(default_factory=Routing)
    burst: Burst = Field(default_factory=Burst)
    budget: Budget = Field(default_factory=Budget)
    events: list[Event] = Field(
        default_factory=list,
        max_length=64,
        description="Rushes that are known beforehand: capacity stands by for them.",
    )
    relief: Relief | None = Field(
        default=None, description="Unset: requests wait at the gateway until there is room, or are refused."
    )
    data_policy: DataPolicy = Field(
        default="any", description="Where request data may go, for routes that say nothing."
    )
    ids_pseudonymised: bool = Field(
        default=False,
        description="Requests carry pseudonymised ids only; needed for `pseudonymised` in the cloud.",
    )
    release: Release = Field(default_factory=Release)

    @model_validator(mode="after")
    def _events_once(self) -> Self:
        names = [event.name for event in self.events]
        if len(set(names)) != len(names):
            raise ValueError("events has two of the same name; rename one")
        return self

    @model_validator(mode="after")
    def _relief_fits_routes(self) -> Self:
        eligible = any(rule.relief for rule in self.routing.rules)
        light = self.relief is not None and self.relief.light is not None
        if eligible and not light:
            raise ValueError(
                "relief has no light, but a rule of routing may use it; declare light, or leave it out of the rule"
            )
        if light and not eligible:
            raise ValueError(
                "relief answers nothing: no rule may use light; set relief: shared or per_caller on a rule"
            )
        shed = self.relief.shed if self.relief else None
        if shed and shed.normal_over is None and all(rule.priority != "low" for rule in self.routing.rules):
            raise ValueError(
                "relief refuses nothing: no rule has low priority; set priority: low on a rule, or shed.normal_over"
            )
        return self

    @property
    def p99_over_s(self) -> float:
        """Latency trigger in force, in seconds."""
        return self.burst.latency.p99_over_s or self.slo.latency_p99_s

    @property
    def queue_p99_over_s(self) -> float:
        """Queue trigger in force, in seconds."""
        return self.burst.latency.queue_p99_over_s or self.slo.latency_p99_s / 2
