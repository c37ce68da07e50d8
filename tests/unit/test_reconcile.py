from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.plan import ApplyApplications, CloseSite, OpenSite, ScaleApplication
from autoscaler.sizing.reconcile import SiteWish, site_action
from serving.sites.site import Application
from tests.support.moments import app, site


def wanted(**counts: int) -> SiteWish:
    apps = tuple(Application(name, name[0], "v", f"/{name}", {}, count) for name, count in counts.items())
    return SiteWish(apps, {name: f"because of {name}" for name in counts}, "shop wants it")


NOTHING = SiteWish((), {}, "shop has left")


@pytest.mark.parametrize(
    ("phase", "wish", "action"),
    [
        ("closed", wanted(a1=1), OpenSite("cloud", "shop wants it")),
        ("lost", wanted(a1=1), OpenSite("cloud", "its processes are gone; shop wants it")),
        ("opening", wanted(a1=1), None),
        ("closing", wanted(a1=1), CloseSite("cloud", "it was closing when the daemon stopped")),
        ("closed", NOTHING, None),
        ("opening", NOTHING, CloseSite("cloud", "shop has left")),
        ("open", NOTHING, CloseSite("cloud", "shop has left")),
        ("lost", NOTHING, CloseSite("cloud", "shop has left")),
        ("closing", NOTHING, CloseSite("cloud", "it was closing when the daemon stopped")),
    ],
)
def test_a_site_opens_when_it_is_wanted_and_closes_when_it_is_not(phase: str, wish: SiteWish, action):
    """One action, or none while it is on its way."""
    assert site_action("cloud", site("cloud", phase), wish) == action


def test_the_private_site_is_open_even_without_a_service():
    """It is owned; it opens, and its last application is removed without closing it."""
    assert site_action("private", site("private", "closed"), NOTHING) == OpenSite("private", "shop has left")
    removed = site_action("private", site("private", apps=[app("a1")]), NOTHING)
    assert removed == ApplyApplications("private", (), "remove a1: no service wants it there any more")


@pytest.mark.parametrize("busy", [True, False])
def test_nothing_is_done_to_what_is_busy_or_out_of_sight(busy: bool):
    """Another action runs, or nobody knows what is there."""
    seen = site("cloud", apps=[] if busy else None, busy=busy)
    assert site_action("cloud", seen, wanted(a1=1)) is None


def test_missing_and_surplus_applications_are_one_declaration():
    """The whole set, with why it changes; what is being deleted already is gone."""
    seen = site("cloud", apps=[app("old"), app("gone", phase="deleting")])
    action = site_action("cloud", seen, wanted(a1=2))
    assert action.applications == wanted(a1=2).applications
    assert action.reason == "load a1, remove old: because of a1"
    assert site_action("cloud", site("cloud", apps=[app("a1", phase="deleting")]), wanted(a1=1)) is not None


def test_a_count_is_changed_with_both_numbers_and_the_reason():
    """Cheaper than declaring everything anew."""
    action = site_action("cloud", site("cloud", apps=[app("a1", 2)]), wanted(a1=5))
    assert action == ScaleApplication("cloud", "a1", 5, "2 -> 5 replicas: because of a1")


@pytest.mark.parametrize("status", [app("a1", 0, 0, phase="starting"), app("a1", 0, 3, phase="failed")])
def test_what_cannot_be_scaled_is_left_alone(status):
    """Still being built, or failed: its release decides."""
    assert site_action("cloud", site("cloud", apps=[status]), wanted(a1=1)) is None


def test_of_two_versions_the_shrinking_one_goes_first():
    """a2 grows only when a1 has really let go of its replicas; others' replicas do not hold it up."""
    wish = wanted(a1=1, a2=3)
    first = site_action("cloud", site("cloud", apps=[app("a1", 3), app("a2", 1)]), wish)
    assert (first.application, first.replicas) == ("a1", 1)
    draining = [app("a1", 3, 1), app("a2", 1)]
    assert site_action("cloud", site("cloud", apps=draining), wish) is None
    gone = site_action("cloud", site("cloud", apps=[app("a1", 1), app("a2", 1)]), wish)
    assert (gone.application, gone.replicas) == ("a2", 3)
    others = site_action("cloud", site("cloud", apps=[app("b1", 5, 1), app("a2", 1)]), wanted(b1=1, a2=3))
    assert (others.application, others.replicas) == ("a2", 3)


def test_a_version_shrinks_before_another_one_is_loaded_in_its_place():
    """Take over on a full site: a replica is given up, then the new application comes."""
    wish = wanted(a1=3, a2=1)
    first = site_action("cloud", site("cloud", apps=[app("a1", 4)]), wish)
    assert (first.application, first.replicas) == ("a1", 3)
    assert isinstance(site_action("cloud", site("cloud", apps=[app("a1", 3)]), wish), ApplyApplications)


NAMES = st.sampled_from(["a1", "a2", "b1"])


@given(
    st.dictionaries(NAMES, st.integers(1, 5), max_size=3),
    st.dictionaries(NAMES, st.integers(1, 5), max_size=3),
    st.sampled_from(["closed", "open", "lost"]),
    st.sampled_from(["private", "cloud"]),
)
def test_actions_lead_to_the_wish_and_then_stop(there: dict, wish_counts: dict, phase: str, where: str):
    """Whatever is there, a bounded number of actions makes it as wished, and then none follows."""
    wish = wanted(**wish_counts)
    apps = {name: app(name, count) for name, count in there.items()} if phase == "open" else {}
    for _ in range(12):
        action = site_action(where, site(where, phase, list(apps.values())), wish)
        if action is None:
            break
        if isinstance(action, OpenSite):
            phase, apps = "open", {}
        elif isinstance(action, CloseSite):
            phase, apps = "closed", {}
        elif isinstance(action, ApplyApplications):
            apps = {a.name: app(a.name, a.replicas) for a in action.applications}
        else:
            apps[action.application] = replace(
                apps[action.application], replicas_target=action.replicas, replicas_ready=action.replicas
            )
    assert action is None
    if wish_counts or where == "private":
        assert phase == "open"
        assert {name: status.replicas_target for name, status in apps.items()} == wish_counts
    else:
        assert phase == "closed"
