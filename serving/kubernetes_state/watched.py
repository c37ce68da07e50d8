"""Objects of one kind, kept in memory by a watch: looking at them asks nobody.

List, then watch from the list's revision on, with bookmarks; where the server no longer knows that revision (410), list
anew; where it does not answer, wait and go on from the last revision. What is known may be a little old, never empty:
before the first list there is no answer but an error.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from serving.errors import HcctlError, SiteUnreachable
from serving.sites.kubernetes.answers import Object, Resource

if TYPE_CHECKING:
    from serving.sites.kubernetes.api import KubernetesApi

log = logging.getLogger(__name__)

LIST_TIMEOUT_S = 10.0
WATCH_LASTS_S = 240
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0


class Watched:
    """The objects of a kind in a namespace that a label selector chooses.

    Args:
        api: access to the cluster.
        resource: their kind.
        namespace: where they are.
        query: label and field selectors.
        changed: called, from another thread, when one of them changed.
    """

    def __init__(
        self,
        api: KubernetesApi,
        resource: Resource,
        namespace: str,
        query: Mapping[str, str],
        changed: Callable[[], None],
    ) -> None:
        self._api = api
        self._resource = resource
        self._namespace = namespace
        self._query = query
        self._changed = changed
        self._lock = threading.Lock()
        self._items: dict[str, Object] | None = None
        self._version = ""
        self._ended = threading.Event()

    def start(self) -> None:
        """List now, then follow in the background.

        Raises:
            HcctlError: the list cannot be had.
        """
        self._list()
        threading.Thread(target=self._follow, name=f"watch-{self._resource.plural}", daemon=True).start()

    def stop(self) -> None:
        """Follow no longer; the open request ends by itself."""
        self._ended.set()

    def items(self) -> list[Object]:
        """What is there, by name.

        Raises:
            SiteUnreachable: nothing was listed yet.
        """
        with self._lock:
            if self._items is None:
                raise SiteUnreachable("the objects are not known yet", where=str(self._resource))
            return [self._items[name] for name in sorted(self._items)]

    def get(self, name: str) -> Object | None:
        """One of them; None if there is none."""
        return next((item for item in self.items() if item["metadata"]["name"] == name), None)

    def put(self, item: Object) -> None:
        """Take in what an own write returned, unless something newer is known."""
        with self._lock:
            self._take(item)

    def drop(self, name: str) -> None:
        """Take in an own deletion."""
        with self._lock:
            (self._items or {}).pop(name, None)

    def _list(self) -> None:
        items, version = self._api.list_at(self._resource, self._namespace, self._query, timeout_s=LIST_TIMEOUT_S)
        with self._lock:
            self._items = {item["metadata"]["name"]: item for item in items}
            self._version = version

    def _follow(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._ended.is_set():
            try:
                self._watch()
                pause_s = FIRST_PAUSE_S
            except HcctlError as error:
                log.warning("watch of %s: %s", self._resource, error.one_line())
                # Jitter: all daemons lose their watches at one moment when an API server goes.
                self._ended.wait(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - not for secrets
                pause_s = min(LONGEST_PAUSE_S, 2 * pause_s)

    def _watch(self) -> None:
        events = self._api.watch(
            self._resource, self._namespace, self._query, since=self._version, lasts_s=WATCH_LASTS_S
        )
        for event in events:
            if self._ended.is_set():
                return
            kind, item = event.get("type"), event["object"]
            if kind == "ERROR":
                if item.get("code") != 410:
                    raise SiteUnreachable("the watch failed", where=str(self._resource), why=str(item.get("message")))
                self._list()
                self._changed()
                return
            with self._lock:
                self._version = str(item["metadata"]["resourceVersion"])
                if kind == "DELETED":
                    (self._items or {}).pop(item["metadata"]["name"], None)
                elif kind != "BOOKMARK":
                    self._take(item)
            if kind != "BOOKMARK":
                self._changed()

    def _take(self, item: Object) -> None:
        known = (self._items or {}).get(item["metadata"]["name"])
        if self._items is not None and (known is None or _age(known) <= _age(item)):
            self._items[item["metadata"]["name"]] = item


def _age(item: Object) -> int:
    """Versions of one kind of object are numbers that grow."""
    return int(item["metadata"]["resourceVersion"])
