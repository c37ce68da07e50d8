"""The release of a version over all open sites, as a state machine in values.

making_room -> loading -> probing -> judging -> shifting -> draining -> done (promoted)
and from any of them to reverting -> done. A site that fails brings all of them back: one
verdict. `advance` moves at most one phase; `split` says how many replicas each track gets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from autoscaler.snapshot import TrackSignals
from autoscaler.state import Admission, Release, ReleaseEvent, ReleasePhase, Verdict
from serving.sites.site import ApplicationStatus
from serving.spec import HybridService

EARLY_ERRORS = 3
"""This many errors above the allowed share end a judging at once."""


@dataclass(frozen=True)
class SiteRelease:
    """What a release sees of one open site."""

    target: int
    """Replicas the load needs on this site."""
    room: int
    """Replicas the site can hold for this service."""
    stable_ready: int = 0
    candidate: ApplicationStatus | None = None
    """None: not there yet, or the site is out of sight."""
    admission: Admission = field(default_factory=Admission)
    sample: TrackSignals = field(default_factory=TrackSignals)
    """Real requests the candidate answered since judging began."""

    @property
    def candidate_ready(self) -> int:
        """Candidate replicas that serve."""
        return self.candidate.replicas_ready if self.candidate else 0


@dataclass(frozen=True)
class ReleaseView:
    """What a release decides from."""

    now_s: float
    spec: HybridService
    home: str
    sites: Mapping[str, SiteRelease]
    """Open sites only."""
    candidate_in_use: int | None
    """Requests the candidate track holds; None: unknown."""
    stable_in_use: int | None
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
        return 0, max(1, site.target)
    if release.phase == "making_room" or site.room == 0 or release.phase == "done":
        return site.target, 0
    if release.phase in ("shifting", "draining"):
        stable = max(1, site.target - site.candidate_ready)
        if site.room == 1:
            return 0, 1
        stable = min(stable, site.room - 1)
        return stable, max(1, min(site.target, site.room - stable))
    if site.room == 1:
        return (0, 1) if stable_elsewhere else (1, 0)
    return min(max(1, site.target), site.room - 1), 1


def needs_rent(release: Release | None, home: SiteRelease | None) -> bool:
    """A full private site of one node can only be renewed while the cloud carries the load."""
    return release is not None and release.former is not None and home is not None and home.room == 1


def advance(release: Release, view: ReleaseView) -> Release:
    """The release one tick later."""
    if release.phase == "reverting":
        return _finish_reverting(release, view)
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
    home = view.sites.get(view.home)
    if (
        home is not None
        and home.room == 1
        and not any(site.stable_ready for name, site in view.sites.items() if name != view.home)
    ):
        return release
    origins = {name: origin(site) for name, site in view.sites.items()}
    text = ", ".join(f"{name} by {how}" for name, how in origins.items()) or "no site is open yet"
    return replace(_to(release, view, "loading", f"first replica on {text}"), origins=origins)


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
        return _to(release, view, "shifting", f"{text}; it has served before, so it is not judged again")
    share = view.spec.release.candidate_share
    return replace(_to(release, view, "judging", f"{text}; gets {share:.0%} of the requests"), share=share)


def _judging(release: Release, view: ReleaseView) -> Release:
    if view.now_s - release.phase_since_s < view.spec.release.judge_s or not view.sites:
        return release
    samples = {name: _sample(site) for name, site in view.sites.items()}
    if any(sample.requests < view.spec.release.min_sample for sample in samples.values()):
        return release
    text = ", ".join(f"{name} {s.errors} errors of {s.requests}" for name, s in samples.items())
    return _to(release, view, "shifting", f"healthy: {text}")


def _shifting(release: Release, view: ReleaseView) -> Release:
    candidate = sum(site.candidate_ready for site in view.sites.values())
    stable = sum(site.stable_ready for site in view.sites.values())
    share = max(release.share, candidate / (candidate + stable) if candidate else 0.0)
    complete = view.sites and all(
        site.admission.ok and site.candidate_ready >= max(1, min(site.target, site.room - 1))
        for site in view.sites.values()
    )
    if complete:
        return replace(_to(release, view, "draining", "carries all requests"), share=1.0)
    return replace(release, share=min(share, 0.95))


def _draining(release: Release, view: ReleaseView) -> Release:
    waited_s = view.now_s - release.phase_since_s
    if view.stable_in_use == 0 and waited_s >= 1.0:
        return _done(release, view, "promoted", "the former version has finished its requests")
    if waited_s > view.spec.model.drain_s:
        return _done(release, view, "promoted", f"the former version did not drain in {waited_s:.0f} s")
    return release


def _failure(release: Release, view: ReleaseView) -> str | None:
    """Why this version must not go on; None while nothing speaks against it."""
    for name, site in view.sites.items():
        if site.candidate and site.candidate.phase in ("failed", "unhealthy"):
            return f"{site.candidate.phase} on {name}: {site.candidate.message or 'no message'}"
        if site.admission.attempts and not site.admission.ok:
            answered = f"{site.admission.errors} of {site.admission.requests} probes failed"
            return f"{answered} on {name}: {site.admission.message}"
    elapsed_s = view.now_s - release.started_at_s
    if release.phase in ("making_room", "loading", "probing") and elapsed_s > view.spec.release.load_timeout_s:
        waiting = [name for name, site in view.sites.items() if not site.admission.ok] or ["any site"]
        return f"not ready on {', '.join(waiting)} after {elapsed_s:.0f} s"
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


def _revert(release: Release, view: ReleaseView, why: str, verdict: Verdict) -> Release:
    return replace(_to(release, view, "reverting", why), share=0.0, intended=verdict, reason=why)


def _finish_reverting(release: Release, view: ReleaseView) -> Release:
    waited_s = view.now_s - release.phase_since_s
    drained = view.candidate_in_use == 0 and waited_s >= 1.0
    if drained or (release.share == 0 and waited_s > view.spec.model.drain_s):
        return _done(release, view, release.intended or "rolled_back", release.reason)
    return release


def _done(release: Release, view: ReleaseView, verdict: Verdict, text: str) -> Release:
    return replace(_to(release, view, "done", f"{verdict}: {text}"), verdict=verdict, reason=text)


def _to(release: Release, view: ReleaseView, phase: ReleasePhase, text: str) -> Release:
    event = ReleaseEvent(view.now_s, phase, text)
    return replace(release, phase=phase, phase_since_s=view.now_s, events=(*release.events, event))
