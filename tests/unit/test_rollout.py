from __future__ import annotations

from dataclasses import replace

from autoscaler.routing.rollout import roll
from autoscaler.snapshot import Wanted
from autoscaler.state import Admission, Ejection
from tests.support.declared import service
from tests.support.moments import NOW_S, app, asked, deployed, moment, releasing, serving, site

ROOMS = {"private": 4, "cloud": 6}
V1, V2 = deployed("v1"), deployed("v2")


def wanting(version: str, deployment: str, **fields):
    return asked(wanted=Wanted(deployment, version, f"/versions/{version}"), **fields)


def both_versions():
    apps = [app(V1.application), app(V2.application)]
    return moment(sites={"private": site("private", apps=apps), "cloud": site("cloud", "closed")})


def draining(**fields):
    """The last phase of v2's release, with nobody left on v1."""
    return releasing("draining", phase_since_s=NOW_S - 5, share=1.0, **fields)


def test_a_deployment_is_taken_up_once():
    """Its first two events are told; the next tick does not take it up again, nor after its end."""
    mine, ended, told = roll(wanting("v2", "d2"), serving(), moment(), ROOMS)
    assert ended is None
    assert [d.action for d in told] == ["release making room", "release loading"]
    assert (mine.release.candidate.version, mine.release.former, mine.seen_deployment) == ("v2", V1, "d2")
    again, _, told = roll(wanting("v2", "d2"), mine, moment(), ROOMS)
    assert (again.release.started_at_s, told) == (NOW_S, [])
    over = replace(mine, release=None)
    assert roll(wanting("v2", "d2"), over, moment(), ROOMS)[0].release is None


def test_a_promotion_makes_it_stable_and_remembers_what_was():
    """And what the former version was ejected for is forgotten."""
    state = serving(release=draining(), seen_deployment="d2", ejections={"stable/cloud": Ejection(NOW_S + 60, 3)})
    mine, ended, told = roll(wanting("v2", "d2"), state, both_versions(), ROOMS)
    assert (mine.stable, mine.previous, mine.release, mine.ejections) == (V2, V1, None, {})
    assert ended.verdict == "promoted"
    assert [d.action for d in told] == ["release done"]


def test_a_release_that_fails_changes_nothing_that_serves():
    """Stable and previous stay."""
    old = deployed("v0")
    state = serving(
        release=releasing("reverting", phase_since_s=NOW_S - 5, intended="rolled_back", reason="why"),
        previous=old,
        seen_deployment="d2",
    )
    mine, ended, _ = roll(wanting("v2", "d2"), state, both_versions(), ROOMS)
    assert (mine.stable, mine.previous, mine.release) == (V1, old, None)
    assert (ended.verdict, ended.reason) == ("rolled_back", "why")


def test_what_serves_already_is_promoted_without_doing_anything():
    """Also with another folder: the same application is the same version, and not its own predecessor."""
    service_snapshot = asked(wanted=Wanted("d9", "v1", "/elsewhere/v1"))
    mine, ended, told = roll(service_snapshot, serving(), moment(), ROOMS)
    assert (ended.verdict, mine.previous, mine.stable.version_dir) == ("promoted", None, "/elsewhere/v1")
    assert [d.reason for d in told] == ["promoted: this version already serves"]


def test_a_changed_model_section_is_another_application():
    """The same version with other slots is released like any version."""
    spec = service(model={"slots_per_replica": 2})
    mine, _, _ = roll(asked(spec, wanted=Wanted("d2", "v1", "/versions/v1")), serving(), moment(), ROOMS)
    assert mine.release.candidate.application != V1.application
    assert mine.release.candidate.model.slots_per_replica == 2


def test_an_abort_names_its_deployment():
    """Another one's abort, and an old one, do nothing."""
    admitted = {f"private/{V2.application}": Admission(ok=True)}
    state = serving(release=releasing("probing"), seen_deployment="d2", admissions=admitted)
    other, _, _ = roll(wanting("v2", "d2", abort="d1"), state, both_versions(), ROOMS)
    assert other.release.phase != "reverting"
    mine, _, _ = roll(wanting("v2", "d2", abort="d2"), state, both_versions(), ROOMS)
    assert (mine.release.phase, mine.release.intended) == ("reverting", "aborted")


def test_a_newer_deployment_waits_until_the_older_has_ended():
    """The older is superseded; only without a release the newer one begins."""
    state = serving(release=releasing("loading"), seen_deployment="d2")
    mine, _, _ = roll(wanting("v3", "d3"), state, both_versions(), ROOMS)
    assert (mine.release.deployment, mine.release.intended) == ("d2", "superseded")
    ended, verdict, _ = roll(
        wanting("v3", "d3"),
        replace(mine, release=replace(mine.release, phase_since_s=NOW_S - 5)),
        both_versions(),
        ROOMS,
    )
    assert (verdict.verdict, ended.release) == ("superseded", None)
    begun, _, _ = roll(wanting("v3", "d3"), ended, both_versions(), ROOMS)
    assert begun.release.deployment == "d3"
