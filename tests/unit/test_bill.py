from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.money.bill import Bill, bill
from autoscaler.money.market import Use, further, ranked
from autoscaler.state import RentedNode
from serving.project import SiteSpec
from tests.support.declared import pools, project

NOW_S = 1_800_000_000.0
CLOUD = project().sites["cloud"]
TWO = pools(
    project(),
    "cloud",
    {"name": "spot", "kind": "spot", "max_nodes": 2, "price_usd_per_hour": 0.5, "min_billing_s": 0.0},
    {"name": "od", "kind": "on_demand", "max_nodes": 3, "price_usd_per_hour": 2.0, "min_billing_s": 60.0},
).sites["cloud"]


def billed(spec: SiteSpec, nodes: tuple[RentedNode, ...], *, count: int, now_s: float) -> Bill:
    """The bill of the shop on the cloud site."""
    return bill("cloud", spec, "shop", nodes, count=count, offers=ranked(spec.pools, Use()), now_s=now_s)


def test_a_node_is_billed_for_its_minimum_at_least():
    """Given back after 10 s at 1 usd per hour and a minimum of a minute: 60 s, one sixtieth of a dollar."""
    first = billed(CLOUD, (), count=1, now_s=NOW_S)
    gone = billed(CLOUD, first.nodes, count=0, now_s=NOW_S + 10)
    assert gone.nodes == ()
    assert [(e.node_seconds, round(e.usd, 6)) for e in gone.entries] == [(60.0, round(1 / 60, 6))]


def test_beyond_the_minimum_it_is_billed_by_the_second():
    """90 s are 90 s."""
    first = billed(CLOUD, (), count=1, now_s=NOW_S)
    later = billed(CLOUD, first.nodes, count=1, now_s=NOW_S + 90)
    assert later.nodes == first.nodes
    assert later.entries[0].usd == 90 / 3_600


def test_each_entry_replaces_its_earlier_form():
    """A node has one key from launch to return, and nodes of one moment have different keys."""
    first = billed(CLOUD, (), count=3, now_s=NOW_S)
    later = billed(CLOUD, first.nodes, count=2, now_s=NOW_S + 30)
    keys = [(e.site, e.pool, e.service, e.start_s) for e in first.entries]
    assert len(set(keys)) == 3
    assert all(NOW_S <= entry.start_s < NOW_S + 0.01 for entry in first.entries)
    assert [(e.site, e.pool, e.service, e.start_s) for e in later.entries] == keys


def test_the_newest_node_is_given_back_first():
    """Its minimum billing is lost anyway; the oldest is past it."""
    old, new = RentedNode("g5", NOW_S - 500), RentedNode("g5", NOW_S - 5)
    assert billed(CLOUD, (old, new), count=1, now_s=NOW_S).nodes == (old,)


def test_the_cheapest_pool_is_filled_first_and_given_back_nodes_are_replaced_in_theirs():
    """Spot first, then on demand; when a spot node is missing the next one is spot again."""
    offers = ranked(TWO.pools, Use())
    nodes = billed(TWO, (), count=4, now_s=NOW_S).nodes
    assert [node.pool for node in nodes] == ["spot", "spot", "od", "od"]
    assert [pool.name for pool in further(offers, nodes[1:], 1)] == ["spot"]
    assert [pool.name for pool in further(offers, nodes[:2], 1)] == ["od"]
    hour = [RentedNode("spot", NOW_S - 3_600), RentedNode("od", NOW_S - 3_600)]
    assert [e.usd for e in billed(TWO, tuple(hour), count=2, now_s=NOW_S).entries] == [0.5, 2.0]


def test_a_node_of_a_pool_that_is_no_longer_declared_stays_on_the_bill():
    """A renamed pool does not make its nodes free."""
    entry = billed(TWO, (RentedNode("gone", NOW_S - 3_600),), count=1, now_s=NOW_S).entries[0]
    assert entry.usd == 0.5


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0.1, 200)), min_size=1, max_size=30))
def test_no_second_of_a_node_is_lost_or_billed_twice(counts):
    """Over any sequence of counts the ledger is at least node-seconds, at most those plus each node's minimum."""
    nodes, ledger, now_s, held_s, launched = (), {}, NOW_S, 0.0, 0
    for count, dt_s in counts:
        before = len(nodes)
        result = billed(CLOUD, nodes, count=count, now_s=now_s)
        nodes = result.nodes
        assert len(nodes) == count
        launched += max(0, count - before)
        ledger |= {entry.start_s: entry for entry in result.entries}
        held_s += count * dt_s
        now_s += dt_s
    result = billed(CLOUD, nodes, count=0, now_s=now_s)
    ledger |= {entry.start_s: entry for entry in result.entries}
    billed_s = sum(entry.node_seconds for entry in ledger.values())
    assert held_s - 0.1 <= billed_s <= held_s + 60 * launched + 0.1
    assert len(ledger) == launched
