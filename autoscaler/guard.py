"""The last word before a target changes: bounds on how fast, and when not at all. Pure.

Order matters and is the order of the code: a pause, blindness (stale signals, a site out of
sight), cooldown, step size. Spend caps and failover pass all but blindness.
"""

from __future__ import annotations

from collections.abc import Mapping

from autoscaler.allocate import Target
from autoscaler.snapshot import Snapshot
from serving.spec import HybridService

COOLDOWN = "cooldown"


def guard(
    spec: HybridService,
    proposed: Mapping[str, Target],
    *,
    current: Mapping[str, int],
    last_change_s: Mapping[str, float],
    snapshot: Snapshot,
) -> dict[str, Target]:
    """Targets that may be put in force now; each says what held it back."""
    return {
        site: _guard_site(spec, site, target, current.get(site, 0), last_change_s.get(site), snapshot)
        for site, target in proposed.items()
    }


def _guard_site(
    spec: HybridService,
    site: str,
    target: Target,
    current: int,
    last_change_s: float | None,
    snapshot: Snapshot,
) -> Target:
    share = spec.sites[site]
    least = 0 if target.forced else share.min_replicas
    wanted = min(max(target.replicas, least), share.max_replicas)
    if wanted == current:
        return Target(current, target.reason, told=target.told)
    cut_by_budget = target.forced and wanted < current
    if not cut_by_budget:
        blocked = _blocked(spec, site, target, wanted, current, last_change_s, snapshot)
        if blocked:
            told = not blocked.startswith(COOLDOWN)
            return Target(current, f"{blocked}; wanted {wanted}: {target.reason}", told=told)
        step = spec.burst.max_step
        if not target.forced and abs(wanted - current) > step:
            stepped = current + step if wanted > current else current - step
            return Target(stepped, f"{target.reason}; {step} at a time towards {wanted}")
    return Target(wanted, target.reason, target.forced)


def _blocked(
    spec: HybridService,
    site: str,
    target: Target,
    wanted: int,
    current: int,
    last_change_s: float | None,
    snapshot: Snapshot,
) -> str | None:
    """Why this change must wait; None if it need not."""
    if current == 0 and wanted <= spec.sites[site].min_replicas:
        return None
    if snapshot.scaling == "paused":
        return "autoscaling is paused"
    blind = _blind(site, grows=wanted > current, snapshot=snapshot)
    if blind or target.forced or last_change_s is None:
        return blind
    waited_s = snapshot.now_s - last_change_s
    if 0 <= waited_s < spec.burst.cooldown_s:
        return f"{COOLDOWN}, {waited_s:.0f} s of {spec.burst.cooldown_s:g} s"
    return None


def _blind(site: str, *, grows: bool, snapshot: Snapshot) -> str | None:
    """Unknown is not none: what cannot be seen is neither reduced nor paid more for."""
    seen = snapshot.sites[site]
    if seen.observation.applications is None and seen.observation.phase == "open":
        return f"site {site} is out of sight"
    if snapshot.stale_reason is None:
        return None
    if not grows:
        return f"no scale-in while {snapshot.stale_reason}"
    return f"no new spend while {snapshot.stale_reason}" if seen.spec.role == "cloud" else None
