"""What the store in a cluster promises beyond the contract of all: one writer, all or nothing, whatever fails."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.errors import HcctlError, InvalidInput, NotLeading, RevisionConflict, SiteUnreachable
from serving.kubernetes_state import store as store_module
from serving.kubernetes_state.head import HEAD, StateObjects
from serving.kubernetes_state.resources import FINALIZER, service_spec
from serving.kubernetes_state.store import KubernetesStore
from serving.sites.kubernetes.answers import CONFIG_MAPS, HYBRID_SERVICES
from serving.state import Store
from tests.support.clusters import Cluster, double_cluster
from tests.support.kubernetes_api import KubernetesDouble
from tests.support.world import service


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with double_cluster(tmp_path) as found:
        yield found


@pytest.fixture
def double(cluster: Cluster) -> KubernetesDouble:
    assert cluster.double is not None
    return cluster.double


def opened(cluster: Cluster, who: str = "", project: str = "shop") -> KubernetesStore:
    """A store of the namespace; one that leads if it is told who it is."""
    store = KubernetesStore(cluster.client, cluster.namespace, project)
    if who:
        store.lead(who)
    return store


def write(store: Store, n: int) -> None:
    """A transaction as a tick has it."""
    with store.atomic():
        store.put_observation("daemon", "state", {"n": n}, at_s=float(n))
        store.append_decisions((("shop", {"action": "x", "reason": str(n)}),), at_s=float(n), keep=100)
        store.begin_action(f"key-{n}", {"n": n}, at_s=float(n))


def written(store: Store) -> tuple[int, int, int]:
    """The last transaction, as each of its parts tells it; all alike, or something is half there."""
    state = store.observation("daemon", "state")
    decisions, actions = store.decisions(limit=1), store.actions(limit=1)
    return (
        int(str(state.body["n"])) if state else -1,
        int(str(decisions[0].body["reason"])) if decisions else -1,
        int(str(actions[0].action["n"])) if actions else -1,
    )


def test_who_does_not_lead_writes_nothing(cluster: Cluster) -> None:
    """A command's store reads, and refuses the daemon's writes; intents are anybody's."""
    store = opened(cluster)
    with pytest.raises(NotLeading):
        write(store, 1)
    assert written(store) == (-1, -1, -1)
    assert store.put_intent("hold", "shop", {}, expected_revision=0, at_s=1.0) == 1


def test_a_former_leader_is_refused_however_late(cluster: Cluster) -> None:
    """Once another has begun its term, nothing of the former one gets in, not even by its first attempt."""
    first = opened(cluster, "a")
    write(first, 1)
    second = opened(cluster, "b")
    with pytest.raises(NotLeading, match="b began a term"):
        write(first, 2)
    write(second, 3)
    with pytest.raises(NotLeading):
        write(first, 4)
    assert written(opened(cluster)) == (3, 3, 3)
    assert [entry.key for entry in second.open_actions()] == ["key-1", "key-3"]


def test_a_former_leader_cannot_fold(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that a former leader wrote are never named by a head, and the next leader sweeps them."""
    first = opened(cluster, "a")
    write(first, 1)
    second = opened(cluster, "b")
    monkeypatch.setattr(store_module, "ENTRIES_MOST", 0)
    with pytest.raises(NotLeading):
        write(first, 2)
    write(second, 3)
    assert written(opened(cluster)) == (3, 3, 3)
    third = opened(cluster, "c")
    assert written(third) == (3, 3, 3)
    held = {
        name
        for pieces in StateObjects(cluster.client, cluster.namespace, "shop").read().contents.index.values()
        for name in pieces
    }
    present = cluster.client.list(
        CONFIG_MAPS, cluster.namespace, {"labelSelector": "app.kubernetes.io/component=state-page"}, timeout_s=5.0
    )
    assert {item["metadata"]["name"] for item in present} == held


def test_the_guard_is_asked_before_each_commit(cluster: Cluster) -> None:
    """A daemon whose lease has run out sends nothing, even while nobody else leads; asked before each request."""
    allowed = True

    def guard() -> None:
        if not allowed:
            raise NotLeading("the lease has run out")

    store = KubernetesStore(cluster.client.with_guard(guard), cluster.namespace, "shop")
    store.lead("a")
    write(store, 1)
    allowed = False
    with pytest.raises(NotLeading):
        write(store, 2)
    allowed = True
    assert written(store) == (1, 1, 1)


@pytest.mark.parametrize("status", [0, 409, 429, 500, 503])
@pytest.mark.parametrize("folds", [False, True], ids=["entry", "fold"])
def test_a_write_that_fails_never_was(
    cluster: Cluster, double: KubernetesDouble, monkeypatch: pytest.MonkeyPatch, status: int, folds: bool
) -> None:
    """Whichever request fails, memory and cluster show the former state or the new one; the next write goes through."""
    store = opened(cluster, "a")
    write(store, 1)
    if folds:
        monkeypatch.setattr(store_module, "ENTRIES_MOST", 0)
    monkeypatch.setattr("serving.kubernetes_state.head.CALL_TIMEOUT_S", 0.1)
    for verb in ("create", "update", "delete") if folds else ("update",):
        last = written(store)[0]
        double.fail(status, verb=verb, plural="configmaps")
        with contextlib.suppress(SiteUnreachable, HcctlError):
            write(store, last + 1)
        double.faults.clear()
        assert written(store) in {(last,) * 3, (last + 1,) * 3}
        assert written(opened(cluster)) == written(store)
        write(store, 10 * last + 10)
        assert written(opened(cluster)) == (10 * last + 10,) * 3


def test_a_write_whose_answer_was_lost_is_undone_by_the_next(
    cluster: Cluster, double: KubernetesDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the caller was told has failed is not there after its next write, though the server had taken it."""
    store = opened(cluster, "a")
    write(store, 1)
    replace = cluster.client.replace

    def lost(*args: Any, **options: Any) -> Any:
        replace(*args, **options)
        raise SiteUnreachable("the answer was lost")

    monkeypatch.setattr(cluster.client, "replace", lost)
    with pytest.raises(SiteUnreachable):
        write(store, 2)
    monkeypatch.setattr(cluster.client, "replace", replace)
    assert written(store) == (1, 1, 1)
    write(store, 3)
    assert [entry.key for entry in opened(cluster).open_actions()] == ["key-1", "key-3"]
    assert [line.number for line in opened(cluster).decisions()] == [2, 1]


def test_a_crash_at_any_request_leaves_all_or_nothing(
    cluster: Cluster, double: KubernetesDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leader that dies before any of its requests leaves a state that the next one reads whole, and writes on."""
    monkeypatch.setattr(store_module, "ENTRIES_MOST", 1)

    class CrashError(Exception):
        """The process is gone."""

    for crash_at in itertools.count():
        store = opened(cluster, f"daemon-{crash_at}")
        before, begun, survived = written(store), len(double.agents), False

        def dying(begun: int = begun, crash_at: int = crash_at) -> None:
            if len(double.agents) - begun >= crash_at:
                raise CrashError

        monkeypatch.setattr(cluster.client, "_guard", dying)
        with contextlib.suppress(CrashError):
            for n in range(before[0] + 1, before[0] + 3):  # one by an entry, one by a fold
                write(store, n)
            survived = True
        monkeypatch.setattr(cluster.client, "_guard", lambda: None)
        found = written(opened(cluster))
        assert len(set(found)) == 1, f"half of a transaction after a crash at request {crash_at}"
        assert before[0] <= found[0] <= before[0] + 2
        if survived:
            break
    assert crash_at > 5


def test_many_small_writes_are_folded(cluster: Cluster, double: KubernetesDouble) -> None:
    """The head stays small however much is written, and no page is left over."""
    store = opened(cluster, "a")
    for n in range(40):
        store.put_observation("release", f"r{n % 3}", {"x": "y" * 50_000, "n": [n] * 5_000}, at_s=1.0)
        with store.atomic():
            store.append_decisions((("shop", {"n": n, "noise": str(hash(str(n))) * 2_000}),), at_s=1.0, keep=10)
    head = StateObjects(cluster.client, cluster.namespace, "shop").read()
    assert sum(map(len, head.contents.entries)) <= store_module.ENTRIES_BYTES
    assert [line.body["n"] for line in opened(cluster).decisions()] == list(range(39, 29, -1))
    pages = [item for item in double.objects.list(double.kind("configmaps"), "default") if item.get("immutable")]
    assert len(pages) == sum(map(len, head.contents.index.values()))


def test_a_page_larger_than_an_object_is_kept_in_pieces(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no single ConfigMap takes comes back whole."""
    monkeypatch.setattr("serving.kubernetes_state.head.PIECE_BYTES", 1_000)
    monkeypatch.setattr(store_module, "ENTRIES_MOST", 0)
    store = opened(cluster, "a")
    body = {"x": [hash(str(n)) for n in range(2_000)]}
    store.put_observation("release", "r", body, at_s=1.0)
    found = opened(cluster).observation("release", "r")
    assert found is not None
    assert found.body == body


def test_a_reader_meets_a_fold(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that goes while it is read is looked for anew; the reader never sees a mixture."""
    monkeypatch.setattr(store_module, "ENTRIES_MOST", 0)
    store, reader = opened(cluster, "a"), opened(cluster)
    write(store, 1)
    assert written(reader) == (1, 1, 1)
    read, folds = reader._objects.read, iter(range(2, 4))

    def raced() -> Any:
        head = read()
        for n in folds:
            write(store, n)
        return head

    monkeypatch.setattr(reader._objects, "read", raced)
    write(store, 9)
    assert written(reader) == (3, 3, 3)


def test_a_reader_asks_little_while_nothing_changes(cluster: Cluster, double: KubernetesDouble) -> None:
    """A look at what has not changed is one request, for metadata alone."""
    write(opened(cluster, "a"), 1)
    reader = opened(cluster)
    reader.observation("daemon", "state")
    double.requests.clear()
    for _ in range(3):
        reader.observation("daemon", "state")
    assert double.requests == [("get", "configmaps")] * 3


def test_another_projects_namespace_is_refused(cluster: Cluster) -> None:
    """A namespace holds one project; the error names the other."""
    opened(cluster, "a")
    with pytest.raises(InvalidInput, match="'shop'") as caught:
        opened(cluster, project="toys").observations("service")
    assert "state.namespace" in caught.value.next_step


def test_damage_is_named(cluster: Cluster) -> None:
    """A head that does not unpack is an error that names the object, never an empty state."""
    write(opened(cluster, "a"), 1)
    head = cluster.client.get(CONFIG_MAPS, cluster.namespace, HEAD, timeout_s=5.0)
    assert head is not None
    head["binaryData"]["entry-000000"] = head["binaryData"]["entry-000000"][::-1].lstrip("=") + "="
    cluster.client.replace(CONFIG_MAPS, cluster.namespace, head, timeout_s=5.0)
    with pytest.raises(HcctlError, match="damaged"):
        written(opened(cluster))


def declare(cluster: Cluster, double: KubernetesDouble) -> None:
    """As `kubectl apply` does it: no finalizer, no annotations of hcctl."""
    spec = service_spec({"spec": service().model_dump(mode="json", by_alias=True)})
    meta = {"name": service().name}
    made = {"apiVersion": "hcctl.dev/v1", "kind": "HybridService", "metadata": meta, "spec": spec}
    double.objects.create(double.kind("hybridservices"), cluster.namespace, made, "kubectl")


def test_a_service_declared_by_others_is_an_intent(cluster: Cluster, double: KubernetesDouble) -> None:
    """What kubectl applies is wanted, each change is a revision, and its deletion asks for removal."""
    store = opened(cluster, "a")
    declare(cluster, double)
    found = store.intent("service", service().name)
    assert found is not None
    assert found.body["wanted"] is None
    assert found.revision == 1
    item = double.objects.get(double.kind("hybridservices"), cluster.namespace, service().name)
    item["spec"]["slo"]["latency_p99_s"] = 9
    item["metadata"]["finalizers"] = [FINALIZER]
    double.objects.replace(double.kind("hybridservices"), cluster.namespace, service().name, item, "kubectl")
    changed = store.intent("service", service().name)
    assert changed is not None
    assert changed.revision == 2
    double.objects.delete(double.kind("hybridservices"), cluster.namespace, service().name)
    leaving = store.intent("service", service().name)
    assert leaving is not None
    assert leaving.body["remove"] is True
    with pytest.raises(RevisionConflict, match="being deleted"):
        store.put_intent("service", service().name, leaving.body, expected_revision=None, at_s=1.0)
    store.delete_intent("service", service().name, expected_revision=leaving.revision)
    assert cluster.client.get(HYBRID_SERVICES, cluster.namespace, service().name, timeout_s=5.0) is None


def test_unknown_fields_are_refused(cluster: Cluster) -> None:
    """A spec with a field that the CRD does not have is an error, not a field less."""
    body = {"spec": service().model_dump(mode="json", by_alias=True) | {"surprise": 1}, "wanted": None}
    with pytest.raises(HcctlError, match="too old"):
        opened(cluster).put_intent("service", service().name, body, expected_revision=0, at_s=1.0)


def test_followed_intents_ask_nobody(cluster: Cluster, double: KubernetesDouble) -> None:
    """Reading costs nothing, and a change by another arrives by itself, also after a dropped watch."""
    import threading

    changed = threading.Event()
    store = opened(cluster, "a")
    store.declared.follow(changed.set)
    double.requests.clear()
    for _ in range(50):
        assert store.intents("service") == ()
        assert store.intent("hold", "shop") is None
    assert [request for request in double.requests if request[0] != "watch"] == []
    opened(cluster).put_intent("hold", "shop", {"n": 1}, expected_revision=0, at_s=1.0)
    assert changed.wait(5.0)
    found = store.intent("hold", "shop")
    assert found is not None
    assert found.body == {"n": 1}
    store.close()
