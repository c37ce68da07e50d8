from __future__ import annotations

import pytest

from autoscaler.routing.admission import LONGEST_RETRY_S, RETRY_S, admit, eject_failing, probes
from autoscaler.snapshot import ProbeResult
from autoscaler.state import Admission, Ejection
from tests.support.moments import (
    NOW_S,
    app,
    asked,
    deployed,
    errors,
    gateway,
    moment,
    releasing,
    serving,
    signals,
    site,
)

V1, V2 = deployed("v1"), deployed("v2")
KEY = f"private/{V1.application}"
ROOMS = {"private": 4, "cloud": 6}


def result(name: str = V1.application, requests: int = 5, failed: int = 0, where: str = "private") -> ProbeResult:
    return ProbeResult(where, name, requests, failed, "status 500" if failed else "")


def opened(*apps, **fields):
    sites = {"private": site("private", apps=apps or [app(V1.application)]), "cloud": site("cloud", "closed")}
    return moment(**{"sites": sites, **fields})


def test_answered_probes_admit():
    """All of them; an admission counts its requests and says when."""
    found = admit(asked(), serving(admissions={}), opened(probes=(result(),)))
    assert found == {KEY: Admission(ok=True, requests=5, errors=0, attempts=1, at_s=NOW_S)}


def test_one_failed_probe_does_not():
    """Attempts are counted, the message kept; the next set starts from nothing."""
    once = admit(asked(), serving(admissions={}), opened(probes=(result(failed=1),)))
    assert (once[KEY].ok, once[KEY].attempts, once[KEY].message) == (False, 1, "status 500")
    twice = admit(asked(), serving(admissions=once), opened(probes=(result(),)))
    assert (twice[KEY].ok, twice[KEY].requests, twice[KEY].attempts) == (True, 5, 2)


def test_no_answer_is_no_admission():
    """A set of nothing proves nothing."""
    assert not admit(asked(), serving(admissions={}), opened(probes=(result(requests=0),)))[KEY].ok


def test_later_probes_add_to_the_sample_and_cannot_undo_it():
    """They are for the release to judge."""
    found = admit(asked(), serving(), opened(probes=(result(failed=2),)))
    assert (found[KEY].ok, found[KEY].requests, found[KEY].errors) == (True, 10, 2)


@pytest.mark.parametrize("phase", ["closed", "opening", "lost", "closing"])
def test_a_site_that_is_not_open_is_forgotten(phase: str):
    """When it opens again it is probed again."""
    snapshot = moment(sites={"private": site("private", phase), "cloud": site("cloud", "closed")})
    assert admit(asked(), serving(), snapshot) == {}


def test_what_is_loaded_again_is_probed_again():
    """It was not there for a moment: its replicas are others. Out of sight nothing is forgotten."""
    gone = moment(sites={"private": site("private", apps=[]), "cloud": site("cloud", "closed")})
    hidden = moment(sites={"private": site("private", apps=None), "cloud": site("cloud", "closed")})
    assert admit(asked(), serving(), gone) == {}
    assert KEY in admit(asked(), serving(), hidden)


def test_results_of_others_are_ignored():
    """A version that is neither served nor released, and a site the service does not use."""
    assert admit(asked(), serving(admissions={}), opened(probes=(result("other-1"),))) == {}


def test_probes_are_sent_to_what_became_ready():
    """Address, path and number come from site, application and declaration."""
    probe = probes(asked(), serving(admissions={}), opened(), ROOMS)[0]
    assert (probe.site, probe.application, probe.host, probe.port) == ("private", V1.application, "127.0.0.1", 1000)
    assert (probe.path_prefix, probe.requests, probe.concurrency) == (f"/{V1.application}", 5, 4)


def test_nothing_is_probed_twice_at_once_nor_without_need():
    """Under way, admitted, not ready, or without an address: no probe."""
    pending = serving(admissions={})
    assert probes(asked(), pending, opened(probing=frozenset({("private", V1.application)})), ROOMS) == ()
    assert probes(asked(), serving(), opened(), ROOMS) == ()
    assert probes(asked(), pending, opened(app(V1.application, 0, 1)), ROOMS) == ()
    assert (
        probes(
            asked(),
            pending,
            moment(sites={"private": site("private", "opening"), "cloud": site("cloud", "closed")}),
            ROOMS,
        )
        == ()
    )


@pytest.mark.parametrize(
    ("attempts", "wait_s"), [(1, RETRY_S), (2, 10.0), (4, 40.0), (9, LONGEST_RETRY_S), (5_000, LONGEST_RETRY_S)]
)
def test_failed_probes_are_repeated_ever_less_often(attempts: int, wait_s: float):
    """Doubling up to a minute, also after days."""
    for waited_s, sent in ((wait_s - 0.1, 0), (wait_s, 1)):
        state = serving(admissions={KEY: Admission(attempts=attempts, errors=1, at_s=NOW_S - waited_s)})
        assert len(probes(asked(), state, opened(), ROOMS)) == sent


def test_an_ejected_site_is_probed_when_its_time_is_over():
    """Not before, and before it gets any request."""
    for until_s, sent in ((NOW_S + 1, 0), (NOW_S, 1)):
        state = serving(admissions={}, ejections={"stable/private": Ejection(until_s, 1)})
        assert len(probes(asked(), state, opened(), ROOMS)) == sent


def test_a_candidate_is_probed_by_its_release():
    """Both versions are there; only the candidate has not been probed."""
    snapshot = opened(app(V1.application), app(V2.application))
    found = probes(asked(), serving(release=releasing("probing")), snapshot, ROOMS)
    assert [probe.application for probe in found] == [V2.application]


def both_sites(**fields):
    sites = {name: site(name, apps=[app(V1.application)]) for name in ("private", "cloud")}
    return moment(**{"sites": sites, **fields})


BOTH = {KEY: Admission(ok=True), f"cloud/{V1.application}": Admission(ok=True)}


def test_a_site_that_fails_fast_loses_its_admission():
    """It is told, and it has to be probed before it returns."""
    service = asked(signals=signals(by_site=errors("stable", "private", 10, 6)))
    mine, decisions = eject_failing(service, serving(admissions=BOTH), both_sites())
    assert mine.ejections == {"stable/private": Ejection(NOW_S + 10, 1)}
    assert list(mine.admissions) == [f"cloud/{V1.application}"]
    assert [(d.action, dict(d.details)) for d in decisions] == [("eject", {"site": "private"})]
    again, told = eject_failing(service, mine, both_sites())
    assert (again.ejections, told) == (mine.ejections, [])


def test_old_news_eject_nobody():
    """Stale signals, or no version that serves."""
    service = asked(signals=signals(by_site=errors("stable", "private", 10, 6)))
    blind = both_sites(gateway=gateway(at_s=NOW_S - 60))
    assert eject_failing(service, serving(admissions=BOTH), blind)[0].ejections == {}
    assert eject_failing(service, serving(stable=None), both_sites())[0].ejections == {}
