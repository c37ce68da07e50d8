"""What every implementation of `serving.state.Store` does."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.bodies import BODY_LIMIT_BYTES
from serving.errors import HcctlError, InvalidInput, RevisionConflict
from serving.kubernetes_state.store import KubernetesStore
from serving.spec import HybridService
from serving.sqlite_store import SqliteStore
from serving.state import LedgerEntry, Store
from tests.support.clusters import double_cluster, real_cluster
from tests.support.memory_store import MemoryStore
from tests.support.world import service

NAN = float("nan")


@pytest.fixture(params=["sqlite", "memory", "kubernetes", "followed", pytest.param("real", marks=pytest.mark.cluster)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind; `followed` is the daemon's in a cluster, `kubernetes` one that asks each time."""
    with contextlib.ExitStack() as opened:
        yield _opened(request.param, tmp_path, opened)


def _opened(kind: str, folder: Path, opened: contextlib.ExitStack) -> Store:
    if kind == "memory":
        return MemoryStore()
    if kind == "sqlite":
        return opened.enter_context(contextlib.closing(SqliteStore(folder / "state" / "state.db")))
    api = opened.enter_context(double_cluster(folder) if kind != "real" else real_cluster(folder))
    store = KubernetesStore(api.client, api.namespace, "shop")
    opened.callback(store.close)
    if kind == "followed":
        store.declared.follow(lambda: None)
    store.lead("the-test")
    return store


def span(start_s: float, end_s: float, *, usd: float = 1.0, pool: str = "gpu") -> LedgerEntry:
    return LedgerEntry("cloud", pool, "shop", start_s, end_s, end_s - start_s, usd)


def test_a_new_store_knows_nothing(store: Store) -> None:
    """Before the first write every listing is empty and every document is None."""
    assert store.intent("hold", "shop") is None
    assert store.observation("service", "shop") is None
    assert (store.intents("service"), store.observations("service")) == ((), ())
    assert (store.open_actions(), store.decisions(), store.ledger()) == ((), (), ())


def test_revisions_count_writes_from_one(store: Store) -> None:
    """Each write of a document raises its revision by one, and the last body is read back."""
    revisions = [store.put_intent("hold", "shop", {"n": n}, expected_revision=n, at_s=5.0) for n in range(3)]
    found = store.intent("hold", "shop")
    assert revisions == [1, 2, 3]
    assert found is not None
    assert (found.kind, found.name, found.revision, found.body, found.at_s) == (
        "hold",
        "shop",
        3,
        {"n": 2},
        5.0,
    )


def declared(revision: int = 1) -> dict[str, object]:
    """What `hcctl deploy` writes."""
    wanted = {"deployment": f"d{revision}", "version": "a" * 64, "version_dir": "/v", "rollback": False}
    return {"spec": service().model_dump(mode="json", by_alias=True), "wanted": wanted}


def test_a_declared_service_comes_back_as_it_was(store: Store) -> None:
    """What a command declares is read back equal, with a revision for each change; removal is part of it."""
    name = service().name
    assert store.put_intent("service", name, declared(1), expected_revision=0, at_s=1.5) == 1
    assert store.put_intent("service", name, declared(2), expected_revision=1, at_s=2.5) == 2
    with pytest.raises(RevisionConflict):
        store.put_intent("service", name, declared(3), expected_revision=1, at_s=3.0)
    found = store.intent("service", name)
    assert found is not None
    assert (found.name, found.revision, found.body["wanted"], found.at_s) == (name, 2, declared(2)["wanted"], 2.5)
    assert HybridService.model_validate(found.body["spec"]) == service()
    store.put_intent("service", name, declared(2) | {"remove": True}, expected_revision=2, at_s=3.0)
    assert [document.body.get("remove") for document in store.intents("service")] == [True]


def test_a_service_declared_again_does_not_look_unchanged(store: Store) -> None:
    """After delete and re-creation the revisions of the former service are stale."""
    name = service().name
    first = store.put_intent("service", name, declared(1), expected_revision=0, at_s=1.0)
    with pytest.raises(RevisionConflict):
        store.delete_intent("service", name, expected_revision=first + 1)
    store.delete_intent("service", name, expected_revision=first)
    store.delete_intent("service", name, expected_revision=first)
    assert store.intent("service", name) is None
    assert store.intents("service") == ()
    second = store.put_intent("service", name, declared(2), expected_revision=0, at_s=2.0)
    assert second > first
    with pytest.raises(RevisionConflict):
        store.put_intent("service", name, declared(3), expected_revision=first, at_s=3.0)


def test_an_intent_deleted_in_a_block_goes_with_it(store: Store) -> None:
    """If the block falls, what it wanted to delete stays."""
    store.put_intent("hold", "shop", {"n": 1}, expected_revision=0, at_s=1.0)

    def delete_and_fail() -> None:
        with store.atomic():
            store.delete_intent("hold", "shop")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        delete_and_fail()
    assert store.intent("hold", "shop") is not None
    with store.atomic():
        store.put_observation("service", "shop", {}, at_s=1.0)
        store.delete_intent("hold", "shop")
    assert store.intent("hold", "shop") is None


@pytest.mark.parametrize("expected", [0, 1, 3])
def test_a_stale_revision_is_refused(store: Store, expected: int) -> None:
    """A write that expects another revision than the present one changes nothing."""
    store.put_intent("hold", "shop", {"n": 1}, expected_revision=None, at_s=1.0)
    store.put_intent("hold", "shop", {"n": 2}, expected_revision=None, at_s=2.0)
    with pytest.raises(RevisionConflict) as caught:
        store.put_intent("hold", "shop", {"n": 9}, expected_revision=expected, at_s=3.0)
    assert "hold shop" in caught.value.where
    found = store.intent("hold", "shop")
    assert found is not None
    assert (found.revision, found.body) == (2, {"n": 2})


def test_a_revision_of_something_absent_is_refused(store: Store) -> None:
    """Expecting revision 1 of a document that does not exist is a conflict."""
    with pytest.raises(RevisionConflict):
        store.put_intent("hold", "shop", {}, expected_revision=1, at_s=1.0)


def test_a_deleted_intent_made_again_does_not_look_unchanged(store: Store) -> None:
    """After delete and re-creation the former revision is stale, and 0 means absent in between."""
    first = store.put_intent("hold", "shop", {"n": 1}, expected_revision=0, at_s=1.0)
    store.delete_intent("hold", "shop")
    assert store.intent("hold", "shop") is None
    assert store.intents("hold") == ()
    store.put_intent("hold", "shop", {"n": 2}, expected_revision=0, at_s=2.0)
    with pytest.raises(RevisionConflict):
        store.put_intent("hold", "shop", {"n": 3}, expected_revision=first, at_s=3.0)


def test_a_delete_with_a_stale_revision_is_a_conflict(store: Store) -> None:
    """Somebody wrote it meanwhile: it stays. What is absent is deleted at any revision."""
    first = store.put_intent("hold", "shop", {"n": 1}, expected_revision=0, at_s=1.0)
    second = store.put_intent("hold", "shop", {"n": 2}, expected_revision=first, at_s=2.0)
    with pytest.raises(RevisionConflict):
        store.delete_intent("hold", "shop", expected_revision=first)
    assert store.intent("hold", "shop") is not None
    store.delete_intent("hold", "shop", expected_revision=second)
    assert store.intent("hold", "shop") is None
    store.delete_intent("hold", "shop", expected_revision=second)


def test_writes_of_an_atomic_block_stand_or_fall_together(store: Store) -> None:
    """An error undoes all of it, also what an inner block wrote; what it returned from stands."""

    def write_and_fail() -> None:
        with store.atomic():
            store.put_observation("service", "shop", {"n": 1}, at_s=1.0)
            with store.atomic():
                store.append_decisions((("shop", {"action": "x", "reason": "y"}),), at_s=1.0, keep=10)
                store.begin_action("a", {}, at_s=1.0)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert (store.observation("service", "shop"), store.decisions(), store.open_actions()) == (None, (), ())
    with store.atomic():
        store.put_observation("service", "shop", {"n": 1}, at_s=1.0)
        store.begin_action("a", {}, at_s=1.0)
        assert store.observation("service", "shop") is not None
    assert [entry.key for entry in store.open_actions()] == ["a"]


def test_a_refused_write_leaves_the_rest_of_its_block(store: Store) -> None:
    """A conflict that the block handles is not the end of the block."""
    store.put_intent("hold", "shop", {"n": 1}, expected_revision=0, at_s=1.0)
    with store.atomic():
        store.put_observation("service", "shop", {}, at_s=1.0)
        with pytest.raises(RevisionConflict):
            store.delete_intent("hold", "shop", expected_revision=7)
    assert store.observation("service", "shop") is not None
    assert store.intent("hold", "shop") is not None


def test_deleting_what_is_absent_is_no_error(store: Store) -> None:
    """Deletes can be repeated."""
    store.delete_intent("hold", "shop")
    store.delete_observation("service", "shop")
    store.put_observation("service", "shop", {}, at_s=1.0)
    store.delete_observation("service", "shop")
    store.delete_observation("service", "shop")
    assert store.observation("service", "shop") is None


def test_intents_and_observations_are_apart(store: Store) -> None:
    """The same kind and name may be wanted and observed without touching each other."""
    store.put_intent("hold", "shop", {"wanted": 1}, expected_revision=0, at_s=1.0)
    store.put_observation("service", "shop", {"seen": 2}, at_s=2.0)
    store.delete_intent("hold", "shop")
    seen = store.observation("service", "shop")
    assert seen is not None
    assert seen.body == {"seen": 2}


def test_documents_are_listed_by_kind_in_order_of_name(store: Store) -> None:
    """A listing has one kind only, sorted by name."""
    for name in ("b", "c", "a"):
        store.put_intent("abort", name, {}, expected_revision=0, at_s=1.0)
        store.put_observation("site", name, {}, at_s=1.0)
    store.put_intent("control", "x", {}, expected_revision=0, at_s=1.0)
    assert [doc.name for doc in store.intents("abort")] == ["a", "b", "c"]
    assert [doc.name for doc in store.observations("site")] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"name": "店铺 \N{SHOPPING TROLLEY} \u0000 é"}, id="unicode"),
        pytest.param({"half": "\ud83d"}, id="lone-surrogate"),
        pytest.param({"n": [1, 1.5, -0.0, 10**30, 5e-324, True, None, {"a": []}]}, id="numbers"),
        pytest.param({"'; DROP TABLE document; --": "\\"}, id="quotes"),
    ],
)
def test_bodies_come_back_as_they_were(store: Store, body: dict[str, object]) -> None:
    """Any JSON body is read back equal."""
    store.put_observation("service", "shop", body, at_s=1.0)
    store.append_decisions((("店", body),), at_s=1.0, keep=10)
    store.begin_action("key-店", body, at_s=1.0)
    seen = store.observation("service", "shop")
    assert seen is not None
    assert seen.body == body
    assert store.decisions("店")[0].body == body
    assert store.open_actions()[0].action == body


def test_a_body_that_is_changed_after_reading_stays_as_stored(store: Store) -> None:
    """What a reader does to a body does not reach the store."""
    store.put_observation("service", "shop", {"sites": ["a"]}, at_s=1.0)
    first = store.observation("service", "shop")
    assert first is not None
    first.body["sites"].append("b")
    again = store.observation("service", "shop")
    assert again is not None
    assert again.body == {"sites": ["a"]}


WRITES: list[Callable[[Store, dict[str, object]], object]] = [
    lambda store, body: store.put_intent("hold", "shop", body, expected_revision=None, at_s=1.0),
    lambda store, body: store.put_observation("service", "shop", body, at_s=1.0),
    lambda store, body: store.begin_action("key", body, at_s=1.0),
    lambda store, body: store.append_decisions((("shop", {}), ("shop", body)), at_s=1.0, keep=10),
]


@pytest.mark.parametrize("write", WRITES, ids=["intent", "observation", "action", "decision"])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"x": "y" * BODY_LIMIT_BYTES}, id="too-large"),
        pytest.param({"x": NAN}, id="nan"),
        pytest.param({"x": float("inf")}, id="infinite"),
        pytest.param({"x": object()}, id="no-json"),
    ],
)
def test_a_body_that_cannot_be_stored_is_refused_whole(
    store: Store, write: Callable[[Store, dict[str, object]], object], body: dict[str, object]
) -> None:
    """A body over 1 MiB, or that is no JSON with finite numbers, is invalid input and writes nothing."""
    with pytest.raises(InvalidInput):
        write(store, body)
    assert store.intent("hold", "shop") is None
    assert store.observation("service", "shop") is None
    assert (store.open_actions(), store.decisions()) == ((), ())


def test_a_body_of_just_the_limit_is_stored(store: Store) -> None:
    """The limit itself is allowed: 1 MiB of JSON."""
    body = {"x": "y" * (BODY_LIMIT_BYTES - len('{"x":""}'))}
    store.put_observation("service", "shop", body, at_s=1.0)
    seen = store.observation("service", "shop")
    assert seen is not None
    assert seen.body == body


@pytest.mark.parametrize("bad", [NAN, float("inf"), float("-inf")])
def test_times_and_amounts_are_finite(store: Store, bad: float) -> None:
    """A NaN or infinite time or amount is refused, so it can never become a missing value."""
    with pytest.raises(InvalidInput):
        store.put_observation("service", "shop", {}, at_s=bad)
    with pytest.raises(InvalidInput):
        store.append_ledger(span(0.0, 1.0, usd=bad))
    assert (store.observations("service"), store.ledger()) == ((), ())


def test_an_action_is_begun_once(store: Store) -> None:
    """The second begin with a key returns the first entry and journals nothing."""
    assert store.begin_action("k", {"open": "cloud"}, at_s=1.0) is None
    former = store.begin_action("k", {"open": "other"}, at_s=2.0)
    assert former is not None
    assert (former.action, former.begun_at_s, former.completed_at_s, former.outcome) == (
        {"open": "cloud"},
        1.0,
        None,
        None,
    )
    assert [entry.key for entry in store.open_actions()] == ["k"]


def test_a_completed_action_is_remembered_with_its_first_outcome(store: Store) -> None:
    """Completing again changes nothing; beginning again tells how it ended."""
    store.begin_action("k", {}, at_s=1.0)
    store.complete_action("k", {"ok": True}, at_s=2.0)
    store.complete_action("k", {"ok": False}, at_s=3.0)
    former = store.begin_action("k", {}, at_s=4.0)
    assert former is not None
    assert (former.completed_at_s, former.outcome) == (2.0, {"ok": True})
    assert store.open_actions() == ()


def test_completing_an_action_that_was_never_begun_is_an_error(store: Store) -> None:
    """An outcome without an action names its key."""
    with pytest.raises(HcctlError, match="never begun") as caught:
        store.complete_action("k", {}, at_s=1.0)
    assert caught.value.where == "k"


def test_open_actions_are_in_the_order_they_were_begun(store: Store) -> None:
    """Oldest first, whatever their keys and times say."""
    for at_s, key in enumerate(["b", "c", "a"]):
        store.begin_action(key, {}, at_s=10.0 - at_s)
    store.complete_action("c", {}, at_s=20.0)
    assert [entry.key for entry in store.open_actions()] == ["b", "a"]


def test_decisions_are_newest_first_and_bounded(store: Store) -> None:
    """The log keeps the latest `keep` lines; numbers go on counting."""
    for n in range(4):
        store.append_decisions((("shop", {"n": 2 * n}), ("other", {"n": 2 * n + 1})), at_s=float(n), keep=5)
    lines = store.decisions()
    assert [(line.number, line.service, line.body["n"]) for line in lines] == [
        (8, "other", 7),
        (7, "shop", 6),
        (6, "other", 5),
        (5, "shop", 4),
        (4, "other", 3),
    ]
    assert [line.number for line in store.decisions("shop")] == [7, 5]
    assert [line.number for line in store.decisions("other", limit=1)] == [8]
    assert store.decisions("none") == ()
    assert store.decisions(limit=0) == ()


def test_more_decisions_than_are_kept_leave_the_latest(store: Store) -> None:
    """One append larger than `keep` keeps its own end."""
    assert store.append_decisions(tuple(("shop", {"n": n}) for n in range(10)), at_s=1.0, keep=3) == range(1, 11)
    assert not store.append_decisions((), at_s=2.0, keep=3)
    assert [line.body["n"] for line in store.decisions()] == [9, 8, 7]


def test_keeping_no_decision_is_refused(store: Store) -> None:
    """The log holds at least its latest line, which carries the number to go on from."""
    with pytest.raises(InvalidInput):
        store.append_decisions((("shop", {}),), at_s=1.0, keep=0)


def test_the_ledger_replaces_a_span_that_grew(store: Store) -> None:
    """A span with the same site, pool, service and start is the same span."""
    store.append_ledger(span(0.0, 1.0, usd=1.0))
    store.append_ledger(span(0.0, 2.0, usd=2.0))
    store.append_ledger(span(0.0, 2.0, usd=4.0, pool="spot"))
    assert [(entry.pool, entry.end_s, entry.usd) for entry in store.ledger()] == [
        ("gpu", 2.0, 2.0),
        ("spot", 2.0, 4.0),
    ]


def test_the_ledger_is_trimmed_to_its_latest_spans(store: Store) -> None:
    """The spans that ended last stay; with fewer than the bound nothing goes."""
    for start_s in (0.0, 10.0, 20.0, 30.0):
        store.append_ledger(span(start_s, start_s + 10.0))
    store.trim_ledger(keep=4)
    assert len(store.ledger()) == 4
    store.trim_ledger(keep=2)
    assert [entry.start_s for entry in store.ledger()] == [20.0, 30.0]


def test_the_ledger_is_read_from_a_time_on(store: Store) -> None:
    """Spans that end after the time are read, oldest first."""
    for start_s in (20.0, 0.0, 10.0):
        store.append_ledger(span(start_s, start_s + 10.0))
    assert [entry.start_s for entry in store.ledger(since_s=10.0)] == [10.0, 20.0]
    assert [entry.start_s for entry in store.ledger(since_s=9.9)] == [0.0, 10.0, 20.0]


def test_of_two_writers_at_once_one_gets_the_conflict(store: Store) -> None:
    """Four threads that each add one by read, expect and retry lose no increment."""

    def add(times: int) -> None:
        for _ in range(times):
            while True:
                found = store.intent("control", "counter")
                count, revision = (found.body["n"], found.revision) if found else (0, 0)
                try:
                    store.put_intent("control", "counter", {"n": count + 1}, expected_revision=revision, at_s=1.0)
                    break
                except RevisionConflict:
                    continue

    threads = [threading.Thread(target=add, args=(10,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.intent("control", "counter")
    assert found is not None
    assert (found.revision, found.body) == (40, {"n": 40})


def test_one_key_is_begun_by_one_of_many_threads(store: Store) -> None:
    """Of threads that begin the same action at once, exactly one is told that it is new."""
    answers: list[object] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(store.begin_action("k", {"n": n}, at_s=1.0)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count(None) == 1
    assert len(answers) == 8
