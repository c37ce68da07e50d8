"""What a policy answers: a bid for capacity, with its reason, and the state it keeps.

A policy is a pure function `(service, snapshot, state) -> (bid, state)`; it never
decides where capacity comes from or whether it is affordable: `autoscaler.sizing.allocate` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from autoscaler.policy.forecast import History

DAY_S = 86_400.0
Kind = Literal["grow", "keep", "shrink"]


@dataclass(frozen=True)
class Bid:
    """How many replicas one service wants, over all sites."""

    service: str
    replicas: int
    kind: Kind
    reason: str
    because: str = ""
    """Why the number of replicas was last changed: a target that follows late is told with this."""
    failover: bool = False
    """The private site cannot serve: all of it is wanted in the cloud, now."""
    standby: bool = False
    """The private site is only just back: what the cloud has stays for the dwell time."""
    shift: bool = False
    """Cost asks that traffic leaves the private site although it could serve."""


@dataclass(frozen=True)
class Promise:
    """How many requests were late over about the last day; what is older fades."""

    requests: float = 0.0
    late: float = 0.0
    seconds: float = 0.0
    """Seconds that were counted, fading as well."""

    @property
    def day_requests(self) -> float:
        """Requests of a day at the rate that was counted."""
        return self.requests * DAY_S / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Advice:
    """What pays at the forecast rate, until the next step of arrivals."""

    until_s: int
    """End of the last step that it knows."""
    lead_s: float
    """Lead time that it was made for."""
    launch: int
    """Replicas up to which it pays to launch; the last one of them at each of the last steps."""
    keep: int
    """Replicas up to which it pays to keep what is there, or did at one of the last steps."""
    reason: str
    launches: tuple[int, ...] = ()
    """What paid to launch at each of the last steps, the newest last."""
    keeps: tuple[int, ...] = ()
    """The same of what paid to keep."""


@dataclass(frozen=True)
class Standing:
    """Capacity that stands by for one occurrence of a declared event. Times in seconds since the epoch."""

    name: str
    starts_s: float
    ends_s: float
    since_s: float
    """When it was asked for."""
    declared: float
    """The event's rate or factor as it was then."""
    rate_rps: float
    """What is expected."""
    replicas: int


@dataclass(frozen=True)
class PolicyState:
    """What a policy remembers between ticks. Plain values: it is stored."""

    level: int = 1
    """Replicas of the last bid. Not what came of it: while a replacement starts, or where a site has a
    minimum, there is more than was asked for, and a bid must not feed on that."""
    because: str = ""
    """Reason of the bid that set the level."""
    enough_since_s: float | None = None
    """Since when as many replicas as the level serve."""
    breach_since_s: float | None = None
    needs: tuple[tuple[float, int], ...] = ()
    """(time last seen, replicas needed), falling: the first is the maximum over the dwell time."""
    needs_since_s: float | None = None
    """Since when needs were seen without a gap."""
    cost_since_s: float | None = None
    """Since when the cost ratio has asked to change sides."""
    shifted: bool = False
    failover_s: float | None = None
    """When the private site was last seen unable to serve; None once it has been back for the dwell time."""
    history: History = field(default_factory=History)
    """What forecasts are made from (policy `predictive`)."""
    service_s: float | None = None
    """Mean time a request holds a slot, as learned; None: no request was answered yet."""
    promise: Promise = field(default_factory=Promise)
    advice: Advice | None = None
    standing: tuple[Standing, ...] = ()
    """For declared events, until some minutes after their end."""
