"""The release of a version over all open sites, as a state machine in values.

making_room -> loading -> probing -> judging -> shifting -> draining -> done (promoted)
and from any of them to reverting -> done. A site that fails brings all of them back: one
verdict. `advance` moves at most one phase; `split` says how many replicas each track gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from autoscaler.snapshot import TrackSignals
from autoscaler.state import Admission, Deployed, Release, ReleaseEvent, ReleasePhase, Verdict, words
from serving.sites.site import ApplicationStatus
from serving.spec import HybridService

EARLY_ERRORS = 3
"""This many errors above the allowed share end a judging at once."""
MOST_SHIFTING = 0.95
"""Largest share of a candidate that has not all its replicas yet."""
SETTLE_S = 1.0
"""After a track's share fell to 0 it is given this long before `no request there` is believed."""


@dataclass(frozen=True)
class SiteRelease:
    """What a release sees of one open site."""

    target: int
    """Replicas the load needs on this site."""
    room: int
    """Replicas the site can hold for this service."""
    stable_ready: int = 0
    """Probed replicas of the former version that serve."""
    candidate_ready: int = 0
    """Candidate replicas that serve, probed or not; of a site out of sight, those last seen."""
    candidate: ApplicationStatus | None = None
    """What the site says about it. None: it is not there yet, or the site is out of sight."""
    admission: Admission = field(default_factory=Admission)
    sample: TrackSignals = field(default_factory=TrackSignals)
    """Real requests the candidate answered since judging began."""

    @property
    def goal(self) -> int:
        """Replicas that carry the load during an exchange: on a full site, one less than the target."""
        return max(1, min(self.target, self.room - 1))


@dataclass(frozen=True)
class ReleaseView:
    """What a release decides from."""

    now_s: float
    spec: HybridService
    home: str
    sites: Mapping[str, SiteRelease]
    """Open sites only."""
    lead_s: float | None
    """Longest time until a rented site serves; None: the service has none."""
    candidate_in_use: int | None
    """Requests the candidate track holds; None: unknown."""
    stable_in_use: int | None
    queued: int | None = 0
    """Requests of the service that wait at the gateway, for either track; None: unknown."""
    interrupted: Verdict | None = None
    """`aborted` or `superseded`, when a command asked for it."""


def origin(site: SiteRelease) -> str:
    """Where the candidate's first replica on a site comes from."""
    if site.target + 1 <= site.room:
        return "surge"
    return "take over" if site.room > 1 else "rent"


def split(release: Release, site: SiteRelease, *, stable_elsewhere: bool) -> tuple[int, int]:
    """(stable, candidate) replicas of one open site; together never above its room.

    `stable_elsewhere`: the stable version serves on another site, so this one may give it up.
    """
    if release.former is None:
        return 0, min(site.target, site.room)
    if release.phase in ("making_room", "done") or site.room == 0:
        return min(site.target, site.room), 0
    if site.room == 1:
        renewing = release.phase in ("shifting", "draining") or (stable_elsewhere and release.phase != "reverting")
        return (0, 1) if renewing else (1, 0)
    # One track takes over from the other replica by replica: what leaves makes room before what comes is
    # ready, but never goes below what is still needed.
    if release.phase in ("shifting", "draining"):
        stable = max(1, site.goal - site.candidate_ready)
        return stable, min(site.target, site.room - stable)
    if release.phase == "reverting":
        candidate = max(1, min(site.candidate_ready, site.goal - site.stable_ready))
        return min(site.target, site.room - candidate), candidate
    return site.goal, 1


def needs_rent(release: Release | None, home: SiteRelease | None) -> bool:
    """A full private site of one node can only be renewed while the cloud carries the load."""
    return release is not None and release.former is not None and needs_room(home)


def needs_room(home: SiteRelease | None) -> bool:
    """Whether the private site cannot hold a second replica beside its only one."""
    return home is not None and home.room == 1


def advance(release: Release, view: ReleaseView) -> Release:
    """The release one tick later."""
    if release.phase == "reverting":
        return _reverting(release, view)
    if view.interrupted:
        return _revert(release, view, f"{view.interrupted} by a command", view.interrupted)
    failure = _failure(release, view)
    if failure:
        return _revert(release, view, failure, "rolled_back")
    steps = {
        "making_room": _making_room,
        "loading": _loading,
        "probing": _probing,
        "judging": _judging,
        "shifting": _shifting,
        "draining": _draining,
    }
    return steps[release.phase](release, view)


def probes_wanted(release: Release, view: ReleaseView, site: SiteRelease) -> int:
    """Probes to send to the candidate of a site now; 0 when its sample is large enough."""
    if site.candidate_ready == 0 or release.phase == "reverting":
        return 0
    if not site.admission.ok:
        return view.spec.release.probe_requests if site.admission.attempts == 0 else 0
    if release.phase == "judging" and view.now_s - release.phase_since_s >= view.spec.release.judge_s:
        return max(0, view.spec.release.min_sample - _sample(site).requests)
    return 0


def _making_room(release: Release, view: ReleaseView) -> Release:
    if release.former is None:
        return _to(release, view, "loading", "first version: starts with the least capacity")
    if _home_must_wait(view):
        return release
    origins = {name: origin(site) for name, site in view.sites.items()}
    text = ", ".join(f"{name} by {how}" for name, how in origins.items()) or "no site is open yet"
    return replace(_to(release, view, "loading", f"first replica on {text}"), origins=origins)


def _home_must_wait(view: ReleaseView) -> bool:
    """A private site of one replica gives it up only while another site carries the load."""
    elsewhere = any(site.stable_ready for name, site in view.sites.items() if name != view.home)
    return needs_room(view.sites.get(view.home)) and not elsewhere


def _loading(release: Release, view: ReleaseView) -> Release:
    if view.sites and all(site.candidate_ready >= 1 for site in view.sites.values()):
        return _to(release, view, "probing", f"loaded on {', '.join(view.sites)}")
    return release


def _probing(release: Release, view: ReleaseView) -> Release:
    if not view.sites or not all(site.admission.ok for site in view.sites.values()):
        return release
    text = f"answered its probes on {', '.join(view.sites)}"
    if release.former is None:
        return _done(release, view, "promoted", f"first version; {text}")
    if release.rollback:
        text = f"{text}; it has served before, so it is not judged again"
        return replace(_to(release, view, "shifting", text), reason=text)
    share = _judged_share(release, release.former, view)
    return replace(_to(release, view, "judging", f"{text}; gets {share:.0%} of the requests"), share=share)


def _judging(release: Release, view: ReleaseView) -> Release:
    if release.former is not None:
        release = replace(release, share=_judged_share(release, release.former, view))
    if view.now_s - release.phase_since_s < view.spec.release.judge_s or not view.sites:
        return release
    samples = {name: _sample(site) for name, site in view.sites.items()}
    if any(sample.requests < view.spec.release.min_sample for sample in samples.values()):
        return release
    text = "healthy: " + ", ".join(f"{name} {s.errors} errors of {s.requests}" for name, s in samples.items())
    return replace(_to(release, view, "shifting", text), reason=text)


def _shifting(release: Release, view: ReleaseView) -> Release:
    if view.sites and all(site.admission.ok and site.candidate_ready >= site.goal for site in view.sites.values()):
        return replace(_to(release, view, "draining", "carries all requests"), share=1.0)
    held = release.share if release.former is None else _slots_share(release, release.former, view)
    return replace(release, share=min(MOST_SHIFTING, held))


def _draining(release: Release, view: ReleaseView) -> Release:
    waited_s = view.now_s - release.phase_since_s
    if _finished(view.stable_in_use, view, waited_s):
        return _done(release, view, "promoted", "the former version has finished its requests")
    if waited_s > _longest_drain_s(view):
        return _done(release, view, "promoted", f"the former version did not drain in {waited_s:.0f} s")
    return release


def _finished(in_use: int | None, view: ReleaseView, waited_s: float) -> bool:
    """A track that gets nothing new has answered all: also what waited for it, which carries its path."""
    none_waits = view.queued == 0 or waited_s > view.spec.routing.queue_timeout_s
    return in_use == 0 and none_waits and waited_s >= SETTLE_S


def _longest_drain_s(view: ReleaseView) -> float:
    """Longest wait in the queue, and longest time to finish after it."""
    return view.spec.routing.queue_timeout_s + view.spec.model.drain_s


def _failure(release: Release, view: ReleaseView) -> str | None:
    """Why this version must not go on; None while nothing speaks against it."""
    for name, site in view.sites.items():
        if site.candidate and site.candidate.phase in ("failed", "unhealthy"):
            return f"{site.candidate.phase} on {name}: {site.candidate.message or 'no message'}"
        if site.admission.attempts and not site.admission.ok:
            answered = f"{site.admission.errors} of {site.admission.requests} probes failed"
            return f"{answered} on {name}: {site.admission.message}"
    return _overdue(release, view) or _too_many_errors(release, view)


def _overdue(release: Release, view: ReleaseView) -> str | None:
    """A phase that does not get on within its time has failed."""
    elapsed_s, limit_s = view.now_s - release.phase_since_s, view.spec.release.load_timeout_s
    if release.phase == "making_room" and _home_must_wait(view):
        if view.lead_s is None and view.spec.sites[view.home].max_replicas == 1:
            return f"{view.home} has room for one replica, and no cloud site to serve while that one is replaced"
        if elapsed_s > limit_s + (view.lead_s or 0.0):  # other services may leave, or end their releases
            return f"{view.home} has room for one replica, and no other site served within {elapsed_s:.0f} s"
    late = {
        "loading": [name for name, site in view.sites.items() if site.candidate_ready == 0],
        "probing": [name for name, site in view.sites.items() if not site.admission.ok],
        "judging": [name for name, site in view.sites.items() if _sample(site).requests < view.spec.release.min_sample],
        "shifting": [name for name, site in view.sites.items() if site.candidate_ready < site.goal],
    }
    if release.phase == "judging":
        limit_s += view.spec.release.judge_s
    if release.phase == "shifting":  # replica by replica: each has its time
        limit_s *= max(1, sum(site.target for site in view.sites.values()))
    if release.phase in late and elapsed_s > limit_s:
        return f"{release.phase} has not ended on {', '.join(late[release.phase]) or 'any site'} in {elapsed_s:.0f} s"
    return None


def _too_many_errors(release: Release, view: ReleaseView) -> str | None:
    samples = [_sample(site) for site in view.sites.values()]
    requests, errors = sum(s.requests for s in samples), sum(s.errors for s in samples)
    allowed = view.spec.release.max_error_rate
    if errors >= EARLY_ERRORS and errors > allowed * requests:
        return f"{errors} errors of {requests} requests, {allowed:.1%} are allowed"
    enough = requests >= view.spec.release.min_sample
    if release.phase == "judging" and enough and errors > allowed * requests:
        return f"{errors} errors of {requests} requests, {allowed:.1%} are allowed"
    return None


def _sample(site: SiteRelease) -> TrackSignals:
    """Probed and real requests of the candidate on a site."""
    return TrackSignals(site.admission.requests + site.sample.requests, site.admission.errors + site.sample.errors)


def _judged_share(release: Release, former: Deployed, view: ReleaseView) -> float:
    """The candidate's share while it is judged: never more than its part of the slots."""
    return min(view.spec.release.candidate_share, _slots_share(release, former, view))


def _slots_share(release: Release, former: Deployed, view: ReleaseView) -> float:
    """The candidate's part of all slots that serve; 0 while it has none."""
    candidate = sum(s.candidate_ready for s in view.sites.values() if s.admission.ok)
    candidate *= release.candidate.model.slots_per_replica
    stable = sum(s.stable_ready for s in view.sites.values()) * former.model.slots_per_replica
    return candidate / (candidate + stable) if candidate else 0.0


def _revert(release: Release, view: ReleaseView, why: str, verdict: Verdict) -> Release:
    """Until it took over, the former version has the capacity for everything; after that it must get it back."""
    taking_over = release.phase in ("shifting", "draining")
    share = min(release.share, _not_yet_back(view)) if taking_over else 0.0
    return replace(_to(release, view, "reverting", why), share=share, intended=verdict, reason=why)


def _reverting(release: Release, view: ReleaseView) -> Release:
    share = min(release.share, _not_yet_back(view))
    if share > 0:
        return replace(release, share=share)
    if release.share > 0:
        return replace(_to(release, view, "reverting", "the former version carries all requests"), share=0.0)
    waited_s = view.now_s - release.phase_since_s
    if _finished(view.candidate_in_use, view, waited_s) or waited_s > _longest_drain_s(view):
        return _done(release, view, release.intended or "rolled_back", release.reason)
    return release


def _not_yet_back(view: ReleaseView) -> float:
    """Share of the load that the former version cannot carry yet, and the candidate still can."""
    goal = sum(site.goal for site in view.sites.values())
    stable = sum(site.stable_ready for site in view.sites.values())
    candidate = sum(site.candidate_ready for site in view.sites.values())
    return max(0.0, 1.0 - stable / goal) if goal and candidate else 0.0


def _done(release: Release, view: ReleaseView, verdict: Verdict, text: str) -> Release:
    return replace(
        _to(release, view, "done", f"{words(verdict)}: {text}"), verdict=verdict, reason=release.reason or text
    )


def _to(release: Release, view: ReleaseView, phase: ReleasePhase, text: str) -> Release:
    event = ReleaseEvent(view.now_s, phase, text)
    return replace(release, phase=phase, phase_since_s=view.now_s, events=(*release.events, event))
