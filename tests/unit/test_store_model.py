"""Any history of writes leaves `SqliteStore`, `KubernetesStore` and the model in memory with the same content."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.errors import HcctlError
from serving.kubernetes_state.store import KubernetesStore
from serving.sqlite_store import SqliteStore
from serving.state import LedgerEntry, Store
from tests.support.clusters import Cluster, double_cluster
from tests.support.memory_store import MemoryStore

NUMBERS = itertools.count()

Step = Callable[[Store], Any]

names = st.sampled_from(["a", "b", "店"])
times = st.floats(0, 1e10)
bodies = st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=5), max_size=3)

steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(
        lambda n, b, r, t: lambda s: s.put_intent("hold", n, b, expected_revision=r, at_s=t),
        names,
        bodies,
        st.none() | st.integers(0, 3),
        times,
    ),
    st.builds(lambda n, b, t: lambda s: s.put_observation("service", n, b, at_s=t), names, bodies, times),
    st.builds(lambda n: lambda s: s.delete_intent("hold", n), names),
    st.builds(lambda n: lambda s: s.delete_observation("service", n), names),
    st.builds(lambda n, b, t: lambda s: s.begin_action(n, b, at_s=t), names, bodies, times),
    st.builds(lambda n, b, t: lambda s: s.complete_action(n, b, at_s=t), names, bodies, times),
    st.builds(
        lambda n, b, t, k: lambda s: s.append_decisions(((n, b), ("a", b)), at_s=t, keep=k),
        names,
        bodies,
        times,
        st.integers(1, 5),
    ),
    st.builds(
        lambda n, a, b, usd: lambda s: s.append_ledger(LedgerEntry(n, "gpu", n, a, a + b, b, usd)),
        names,
        st.sampled_from([0.0, 5.0]),
        times,
        times,
    ),
    st.builds(lambda k: lambda s: s.trim_ledger(keep=k), st.integers(1, 4)),
)


def outcome(step: Step, store: Store) -> object:
    try:
        return step(store)
    except HcctlError as problem:
        return type(problem), problem.where


def content(store: Store) -> object:
    return (
        [(store.intent("hold", name), store.observation("service", name)) for name in ("a", "b", "店")],
        (store.intents("hold"), store.observations("service"), store.open_actions()),
        (store.actions(), store.actions(limit=2)),
        (store.decisions(), store.decisions("a", limit=2), store.ledger(), store.ledger(since_s=5.0)),
    )


@settings(max_examples=60, deadline=None)
@given(history=st.lists(steps, max_size=25))
def test_sqlite_and_the_model_agree(history: list[Step]) -> None:
    """Each step answers alike in both, and after reopening the file all content is equal."""
    with tempfile.TemporaryDirectory() as folder:
        real, model = SqliteStore(Path(folder) / "state" / "state.db"), MemoryStore()
        for step in history:
            assert outcome(step, real) == outcome(step, model)
        real.close()
        real = SqliteStore(Path(folder) / "state" / "state.db")
        assert content(real) == content(model)
        real.check()
        real.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with double_cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(steps, max_size=25), fold_after=st.integers(0, 3))
def test_kubernetes_and_the_model_agree(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, history: list[Step], fold_after: int
) -> None:
    """However often the entries are folded, each step answers alike, and so does what a reader and a new leader see."""
    monkeypatch.setattr("serving.kubernetes_state.store.ENTRIES_MOST", fold_after)
    namespace = f"n-{next(NUMBERS)}"
    real, model = KubernetesStore(cluster.client, namespace, "shop"), MemoryStore()
    real.lead("first")
    for step in history:
        assert outcome(step, real) == outcome(step, model)
    assert content(real) == content(model)
    reader = KubernetesStore(cluster.client, namespace, "shop")
    assert content(reader) == content(model)
    after = KubernetesStore(cluster.client, namespace, "shop")
    after.lead("second")
    assert content(after) == content(model)
