"""Kept answers: bounded, never too old, and never anybody else's."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from serving.relief.kept import (
    ABOUT_THE_CONNECTION,
    OVERHEAD_BYTES,
    Cache,
    Kept,
    Sharing,
    headers_to_keep,
    key,
    may_keep,
)
from serving.relief.server import below

short = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), max_size=8)
requests = st.fixed_dictionaries(
    {
        "caller": short,
        "method": st.sampled_from(["GET", "POST"]),
        "target": short,
        "headers": st.lists(
            st.tuples(st.sampled_from(["Cookie", "X-User", "Authorization", "Accept"]), short), max_size=3
        ),
        "body": st.binary(max_size=8),
    }
)


@given(requests, requests)
def test_only_the_same_request_of_the_same_caller_has_the_same_key(one: dict, other: dict) -> None:
    """Per caller, two keys are equal only if everything is: key name, method, target, headers in any order, body."""
    same = {**one, "headers": sorted((k.lower(), v) for k, v in one["headers"])} == {
        **other,
        "headers": sorted((k.lower(), v) for k, v in other["headers"]),
    }
    assert (key("per_caller", **one) == key("per_caller", **other)) == same


@given(requests, requests)
def test_a_shared_answer_depends_on_path_query_and_body_alone(one: dict, other: dict) -> None:
    """Shared, callers and headers do not count, and all the rest does; no shared key is one of a caller."""
    same = all(one[part] == other[part] for part in ("method", "target", "body"))
    assert (key("shared", **one) == key("shared", **other)) == same
    assert key("shared", **one) != key("per_caller", **other)


def test_headers_of_the_connection_do_not_count() -> None:
    """Request ids and hops differ each time; without this nothing kept would ever be found."""
    plain = {"caller": "", "method": "GET", "target": "/a", "body": b""}
    noisy = [(name.title(), "x") for name in ABOUT_THE_CONNECTION]
    assert key("per_caller", headers=noisy, **plain) == key("per_caller", headers=[], **plain)


@pytest.mark.parametrize(
    ("sharing", "status", "headers", "kept"),
    [
        ("shared", 200, {}, True),
        ("shared", 200, {"Cache-Control": "max-age=60, public"}, True),
        ("shared", 201, {}, False),
        ("shared", 503, {}, False),
        ("shared", 200, {"Set-Cookie": "a=b"}, False),
        ("per_caller", 200, {"Set-Cookie": "a=b"}, False),
        ("per_caller", 200, {"Cache-Control": "No-Store"}, False),
        ("per_caller", 200, {"Cache-Control": "private, no-cache=x"}, False),
        ("per_caller", 200, {"Content-Encoding": "gzip"}, False),
        ("shared", 200, {"Cache-Control": "private"}, False),
        ("per_caller", 200, {"Cache-Control": "private"}, True),
        ("shared", 200, {"Vary": "Accept"}, False),
        ("per_caller", 200, {"Vary": "Accept"}, True),
    ],
)
def test_what_may_be_kept(sharing: Sharing, status: int, headers: Mapping[str, str], kept: bool) -> None:
    """Good answers only, and none that says itself that it is for one client or one time."""
    assert may_keep(sharing, status, CIMultiDict(headers)) is kept


@pytest.mark.parametrize("forbids", ["no-store", "private"])
def test_every_line_of_a_header_counts(forbids: str) -> None:
    """A list may come in several lines (RFC 9110, 5.3): what the second one forbids is not kept."""
    lines = CIMultiDict([("Cache-Control", "max-age=60"), ("cache-control", forbids)])
    assert not may_keep("shared", 200, lines)


def test_a_kept_answer_says_all_that_it_said_of_caching() -> None:
    """Every line is given again, and nothing that belongs to the one answer."""
    lines = CIMultiDict([("cache-control", "max-age=60"), ("Date", "now"), ("Cache-Control", "must-revalidate")])
    assert headers_to_keep(lines) == (("Cache-Control", "max-age=60"), ("Cache-Control", "must-revalidate"))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3_000)), max_size=60), st.integers(2_000, 20_000))
def test_what_is_kept_is_bounded(puts: list[tuple[int, int]], most_bytes: int) -> None:
    """Whatever is put, what is held stays below the bound, and its count is exact."""
    cache, at_s = Cache(most_bytes), 0.0
    for name, size in puts:
        at_s += 1.0
        cache.put(bytes([name]), Kept(b"x" * size, (), at_s))
        assert cache.held_bytes <= most_bytes
    held = [cache.get(bytes([name]), at_s, 1e9) for name in range(10)]
    assert cache.held_bytes == sum(len(one.body) + OVERHEAD_BYTES for one in held if one)
    assert len(cache) == sum(one is not None for one in held)


def test_the_longest_unused_goes_first_and_the_old_is_forgotten() -> None:
    """An answer that was asked for stays longer; one beyond its age is none."""
    cache = Cache(3 * OVERHEAD_BYTES)
    for at, name in enumerate((b"a", b"b", b"c")):
        cache.put(name, Kept(b"", (), float(at)))
    assert cache.get(b"a", 3.0, 10.0) is not None
    cache.put(b"d", Kept(b"", (), 3.0))
    assert cache.get(b"b", 3.0, 10.0) is None
    assert cache.get(b"a", 10.0, 10.0) is not None
    assert cache.get(b"a", 10.1, 10.0) is None
    assert len(cache) == 2


@pytest.mark.parametrize(
    ("target", "said"),
    [("/shop-1/", "/"), ("/shop-1/a/b?c=/d/e", "/a/b?c=/d/e"), ("/shop-1/?q", "/?q"), ("/", "/"), ("/shop-1", "/")],
)
def test_the_application_is_taken_off_the_path(target: str, said: str) -> None:
    """What the model and the gateway's clients call the request."""
    assert below(target) == said
