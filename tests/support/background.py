"""Work beside a test: a thread that cannot end without being noticed."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Self


class Background(ABC):
    """Does `work` in a thread while a `with` block runs; what ends it before its time fails the test."""

    ends_within_s = 60.0

    @abstractmethod
    def work(self) -> None:
        """What to do until `stopping` is set."""

    def __enter__(self) -> Self:
        self.stopping = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._thread.join(self.ends_within_s)
        assert not self._thread.is_alive(), f"{type(self).__name__} did not end"
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self.work()
        except BaseException as failure:  # raised by `__exit__`, in the thread of the test
            self._failure = failure
