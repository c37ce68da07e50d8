from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.policy.bids import PolicyState
from autoscaler.routing.placement import (
    UNLISTED_S,
    SitePlacement,
    all_rooms,
    applications,
    doubted,
    placements,
    release_view,
    routes,
    seen_ready,
    site_release,
    unlisted,
    usable_ready,
)
from autoscaler.state import Admission, DaemonState, Ejection
from tests.support.declared import pools, project, service
from tests.support.moments import INGRESS, NOW_S, app, asked, deployed, moment, releasing, serving, site

V1, V2 = deployed("v1"), deployed("v2")
OK = Admission(ok=True, requests=5, attempts=1)
ROOMS = {"private": 4, "cloud": 6}


def both(private=(), cloud=(), **fields):
    return moment(sites={"private": site("private", apps=private), "cloud": site("cloud", apps=cloud)}, **fields)


def admitted(*names: str) -> dict[str, Admission]:
    return {f"{where}/{name}": OK for where in ("private", "cloud") for name in names}


def limits(track) -> dict[str, int]:
    return {server.site: server.limit for server in track.servers}


def test_without_a_release_each_site_has_its_target():
    """And a service that never served has nothing anywhere."""
    state = serving(targets={"private": 3, "cloud": 2})
    assert placements(asked(), state, both(), ROOMS) == {"private": SitePlacement(3, 0), "cloud": SitePlacement(2, 0)}
    assert placements(asked(), serving(stable=None), both(), ROOMS)["private"] == SitePlacement(0, 0)


def test_a_closed_or_unwanted_site_takes_no_part_in_a_release():
    """Closed, it loads what serves when it opens; with target 0 it is left."""
    state = serving(release=releasing(), targets={"private": 1, "cloud": 2})
    found = placements(asked(), state, moment(), ROOMS)
    assert found == {"private": SitePlacement(1, 1), "cloud": SitePlacement(2, 0)}
    left = serving(release=releasing(), targets={"private": 1, "cloud": 0})
    assert placements(asked(), left, both(), ROOMS)["cloud"] == SitePlacement(0, 0)


def test_the_only_private_replica_stays_until_another_site_serves():
    """Room for one: the former version is given up when the rented one is ready and probed, not before."""
    state = serving(release=releasing(), targets={"private": 1, "cloud": 1}, admissions=admitted(V1.application))
    rooms = {"private": 1, "cloud": 6}
    for ready, expected in ((0, SitePlacement(1, 0)), (1, SitePlacement(0, 1))):
        snapshot = both([app(V1.application)], [app(V1.application, ready, 1)])
        assert placements(asked(), state, snapshot, rooms)["private"] == expected


def test_an_application_carries_its_own_model_section():
    """A changed declaration does not change what a deployed version runs with."""
    spec = service(model={"slots_per_replica": 2})
    found = applications(spec, serving(release=releasing(), stable=V1), SitePlacement(2, 1))
    assert [(a.name, a.replicas, a.args["model"]["slots_per_replica"]) for a in found] == [
        (V1.application, 2, 4),
        (V2.application, 1, 4),
    ]


def test_what_was_deployed_keeps_its_name():
    """Another hcctl would name a model section otherwise; what runs is not loaded anew for that."""
    named_before = replace(V1, application="shop-0123456789ab")
    (found,) = applications(service(), serving(stable=named_before), SitePlacement(2, 0))
    assert (found.name, found.route_prefix) == ("shop-0123456789ab", "/shop-0123456789ab")


@pytest.mark.parametrize(
    ("phase", "apps", "known", "ready"),
    [
        ("open", [app(V1.application, 2)], 9, 2),
        ("open", [], 9, 0),
        ("open", [app(V1.application, 2, phase="deleting")], 9, 0),
        ("open", None, 3, 3),  # out of sight: what was last seen
        ("lost", None, 3, 0),
        ("closing", None, 3, 0),
    ],
)
def test_ready_is_what_was_seen_last(phase: str, apps, known: int, ready: int):
    """An open site out of sight keeps its number; one that is gone has none."""
    state = serving(known_ready={f"{V1.application}@private": known})
    snapshot = moment(sites={"private": site("private", phase, apps), "cloud": site("cloud", "closed")})
    assert seen_ready(state, snapshot, V1.application, "private") == ready
    assert usable_ready(state, snapshot, V1, "private") == ready
    assert usable_ready(serving(admissions={}), snapshot, V1, "private") == 0


@pytest.mark.parametrize(("age_s", "ready"), [(0.0, 2), (UNLISTED_S - 0.1, 2), (UNLISTED_S, 0)])
def test_what_vanishes_from_a_list_is_believed_gone_after_a_while(age_s: float, ready: int):
    """Wanted and ready a moment ago: for three seconds the list is doubted, then it counts."""
    key = f"{V1.application}@private"
    state = serving(known_ready={key: 2}, unlisted_since_s={key: NOW_S - age_s})
    assert seen_ready(state, moment(), V1.application, "private") == ready
    assert doubted(state, moment(), V1.application, "private") is (ready > 0)


def test_since_when_something_is_not_listed():
    """Of an open site in sight that does not list what was ready there; from the first time on."""
    key = f"{V1.application}@private"
    state = serving(known_ready={key: 2, f"{V1.application}@cloud": 1, f"{V2.application}@private": 0})
    assert unlisted(state, moment()) == {key: NOW_S}
    assert unlisted(serving(known_ready={key: 2}, unlisted_since_s={key: 7.0}), moment()) == {key: 7.0}
    assert unlisted(state, both([app(V1.application, 0)], None)) == {}
    assert unlisted(serving(known_ready={f"{V1.application}@gone": 2}), moment()) == {}


def test_a_limit_is_what_is_wanted_ready_and_probed_in_slots():
    """3 wanted, 2 ready: 2 x 4 slots; not probed: 0."""
    state = serving(targets={"private": 3, "cloud": 1}, admissions={f"private/{V1.application}": OK})
    snapshot = both([app(V1.application, 2, 3)], [app(V1.application, 1)])
    found = routes(asked(), state, snapshot, placements(asked(), state, snapshot, ROOMS))
    assert limits(found.stable) == {"private": 8, "cloud": 0}
    assert found.stable.path_prefix == f"/{V1.application}"
    assert [server.endpoint for server in found.stable.servers] == [INGRESS, INGRESS]
    assert limits(found.candidate) == {"private": 0, "cloud": 0}


def test_surplus_replicas_get_nothing():
    """4 are still ready, 1 is wanted: the limit is for 1."""
    state = serving(targets={"private": 1, "cloud": 0})
    snapshot = both([app(V1.application, 4, 1)])
    found = routes(asked(), state, snapshot, placements(asked(), state, snapshot, ROOMS))
    assert limits(found.stable)["private"] == 4


def test_an_ejected_site_gets_nothing_of_its_track():
    """Until its time is over."""
    state = serving(targets={"private": 1, "cloud": 1}, admissions=admitted(V1.application))
    state = serving(**{**vars(state), "ejections": {"stable/cloud": Ejection(NOW_S + 5, 1)}})
    snapshot = both([app(V1.application)], [app(V1.application)])
    found = routes(asked(), state, snapshot, placements(asked(), state, snapshot, ROOMS))
    assert limits(found.stable) == {"private": 4, "cloud": 0}


def test_two_versions_share_a_site_by_their_replicas():
    """2 stable and 1 candidate replica: 8 and 4 slots, and the release's share."""
    state = serving(
        targets={"private": 2, "cloud": 0},
        release=releasing("judging", share=0.2),
        admissions=admitted(V1.application, V2.application),
    )
    snapshot = both([app(V1.application, 2), app(V2.application, 1)])
    found = routes(asked(), state, snapshot, placements(asked(), state, snapshot, ROOMS))
    assert (limits(found.stable)["private"], limits(found.candidate)["private"]) == (8, 4)
    assert found.candidate_share == 0.2


def test_a_candidate_without_a_server_gets_no_share():
    """Requests sent to a track without servers would be refused."""
    state = serving(release=releasing("judging", share=0.2), admissions=admitted(V1.application))
    snapshot = both([app(V1.application), app(V2.application)])
    found = routes(asked(), state, snapshot, placements(asked(), state, snapshot, ROOMS))
    assert found.candidate_share == 0.0


def test_cost_lowers_the_private_limit_once_the_cloud_holds_the_rest():
    """Of 4 replicas one stays in use at home while 3 serve in the cloud; with 2 there nothing is lowered."""
    spec = service(burst={"cost": {"keep_private_share": 0.25}})
    state = serving(
        targets={"private": 1, "cloud": 3},
        policy=PolicyState(level=4, shifted=True),
        admissions=admitted(V1.application),
    )
    placed = {"private": SitePlacement(4, 0), "cloud": SitePlacement(3, 0)}
    moved = both([app(V1.application, 4)], [app(V1.application, 3)])
    assert limits(routes(asked(spec), state, moved, placed).stable) == {"private": 4, "cloud": 12}
    early = both([app(V1.application, 4)], [app(V1.application, 2)])
    assert limits(routes(asked(spec), state, early, placed).stable) == {"private": 16, "cloud": 8}
    at_home = serving(**{**vars(state), "policy": PolicyState(level=4)})
    assert limits(routes(asked(spec), at_home, moved, placed).stable) == {"private": 16, "cloud": 12}


def test_what_a_release_sees_of_a_site():
    """Target, room, probed stable replicas, candidate replicas probed or not; nothing of a closed site."""
    state = serving(release=releasing("probing"), targets={"private": 2, "cloud": 1})
    snapshot = moment(
        sites={
            "private": site("private", apps=[app(V1.application, 2), app(V2.application, 1)]),
            "cloud": site("cloud", "opening"),
        }
    )
    seen = site_release(asked(), state, snapshot, "private", 4)
    assert (seen.target, seen.room, seen.stable_ready, seen.candidate_ready) == (2, 4, 2, 1)
    assert site_release(asked(), state, snapshot, "cloud", 6) is None
    found = release_view(asked(), state, snapshot, ROOMS, None)
    assert list(found.sites) == ["private"]
    assert (found.lead_s, found.stable_in_use) == (40.0, 0)
    entries = [
        {"name": name, "kind": "spot", "max_nodes": 3, "price_usd_per_hour": 1.0, "lead_time_s": lead_s}
        for name, lead_s in (("quick", 40.0), ("slow", 90.0))
    ]
    two = pools(project(), "cloud", *entries)
    sites = {"private": snapshot.sites["private"], "cloud": site("cloud", "opening", fleet=two)}
    assert release_view(asked(), state, replace(snapshot, sites=sites), ROOMS, None).lead_s == 90.0
    alone = release_view(asked(service(sites={"cloud": {"max_replicas": 0}})), state, snapshot, ROOMS, None)
    assert alone.lead_s is None


def fleet(**states) -> tuple[DaemonState, object]:
    specs = [service(name=name, routing={"prefix": f"/{name}"}) for name in states]
    return DaemonState(services=states), moment(*[asked(spec) for spec in specs])


def test_a_room_is_what_the_others_leave():
    """4 nodes, 1 of them wanted by another service: room for 3; what its budget pays for bounds it, too."""
    state, snapshot = fleet(
        a=serving(targets={"private": 2, "cloud": 0}), b=serving(targets={"private": 1, "cloud": 2})
    )
    rooms = all_rooms(state, snapshot)
    assert rooms["a"] == {"private": 3, "cloud": 4}
    poor = serving(targets={"private": 2, "cloud": 0}, affordable={"cloud": 1})
    assert all_rooms(*fleet(a=poor))["a"] == {"private": 4, "cloud": 1}


def test_a_service_that_is_gone_takes_no_room():
    """Its state is kept, in case it comes back, but reserves nothing."""
    state, snapshot = fleet(a=serving(targets={"private": 2, "cloud": 0}))
    gone = DaemonState(services={**state.services, "gone": serving(targets={"private": 4, "cloud": 6})})
    assert all_rooms(gone, snapshot)["a"]["private"] == 4


def test_of_two_releases_the_older_has_the_free_node():
    """a surges into it; b finds no more than it has."""
    older = releasing("loading", started_at_s=NOW_S - 10)
    newer = releasing("loading", deployment="d3")
    state, snapshot = fleet(
        a=serving(targets={"private": 1, "cloud": 0}, release=older),
        b=serving(targets={"private": 2, "cloud": 0}, release=newer),
    )
    rooms = all_rooms(state, snapshot)
    assert (rooms["a"]["private"], rooms["b"]["private"]) == (2, 2)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.sampled_from([None, "making_room", "loading", "judging", "shifting", "draining", "reverting"]),
            st.integers(0, 4),
            st.integers(0, 4),
            st.floats(0, 100),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_no_mix_of_releases_puts_more_on_a_site_than_it_holds(entries):
    """Placements of all services together fit the private site whenever their targets do."""
    left, states, apps = 4, {}, []
    for index, (wanted, phase, stable, candidate, age_s) in enumerate(entries):
        name, target = f"s{index}", min(wanted, left)
        left -= target
        release = releasing(phase, started_at_s=NOW_S - age_s, deployment=f"d{index}") if phase else None
        states[name] = serving(
            targets={"private": target, "cloud": 0},
            release=release,
            admissions=admitted(V1.application, V2.application),
        )
        apps = [app(V1.application, stable), app(V2.application, candidate)]
    state, snapshot = fleet(**states)
    snapshot = moment(
        *snapshot.services, sites={"private": site("private", apps=apps), "cloud": site("cloud", "closed")}
    )
    rooms = all_rooms(state, snapshot)
    placed = [placements(s, states[s.spec.name], snapshot, rooms[s.spec.name])["private"] for s in snapshot.services]
    assert sum(p.stable + p.candidate for p in placed) <= 4
