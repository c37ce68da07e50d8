"""Which pool the next node is rented from, and which node is given back first: cost per useful hour. Pure.

A node is useful while it serves. What an hour of that is expected to cost:

    rent     price x max(minimum billing, lead time + stay) / stay
    egress   usd per GB x GB that a busy node answers in an hour
    reclaim  reclaims per hour x (a relaunch's lead time at its price
             + seconds without the replica, lead time - notice, at what a replica is worth)

The rent spreads what is paid and serves nobody over the stay; the reclaim is what a spot pool costs beside its price.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from autoscaler.money.cost import HOUR_S
from autoscaler.snapshot import ServiceSnapshot, Signals
from autoscaler.state import DaemonState, RentedNode
from serving.project import Pool, SiteSpec
from serving.spec import HybridService

UNKNOWN_STAY_S = 1_800.0
"""How long a rented node is taken to serve before one was given back."""
LEAST_STAY_S = 60.0
"""A stay that was cut short says little of the next one."""
STAY_WEIGHT = 0.25
"""Of the latest stay in the mean; four stays make another habit."""
REPLICA_WORTH = 5.0
"""A replica that is missing costs so many times the dearest pool's price: what policy `predictive` launches must save
that much in late requests."""


@dataclass(frozen=True)
class Use:
    """What a rented node will do."""

    stay_s: float = UNKNOWN_STAY_S
    """How long it is expected to serve."""
    egress_gb_per_hour: float | None = None
    """What a busy node answers; None: nobody has seen its answers, and pools are compared without."""


@dataclass(frozen=True)
class Offer:
    """One pool, and what a useful hour of a node there is expected to cost."""

    pool: Pool
    room: int
    """Nodes that other services leave there."""
    rent_usd_per_hour: float
    egress_usd_per_hour: float | None
    """None: not known."""
    reclaim_usd_per_hour: float
    rests: bool = False
    """It gave trouble lately: the others come first."""

    @property
    def usd_per_hour(self) -> float:
        """Everything that is known, together."""
        return self.rent_usd_per_hour + (self.egress_usd_per_hour or 0.0) + self.reclaim_usd_per_hour


Offers = Mapping[str, Sequence[Offer]]
"""By cloud site, the cheapest first."""

Taken = Mapping[tuple[str, str], int]
"""Nodes of all services, by site and pool."""


def taken(nodes: Mapping[str, Sequence[RentedNode]]) -> dict[tuple[str, str], int]:
    """Count rented nodes, as they stand in the daemon's state."""
    found: dict[tuple[str, str], int] = {}
    for key, mine in nodes.items():
        site = key.partition("/")[0]
        for node in mine:
            found[site, node.pool] = found.get((site, node.pool), 0) + 1
    return found


def market(
    service: ServiceSnapshot, site: str, spec: SiteSpec, state: DaemonState, everybodys: Taken
) -> tuple[Offer, ...]:
    """What a service may rent on a site, the cheapest first, from what is known of it now.

    Args:
        service: its answers say what egress costs.
        site: name of a cloud site.
        spec: its declaration.
        state: nodes and learned stays.
        everybodys: nodes of all services, this one's among them.
    """
    key = f"{site}/{service.spec.name}"
    mine = taken({key: state.nodes.get(key, ())})
    others = {pool.name: everybodys.get((site, pool.name), 0) - mine.get((site, pool.name), 0) for pool in spec.pools}
    use = Use(state.stays_s.get(key, UNKNOWN_STAY_S), egress_gb_per_hour(service.spec, service.signals))
    resting = {pool.name for pool in spec.pools if f"{site}/{pool.name}" in state.rests_until_s}
    return ranked(spec.pools, use, others, resting)


def in_order(service: ServiceSnapshot, spec: SiteSpec) -> list[Pool]:
    """The pools of a site in the order in which a service would fill an empty one; owned pools as declared."""
    if spec.role == "private":
        return spec.pools
    use = Use(egress_gb_per_hour=egress_gb_per_hour(service.spec, service.signals))
    return [offer.pool for offer in ranked(spec.pools, use)]


def ranked(
    pools: Sequence[Pool], use: Use, others: Mapping[str, int] | None = None, resting: Collection[str] = ()
) -> tuple[Offer, ...]:
    """The offers of the pools, the cheapest per useful hour first; equal ones as declared, resting ones last."""
    dearest_usd = max((pool.price_usd_per_hour for pool in pools), default=0.0)
    held = others or {}
    found = [
        _offer(
            pool,
            use,
            room=max(0, pool.max_nodes - held.get(pool.name, 0)),
            dearest_usd=dearest_usd,
            rests=pool.name in resting,
        )
        for pool in pools
    ]
    return tuple(sorted(found, key=lambda offer: (offer.rests, offer.usd_per_hour)))


def _offer(pool: Pool, use: Use, *, room: int, dearest_usd: float, rests: bool) -> Offer:
    stay_s = max(LEAST_STAY_S, use.stay_s)
    paid_s = max(pool.min_billing_s, pool.lead_time_s + stay_s)
    missing_s = max(0.0, pool.lead_time_s - pool.reclaim_notice_s)
    relaunch_usd = (pool.lead_time_s * pool.price_usd_per_hour + missing_s * REPLICA_WORTH * dearest_usd) / HOUR_S
    gb = use.egress_gb_per_hour
    return Offer(
        pool=pool,
        room=room,
        rent_usd_per_hour=pool.price_usd_per_hour * paid_s / stay_s,
        egress_usd_per_hour=None if gb is None else gb * pool.egress_usd_per_gb,
        reclaim_usd_per_hour=pool.expected_reclaims_per_hour * relaunch_usd,
        rests=rests,
    )


def egress_gb_per_hour(spec: HybridService, signals: Signals) -> float | None:
    """What a node at its target use answers in an hour; None when no answer was seen."""
    if signals.bytes_mean is None or not signals.service_mean_s:
        return None
    node_rps = spec.model.slots_per_replica * spec.burst.target_slots_in_use / signals.service_mean_s
    return signals.bytes_mean * node_rps * HOUR_S / 1e9


def further(offers: Sequence[Offer], nodes: Sequence[RentedNode], count: int) -> list[Pool]:
    """The pool of each of `count` nodes to be rented beside `nodes`: the cheapest that has room.

    Beyond all room it is the dearest: an estimate that is too high is safer than one that is too low.
    """
    found: list[Pool] = []
    if count <= 0:
        return found
    for offer in offers:
        room = offer.room - sum(node.pool == offer.pool.name for node in nodes)
        found += [offer.pool] * max(0, min(room, count - len(found)))
    dearest = max((offer.pool for offer in offers), key=lambda pool: pool.price_usd_per_hour)
    return found + [dearest] * (count - len(found))


def going(nodes: Sequence[RentedNode], now_s: float) -> list[RentedNode]:
    """Nodes that are there and will leave."""
    return [node for node in nodes if node.ends_s is not None and node.ends_s > now_s]


def staying(nodes: Sequence[RentedNode]) -> list[RentedNode]:
    """Nodes that nobody has announced to go."""
    return [node for node in nodes if node.ends_s is None]


def keep(spec: SiteSpec, nodes: Sequence[RentedNode], count: int, now_s: float) -> tuple[RentedNode, ...]:
    """The `count` nodes that stay when the others are given back, in the order given.

    What forfeits least goes first: paid time that could still serve, less what a replica is worth for as long as the
    node does not serve yet. Where nothing is forfeited it is the dearest, then the newest.
    """
    if count >= len(nodes):
        return tuple(nodes)

    def leaves_first(index: int) -> tuple[float, float, float]:
        node = nodes[index]
        pool = pool_of(spec, node)
        starting_s = max(0.0, node.launched_at_s + pool.lead_time_s - now_s)
        paid_s = max(0.0, node.launched_at_s + pool.min_billing_s - now_s - starting_s)
        forfeited_usd = (paid_s - REPLICA_WORTH * starting_s) * pool.price_usd_per_hour / HOUR_S
        return (forfeited_usd, -pool.price_usd_per_hour, -node.launched_at_s)

    leaving = set(sorted(range(len(nodes)), key=leaves_first)[: len(nodes) - max(0, count)])
    return tuple(node for index, node in enumerate(nodes) if index not in leaving)


def pool_of(spec: SiteSpec, node: RentedNode) -> Pool:
    """The declared pool of a node; the first one if it is no longer declared."""
    return next((pool for pool in spec.pools if pool.name == node.pool), spec.pools[0])


def learned_stay_s(known_s: float | None, stays_s: Sequence[float]) -> float | None:
    """The mean stay with those of nodes just given back, the latest weighing most; None while none was."""
    for stay_s in stays_s:
        known_s = stay_s if known_s is None else known_s + STAY_WEIGHT * (stay_s - known_s)
    return known_s


def told(offers: Sequence[Offer]) -> str:
    """The options with their prices, as `hcctl why` shows them: `spot 0.46 usd (rent 0.43, reclaims 0.03), ...`."""
    return ", ".join(f"{offer.pool.name} {offer.usd_per_hour:.3g} usd{_parts(offer)}" for offer in offers)


def _parts(offer: Offer) -> str:
    parts = [("egress", offer.egress_usd_per_hour), ("reclaims", offer.reclaim_usd_per_hour)]
    extra = [f"{name} {usd:.2g}" for name, usd in parts if usd]
    extra = [f"rent {offer.rent_usd_per_hour:.3g}", *extra] if extra else []
    extra += ["rests after trouble"] if offer.rests else []
    return f" ({', '.join(extra)})" if extra else ""
