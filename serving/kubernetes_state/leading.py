"""Leading a project whose state is in a cluster: wait for the lease, begin a term, keep it, tell about it, let go."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.kubernetes_state.lease import Lease
from serving.kubernetes_state.store import KubernetesStore
from serving.kubernetes_state.teller import Teller

if TYPE_CHECKING:
    from serving.sites.kubernetes.api import KubernetesApi


@dataclass(frozen=True)
class Leading:
    """What the daemon that leads works with."""

    store: KubernetesStore
    lease: Lease


def new_identity() -> str:
    """A name that no other process has: host, process, and chance for what both share."""
    return f"{socket.gethostname()[:60]}-{os.getpid()}-{secrets.token_hex(3)}"


@contextmanager
def leading(
    api: KubernetesApi,
    namespace: str,
    project: str,
    *,
    identity: str,
    stopping: Callable[[], bool],
    news: Callable[[], None],
) -> Iterator[Leading | None]:
    """Lead, once it is this process's turn; None if it is time to stop before that.

    Args:
        api: access to the cluster; what is written but for the lease is guarded by it.
        namespace: of the state.
        project: whose state it is.
        identity: names this process.
        stopping: says when to wait no longer.
        news: called when an intent was written.

    Raises:
        HcctlError: the state cannot be read; the lease is free again.
    """
    lease = Lease(api, namespace, project, identity)
    if not lease.acquire(stopping):
        yield None
        return
    lease.keep()
    try:
        guarded = api.with_guard(lease.require)
        store = KubernetesStore(guarded, namespace, project)
        store.lead(identity)
        store.declared.follow(news)
        teller = Teller(guarded, namespace, project, store)
        teller.start()
        try:
            yield Leading(store, lease)
        finally:
            teller.stop()
            store.close()
    finally:
        lease.release()
