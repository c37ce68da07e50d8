from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.routing.release import (
    ReleaseView,
    SiteRelease,
    advance,
    needs_rent,
    origin,
    probes_wanted,
    split,
)
from autoscaler.snapshot import TrackSignals
from autoscaler.state import Admission
from tests.support.declared import service
from tests.support.moments import NOW_S, app, deployed, releasing

SPEC = service(release={"judge_s": 5.0, "min_sample": 20, "probe_requests": 10, "load_timeout_s": 100.0})
PROBED = Admission(ok=True, requests=10, attempts=1)


def at(target: int = 2, room: int = 4, *, stable: int = 2, ready: int = 0, **fields: object) -> SiteRelease:
    return SiteRelease(target=target, room=room, stable_ready=stable, candidate_ready=ready, **fields)


def view(private: SiteRelease | None = None, cloud: SiteRelease | None = None, *, after_s: float = 0.0, **fields):
    sites = {name: site for name, site in (("private", private), ("cloud", cloud)) if site}
    defaults = {"candidate_in_use": 0, "stable_in_use": 3, "lead_s": 40.0}
    return ReleaseView(NOW_S + after_s, SPEC, "private", sites, **{**defaults, **fields})


@pytest.mark.parametrize(
    ("target", "room", "how"), [(1, 4, "surge"), (4, 4, "take over"), (1, 1, "rent"), (3, 4, "surge")]
)
def test_the_first_replica_comes_from_somewhere(target: int, room: int, how: str):
    """A free node, a stable replica that makes room, or a rented one."""
    assert origin(at(target, room)) == how


# -- phases --


def test_making_room_names_the_origins_and_goes_on():
    """Each open site says where its first replica comes from."""
    after = advance(releasing("making_room"), view(at(2, 4), at(6, 6)))
    assert after.phase == "loading"
    assert after.origins == {"private": "surge", "cloud": "take over"}
    assert after.events[-1].text == "first replica on private by surge, cloud by take over"


def test_a_private_site_of_one_waits_until_another_carries_the_load():
    """The rented replica of the former version has to be ready; then the private one may be renewed."""
    waiting = advance(releasing("making_room"), view(at(1, 1), at(1, 6, stable=0)))
    assert waiting.phase == "making_room"
    assert advance(waiting, view(at(1, 1), at(1, 6, stable=1))).phase == "loading"
    assert needs_rent(waiting, at(1, 1))
    assert not needs_rent(waiting, at(1, 2))
    assert not needs_rent(releasing("making_room", former=None), at(1, 1))
    assert not needs_rent(None, at(1, 1))


def test_a_first_version_has_nothing_to_make_room_from():
    """It loads at once, and is promoted by its probes alone."""
    first = advance(releasing("making_room", former=None), view())
    assert first.phase == "loading"
    probing = advance(first, view(at(1, stable=0, ready=1)))
    assert probing.phase == "probing"
    done = advance(probing, view(at(1, stable=0, ready=1, admission=PROBED)))
    assert (done.phase, done.verdict) == ("done", "promoted")


def test_loading_waits_for_every_open_site():
    """One replica on each; a site without it holds all back."""
    assert advance(releasing(), view(at(ready=1), at(ready=0))).phase == "loading"
    assert advance(releasing(), view()).phase == "loading"
    assert advance(releasing(), view(at(ready=1), at(ready=1))).phase == "probing"


def test_probing_waits_for_every_open_site_and_gives_a_share():
    """Two candidate replicas beside four stable ones: a fifth as declared; one beside nine: a tenth."""
    ready = at(ready=1, admission=PROBED)
    assert advance(releasing("probing"), view(ready, at(ready=1))).phase == "probing"
    judged = advance(releasing("probing"), view(ready, ready))
    assert (judged.phase, judged.share) == ("judging", 0.2)
    crowded = at(9, 12, stable=9, ready=1, admission=PROBED)
    assert advance(releasing("probing"), view(crowded)).share == pytest.approx(0.1)


def test_slots_weigh_not_replicas():
    """A candidate with a quarter of the slots gets a quarter of the requests per replica."""
    small = deployed("v2", service(model={"slots_per_replica": 1}))
    release = releasing("probing", candidate=small)
    share = advance(release, view(at(4, 6, stable=4, ready=1, admission=PROBED))).share
    assert share == pytest.approx(1 / 17)


def test_a_rollback_is_not_judged():
    """It has served before: probes, then it takes over."""
    release = releasing("probing", rollback=True)
    assert advance(release, view(at(ready=1, admission=PROBED))).phase == "shifting"


@pytest.mark.parametrize(
    ("after_s", "requests", "phase"), [(4.9, 100, "judging"), (5.0, 9, "judging"), (5.0, 10, "shifting")]
)
def test_a_verdict_needs_time_and_a_sample(after_s: float, requests: int, phase: str):
    """judge_s have passed, and probes and real requests together are min_sample on each site."""
    site = at(ready=1, admission=PROBED, sample=TrackSignals(requests, 0))
    assert advance(releasing("judging", share=0.2), view(site, after_s=after_s)).phase == phase


def test_a_verdict_needs_the_sample_of_every_site():
    """A hundred requests on one site do not speak for the other one."""
    full = at(ready=1, admission=PROBED, sample=TrackSignals(100, 0))
    few = at(ready=1, admission=PROBED, sample=TrackSignals(9, 0))
    assert advance(releasing("judging"), view(full, few, after_s=9)).phase == "judging"
    done = advance(releasing("judging"), view(full, full, after_s=9))
    assert done.events[-1].text == "healthy: private 0 errors of 110, cloud 0 errors of 110"


def test_a_lost_candidate_gets_nothing_while_it_is_judged():
    """Its replicas are gone: the share falls to 0, and comes back with them."""
    judged = releasing("judging", share=0.2)
    assert advance(judged, view(at(ready=0, admission=PROBED))).share == 0.0
    assert advance(judged, view(at(ready=1, admission=PROBED))).share == 0.2


def test_shifting_follows_the_replicas_and_ends_with_the_last():
    """A third of the slots is a third of the requests; with all it needs the candidate carries everything."""
    shifting = releasing("shifting", share=0.2)
    part = advance(shifting, view(at(2, 4, stable=2, ready=1, admission=PROBED)))
    assert (part.phase, part.share) == ("shifting", pytest.approx(1 / 3))
    most = advance(shifting, view(at(40, 50, stable=1, ready=39, admission=PROBED)))
    assert (most.phase, most.share) == ("shifting", 0.95)
    done = advance(shifting, view(at(2, 4, stable=1, ready=2, admission=PROBED)))
    assert (done.phase, done.share) == ("draining", 1.0)
    full = advance(shifting, view(at(4, 4, stable=1, ready=3, admission=PROBED)))
    assert full.phase == "draining", "on a full site the last node comes with the former version's end"


@pytest.mark.parametrize(
    ("after_s", "in_use", "queued", "done"),
    [
        (0.5, 0, 0, False),
        (1.0, 0, 0, True),
        (1.0, 0, 3, False),
        (2.0, 0, 3, False),
        (2.1, 0, 3, True),
        (4.0, 1, 0, False),
        (4.0, None, None, False),
        (7.0, 1, 0, False),
        (7.1, 1, 0, True),
        (7.1, None, None, True),
    ],
)
def test_the_former_version_drains(after_s: float, in_use: int | None, queued: int | None, done: bool):
    """Nobody there nor waiting, seen after a moment; or queue time (2 s) and drain time (5 s) are over."""
    now = view(at(), after_s=after_s, stable_in_use=in_use, queued=queued)
    after = advance(releasing("draining", share=1.0), now)
    assert (after.verdict == "promoted") is done


# -- what speaks against a version --


@pytest.mark.parametrize("phase", ["loading", "probing", "judging", "shifting", "draining"])
@pytest.mark.parametrize("how", ["failed", "unhealthy"])
def test_a_site_that_says_no_brings_all_back(phase: str, how: str):
    """In any phase; the reason is the site's own."""
    bad = at(candidate=replace(app("shop-x", 0, phase=how), message="out of memory"))
    after = advance(releasing(phase), view(at(ready=1, admission=PROBED), bad))
    assert (after.phase, after.intended) == ("reverting", "rolled_back")
    assert after.reason == f"{how} on cloud: out of memory"


def test_one_failed_probe_is_enough():
    """A version has to answer every one of its probes."""
    bad = Admission(ok=False, requests=10, errors=1, attempts=1, message="status 500")
    after = advance(releasing("probing"), view(at(ready=1, admission=bad)))
    assert after.reason == "1 of 10 probes failed on private: status 500"


@pytest.mark.parametrize(
    ("requests", "errors", "reverts"), [(10, 2, False), (10, 3, True), (140, 3, False), (139, 4, True), (40, 1, False)]
)
def test_errors_beyond_the_allowed_share_revert(requests: int, errors: int, reverts: bool):
    """Probes count in: 3 errors at once, or more than 2 % of a full sample."""
    site = at(ready=1, admission=PROBED, sample=TrackSignals(requests, errors))
    assert (advance(releasing("shifting"), view(site)).phase == "reverting") is reverts


def test_a_full_sample_decides_in_judging_even_with_few_errors():
    """One error of 30 is more than 2 %."""
    site = at(ready=1, admission=PROBED, sample=TrackSignals(20, 1))
    assert advance(releasing("judging"), view(site)).phase == "reverting"


@pytest.mark.parametrize(
    ("phase", "limit_s"), [("loading", 100), ("probing", 100), ("judging", 105), ("shifting", 400)]
)
def test_a_phase_that_does_not_get_on_has_failed(phase: str, limit_s: float):
    """load_timeout_s for loading and probing, with judge_s for judging, per replica for shifting (here 4)."""
    site = at(4, 8, stable=4, ready=1 if phase == "shifting" else 0)
    assert advance(releasing(phase), view(site, after_s=limit_s)).phase == phase
    after = advance(releasing(phase), view(site, after_s=limit_s + 1))
    assert after.phase == "reverting"
    assert after.reason.startswith(f"{phase} has not ended on private in")


def test_room_that_never_comes_ends_a_release_with_its_reason():
    """At once where nothing can be rented, after lead and load time where it can."""
    alone = releasing("making_room")
    single = replace(view(at(1, 1)), lead_s=None, spec=service(sites={"private": {"max_replicas": 1}}))
    assert "no cloud site" in advance(alone, single).reason
    assert advance(alone, view(at(1, 1), after_s=140)).phase == "making_room"
    assert "no other site served within 141 s" in advance(alone, view(at(1, 1), after_s=141)).reason


@pytest.mark.parametrize("verdict", ["aborted", "superseded"])
@pytest.mark.parametrize("phase", ["making_room", "loading", "probing", "judging", "shifting", "draining"])
def test_a_command_ends_a_release_in_any_phase(phase: str, verdict: str):
    """And the verdict is the command's."""
    after = advance(releasing(phase), view(at(), interrupted=verdict))
    assert (after.phase, after.intended) == ("reverting", verdict)


# -- the way back --


def test_before_it_took_over_a_candidate_loses_its_requests_at_once():
    """The former version has kept the capacity for everything."""
    after = advance(releasing("judging", share=0.2), view(at(ready=1, admission=PROBED), interrupted="aborted"))
    assert after.share == 0.0


def test_after_that_it_loses_them_as_the_former_version_gets_its_replicas_back():
    """1 of 4 is back: three quarters stay; all are: none, and then its last requests may finish."""
    taken = releasing("draining", share=1.0)
    site = at(4, 8, stable=1, ready=4, admission=PROBED)
    back = advance(taken, view(site, interrupted="aborted", candidate_in_use=9))
    assert back.share == 0.75
    back = advance(back, view(replace(site, stable_ready=3), candidate_in_use=9, after_s=2))
    assert (back.phase, back.share) == ("reverting", 0.25)
    back = advance(back, view(replace(site, stable_ready=4), candidate_in_use=9, after_s=4))
    assert (back.phase, back.share) == ("reverting", 0.0)
    assert advance(back, view(site, candidate_in_use=0, after_s=4.5)).verdict is None
    done = advance(back, view(site, candidate_in_use=0, after_s=5))
    assert (done.verdict, done.reason) == ("aborted", "aborted by a command")


def test_without_candidate_replicas_nothing_is_kept_for_them():
    """What it cannot carry any more goes to the former version at once."""
    site = at(4, 8, stable=1, ready=0, admission=PROBED)
    assert advance(releasing("shifting", share=0.8), view(site, interrupted="aborted")).share == 0.0


def test_a_reverting_release_does_not_wait_for_ever():
    """Requests that do not end are left behind after the drain time."""
    back = releasing("reverting", intended="rolled_back", reason="why")
    assert advance(back, view(at(), candidate_in_use=None, after_s=7)).verdict is None
    assert advance(back, view(at(), candidate_in_use=None, after_s=7.5)).verdict == "rolled_back"


# -- probes --


def test_probes_go_to_what_is_ready_and_not_probed_yet():
    """Once; a failed set is not repeated, as it has already decided."""
    release = releasing("probing")
    assert probes_wanted(release, view(), at(ready=0)) == 0
    assert probes_wanted(release, view(), at(ready=1)) == 10
    assert probes_wanted(release, view(), at(ready=1, admission=Admission(attempts=1))) == 0
    assert probes_wanted(releasing("reverting"), view(), at(ready=1)) == 0


def test_probes_fill_a_sample_that_traffic_does_not():
    """After judge_s, exactly what is missing of min_sample."""
    site = at(ready=1, admission=PROBED, sample=TrackSignals(4, 0))
    assert probes_wanted(releasing("judging"), view(after_s=4.9), site) == 0
    assert probes_wanted(releasing("judging"), view(after_s=5.0), site) == 6
    assert probes_wanted(releasing("judging"), view(after_s=5.0), replace(site, sample=TrackSignals(50, 0))) == 0


# -- replicas --


@pytest.mark.parametrize(
    ("phase", "target", "room", "stable", "ready", "expected"),
    [
        ("making_room", 3, 4, 3, 0, (3, 0)),
        ("loading", 3, 4, 3, 0, (3, 1)),  # surge
        ("loading", 1, 4, 1, 0, (1, 1)),
        ("loading", 4, 4, 4, 0, (3, 1)),  # take over
        ("judging", 4, 4, 3, 1, (3, 1)),
        ("shifting", 3, 8, 3, 1, (2, 3)),  # room for all of them
        ("shifting", 4, 4, 3, 1, (2, 2)),  # one at a time
        ("shifting", 4, 4, 2, 2, (1, 3)),
        ("draining", 4, 4, 1, 3, (1, 3)),
        ("reverting", 4, 4, 1, 3, (2, 2)),
        ("reverting", 4, 4, 3, 1, (3, 1)),
        ("reverting", 4, 8, 1, 4, (4, 3)),
        ("reverting", 4, 8, 2, 1, (4, 1)),  # what is no longer there is not loaded again
        ("reverting", 1, 4, 1, 0, (1, 1)),
        ("done", 4, 4, 1, 3, (4, 0)),
    ],
)
def test_the_tracks_share_the_room(phase, target, room, stable, ready, expected):
    """Worked examples: (stable, candidate) replicas of one site."""
    site = at(target, room, stable=stable, ready=ready)
    assert split(releasing(phase), site, stable_elsewhere=False) == expected


@pytest.mark.parametrize(
    ("phase", "elsewhere", "expected"),
    [("making_room", True, (1, 0)), ("loading", False, (1, 0)), ("loading", True, (0, 1)), ("judging", True, (0, 1)),
     ("shifting", False, (0, 1)), ("draining", False, (0, 1)), ("reverting", True, (1, 0))],
)  # fmt: skip
def test_a_site_of_one_holds_one_version_at_a_time(phase: str, elsewhere: bool, expected: tuple[int, int]):
    """It gives the former version up only while another site serves it."""
    assert split(releasing(phase), at(1, 1), stable_elsewhere=elsewhere) == expected


PHASES = ["making_room", "loading", "probing", "judging", "shifting", "draining", "reverting", "done"]


@given(
    st.sampled_from(PHASES), st.integers(1, 12), st.integers(0, 12), st.integers(0, 12), st.integers(0, 12),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_two_versions_never_have_more_than_the_room(phase, target, room, stable, ready, elsewhere, first):
    """Whatever the phase and the counts; and with any room somebody serves."""
    release = releasing(phase, former=None) if first else releasing(phase)
    counts = split(release, at(target, room, stable=stable, ready=ready), stable_elsewhere=elsewhere)
    assert min(counts) >= 0
    assert sum(counts) <= room
    assert sum(counts) >= min(1, room)


@given(st.integers(1, 12), st.integers(2, 12), st.booleans())
def test_an_exchange_ends_and_keeps_its_capacity(target: int, room: int, back: bool):
    """Replica by replica, forward or back: never below what carries the load, done in bounded steps."""
    phase = "reverting" if back else "shifting"
    goal = max(1, min(target, room - 1))
    site = at(target, room, stable=1 if back else goal, ready=goal if back else 1)
    for _ in range(2 * goal + 2):
        stable, candidate = split(releasing(phase), site, stable_elsewhere=False)
        serving = min(site.stable_ready, stable) + min(site.candidate_ready, candidate)
        assert serving >= goal
        site = replace(site, stable_ready=stable, candidate_ready=candidate)
    assert (site.stable_ready if back else site.candidate_ready) >= goal
