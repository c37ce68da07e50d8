"""The outlier rule: a site whose answers fail fast loses its traffic, track by track. Pure.

The gateway itself marks a server down after a run of errors; this rule sees mixed failure,
keeps the site out for a growing time, and has it probed before it returns. The last
site that serves is never ejected: its errors are answered honestly while capacity is sought.
"""

from __future__ import annotations

from collections.abc import Mapping

from autoscaler.snapshot import Signals
from autoscaler.state import Ejection
from serving.gateway.routes import Track

MIN_REQUESTS = 5
ERROR_SHARE = 0.5
FIRST_EJECTION_S = 10.0
LONGEST_EJECTION_S = 300.0
MOST_DOUBLINGS = 30
"""More would overflow a float one day."""
FORGIVE_AFTER_S = 600.0


def ejection_key(track: Track, site: str) -> str:
    """Key of `ServiceState.ejections`."""
    return f"{track}/{site}"


def fails_fast(signals: Signals, track: Track, site: str) -> bool:
    """At least half of what the site answered in the last seconds were errors."""
    seen = signals.by_site.get((track, site))
    return seen is not None and seen.requests >= MIN_REQUESTS and seen.errors >= ERROR_SHARE * seen.requests


def eject(
    ejections: Mapping[str, Ejection], signals: Signals, serving_sites: frozenset[str], now_s: float
) -> dict[str, Ejection]:
    """Ejections of the stable track in force at `now_s`, `serving_sites` being those with ready replicas."""
    kept = {key: e for key, e in ejections.items() if now_s < e.until_s + FORGIVE_AFTER_S}
    for site in sorted(serving_sites):
        key = ejection_key("stable", site)
        if ejected(kept, "stable", site, now_s) or not fails_fast(signals, "stable", site):
            continue
        others = [s for s in serving_sites - {site} if not ejected(kept, "stable", s, now_s)]
        if any(not fails_fast(signals, "stable", other) for other in others):
            times = kept[key].times + 1 if key in kept else 1
            out_s = backoff_s(FIRST_EJECTION_S, LONGEST_EJECTION_S, times)
            kept[key] = Ejection(now_s + out_s, times)
    return kept


def backoff_s(first_s: float, longest_s: float, times: int) -> float:
    """How long to wait after `times` failures in a row: doubled with each, up to the longest."""
    return min(longest_s, first_s * 2.0 ** min(MOST_DOUBLINGS, max(0, times - 1)))


def ejected(ejections: Mapping[str, Ejection], track: Track, site: str, now_s: float) -> bool:
    """Whether a site is out of a track at `now_s`."""
    ejection = ejections.get(ejection_key(track, site))
    return ejection is not None and now_s < ejection.until_s
