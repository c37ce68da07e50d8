"""Small networks in tests: one thread, and toy words in place of MiniLM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from tests.support.toy_encoder import ToyEncoder


@contextmanager
def one_thread() -> Iterator[None]:
    """So small a network is slower on several; other tests get back theirs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def toy_words() -> Iterator[None]:
    """MiniLM takes seconds to load."""
    with pytest.MonkeyPatch.context() as patch:
        for module in ("encoder", "index"):
            patch.setattr(f"serving.recommender.search.{module}.MiniLM", ToyEncoder)
        yield
