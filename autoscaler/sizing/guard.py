"""The last word before a target changes: bounds on how fast, and when not at all. Pure.

Order matters and is the order of the code: a pause, blindness (stale signals, a site out of
sight), the cloud leaving first, cooldown, step size. A cut by a spend cap passes all of them, a
failover all but pause and blindness; a command passes a pause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autoscaler.sizing.allocate import Target
from autoscaler.snapshot import Snapshot
from serving.spec import HybridService


def guard(
    spec: HybridService,
    proposed: Mapping[str, Target],
    *,
    current: Mapping[str, int],
    last_change_s: Mapping[str, float],
    snapshot: Snapshot,
) -> dict[str, Target]:
    """Targets that may be put in force now; each says what held it back."""
    leaving = [
        site
        for site, target in proposed.items()
        if snapshot.sites[site].spec.role == "cloud" and target.replicas < current.get(site, 0)
    ]
    return {
        site: _guard_site(spec, site, target, current.get(site, 0), last_change_s.get(site), leaving, snapshot)
        for site, target in proposed.items()
    }


def _guard_site(
    spec: HybridService,
    site: str,
    target: Target,
    current: int,
    last_change_s: float | None,
    leaving: Sequence[str],
    snapshot: Snapshot,
) -> Target:
    wanted = target.replicas
    cut_by_budget = target.forced and wanted < current
    first_start = current == 0 and wanted <= spec.sites[site].min_replicas
    if wanted == current or cut_by_budget or first_start:
        return target
    blocked = _blocked(site, target, grows=wanted > current, snapshot=snapshot)
    if blocked:
        return Target(current, f"{blocked}; wanted {wanted}: {target.reason}", told=True)
    if target.forced:
        return target
    waits = _waits(spec, site, target, current, last_change_s, leaving, snapshot)
    if waits:
        return Target(current, f"{waits}; wanted {wanted}: {target.reason}")
    step = spec.burst.max_step
    if abs(wanted - current) > step:
        stepped = current + step if wanted > current else current - step
        return Target(stepped, f"{target.reason}; {step} at a time towards {wanted}")
    return target


def _blocked(site: str, target: Target, *, grows: bool, snapshot: Snapshot) -> str | None:
    """Why this change must not be, for now; None if it may."""
    if snapshot.scaling == "paused" and not target.commanded:
        return "autoscaling is paused"
    seen = snapshot.sites[site]
    # Unknown is not none: what cannot be seen is neither reduced nor paid more for.
    if seen.observation.applications is None and seen.observation.phase == "open":
        return f"site {site} is out of sight"
    if snapshot.stale_reason is None:
        return None
    if not grows:
        return f"no scale-in while {snapshot.stale_reason}"
    return f"no new spend while {snapshot.stale_reason}" if seen.spec.role == "cloud" else None


def _waits(
    spec: HybridService,
    site: str,
    target: Target,
    current: int,
    last_change_s: float | None,
    leaving: Sequence[str],
    snapshot: Snapshot,
) -> str | None:
    """What this change waits for, too ordinary to be told; None if it need not."""
    if site == snapshot.private_site and target.replicas < current and leaving and not target.commanded:
        return f"{', '.join(leaving)} leaves first"
    if last_change_s is None:
        return None
    waited_s = snapshot.now_s - last_change_s
    if 0 <= waited_s < spec.burst.cooldown_s:
        return f"cooldown, {waited_s:.0f} s of {spec.burst.cooldown_s:g} s"
    return None
