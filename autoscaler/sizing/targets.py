"""One service's side of the targets: what it brings to the table, and what comes into force. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autoscaler.money.market import Offers, Taken, market
from autoscaler.plan import Decision, Details
from autoscaler.policy.bids import Bid, PolicyState
from autoscaler.policy.leads import Lead
from autoscaler.policy.predictive import LeadTimes, predictive, take_in
from autoscaler.policy.standby import with_standby
from autoscaler.policy.threshold import Capacity, threshold
from autoscaler.routing.placement import site_release, usable_ready
from autoscaler.routing.release import needs_rent
from autoscaler.sizing.allocate import Demand, Target
from autoscaler.sizing.guard import guard
from autoscaler.sizing.home import home_down
from autoscaler.snapshot import STEP_S, ServiceSnapshot, Snapshot
from autoscaler.state import DaemonState, ServiceState
from autoscaler.values import updated

FIRST_BID = "the service starts with its least capacity"


def demand(
    service: ServiceSnapshot, state: DaemonState, snapshot: Snapshot, rooms: Mapping[str, int], everybodys: Taken
) -> tuple[Demand, ServiceState]:
    """Ask the policy what this service wants."""
    spec, mine = service.spec, state.services[service.spec.name]
    home = snapshot.private_site
    serving = [d for d in (mine.stable, mine.release and mine.release.candidate) if d]
    ready = {
        site: min(mine.targets.get(site, 0), sum(usable_ready(mine, snapshot, d, site) for d in serving))
        for site in spec.sites
    }
    offers = {
        site: market(service, site, snapshot.sites[site].spec, state, everybodys)
        for site in spec.sites
        if snapshot.sites[site].spec.role == "cloud"
    }
    bid = Bid(spec.name, 1, "keep", FIRST_BID)
    if mine.stable is not None:
        everywhere = sum(ready.values())
        capacity = Capacity(everywhere, everywhere - ready.get(home, 0), home_down(service, mine, snapshot))
        bid, policy = _ask(_with_known_mean(service, mine), snapshot, capacity, mine, offers)
        mine = replace(mine, policy=policy)
    hold = service.hold if service.hold and service.hold.until_s > snapshot.now_s else None
    rent = int(needs_rent(mine.release, site_release(service, mine, snapshot, home, rooms[home])))
    found = Demand(
        spec,
        bid,
        mine.targets,
        ready,
        rented={site: state.nodes.get(f"{site}/{spec.name}", ()) for site in spec.sites},
        offers=offers,
        stays_s={site: state.stays_s[key] for site in offers if (key := f"{site}/{spec.name}") in state.stays_s},
        billed_s=state.billed_s,
        hold=hold,
        rent=rent,
    )
    return found, mine


def _ask(
    service: ServiceSnapshot, snapshot: Snapshot, capacity: Capacity, mine: ServiceState, offers: Offers
) -> tuple[Bid, PolicyState]:
    """The bid of the service's policy, raised by its events.

    What holds for all policies is in `threshold`: blindness and failover.
    """
    reactive = service.spec.burst.policy == "threshold"
    if reactive and not service.spec.events:
        return threshold(service, snapshot, capacity, updated(mine.policy, standing=()))
    now_s = _lead_s(service, snapshot, mine)
    leads = LeadTimes(now_s, max(now_s, _lead_s(service, snapshot, mine, closed=True)))
    policy = take_in(service, mine.policy, leads)
    if reactive or snapshot.stale_reason is not None or capacity.private_down is not None:
        bid, policy = threshold(service, snapshot, capacity, policy)
    else:
        bid, policy = predictive(service, snapshot, policy, leads, offers)
    return with_standby(service.spec, snapshot, bid, policy, leads.anew_s, offers)


def _lead_s(service: ServiceSnapshot, snapshot: Snapshot, mine: ServiceState, *, closed: bool = False) -> float:
    """From the decision to the first request on rented capacity, as it is or if all was closed; of the slowest site."""
    sites = [s for s, share in service.spec.sites.items() if share.max_replicas > 0 and s != snapshot.private_site]
    return max(
        (site_lead_s(mine.leads.get(site, Lead()), snapshot, site, closed=closed) for site in sites), default=STEP_S
    )


def site_lead_s(lead: Lead, snapshot: Snapshot, site: str, *, closed: bool = False) -> float:
    """The same of one site."""
    seen = snapshot.sites[site]
    return lead.expected_s(
        site_open=not closed and seen.observation.phase == "open",
        declared_s=max(pool.lead_time_s for pool in seen.spec.pools),
    )


def _with_known_mean(service: ServiceSnapshot, mine: ServiceState) -> ServiceSnapshot:
    """Under relief perhaps no replica answers: then requests take as long as they last did."""
    if mine.relief.level is None or service.signals.service_mean_s is not None:
        return service
    return replace(service, signals=replace(service.signals, service_mean_s=mine.relief.service_mean_s))


def set_targets(
    service: ServiceSnapshot, mine: ServiceState, proposed: Mapping[str, Target], snapshot: Snapshot
) -> tuple[ServiceState, list[Decision]]:
    """Put guarded targets in force, and say why, and what was held back."""
    if service.wanted is None and mine.stable is None:
        return mine, []
    allowed = guard(service.spec, proposed, current=mine.targets, last_change_s=mine.last_change_s, snapshot=snapshot)
    shadow = snapshot.scaling == "shadow" and mine.stable is not None
    decisions, notes = [], {}
    counts = {site: mine.targets.get(site, 0) for site in service.spec.sites}
    changed_s, reasons = dict(mine.last_change_s), dict(mine.reasons)
    for site, target in allowed.items():
        verb, notes[site] = _verdict(target, counts[site], shadow=shadow)
        if verb == "scale" or (notes[site] and notes[site] != mine.notes.get(site)):
            decisions.append(_decision(service.spec.name, site, verb, target, counts[site], proposed[site].replicas))
        if verb == "scale":
            counts[site], changed_s[site], reasons[site] = target.replicas, snapshot.now_s, target.reason
    empty_s = {site: mine.emptying_since_s.get(site, snapshot.now_s) for site, count in counts.items() if count == 0}
    affordable = {site: target.affordable for site, target in proposed.items() if target.affordable is not None}
    mine = updated(
        mine,
        targets=counts,
        last_change_s=changed_s,
        emptying_since_s=empty_s,
        notes=notes,
        reasons=reasons,
        affordable=affordable,
    )
    return mine, decisions


def _verdict(target: Target, before: int, *, shadow: bool) -> tuple[str, str]:
    """(what happens, a note that tells it from what was told before; empty: nothing worth a line)."""
    if target.replicas == before:
        return "wait", _without_numbers(target.reason.partition(";")[0]) if target.told else ""
    return ("would scale", f"would scale to {target.replicas}") if shadow else ("scale", "")


def _decision(service: str, site: str, verb: str, target: Target, before: int, wanted: int) -> Decision:
    details: Details = {"site": site, "from": before, "to": target.replicas, "wanted": wanted}
    return Decision(service, verb, target.reason, details)


def _without_numbers(text: str) -> str:
    """The same hindrance is told once, not at each new figure."""
    return "".join(char for char in text if not (char.isdigit() or char == "."))
