"""The gateway's log line: read exactly, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.gateway.gateway import RequestRecord
from serving.gateway.logline import LONGEST_LINE_BYTES, parse

ID = "5b567c6d-6ee6-47d0-adbe-7174771fbf9e"
LINE = f"1795301681619 3 4 shop candidate private 200 7 12 -- 351 {ID}"


def test_a_line_is_read() -> None:
    """Times are in seconds; arrival is accept plus handshake plus idle time."""
    expected = RequestRecord(
        service="shop",
        track="candidate",
        site="private",
        status=200,
        queue_s=0.007,
        total_s=0.012,
        termination="--",
        bytes_out=351,
        request_id=ID,
        at_s=1795301681.626,
    )
    assert parse(LINE.encode()) == parse(f"{LINE}\n".encode()) == expected


def test_what_was_never_sent_has_no_queue_time_and_no_site() -> None:
    """Missing values are None or empty, never 0 or a dash."""
    record = parse(f"1795301681619 0 0 shop stable <NOSRV> 503 -1 2001 sQ 287 {ID}".encode())
    assert (record.queue_s, record.site, record.termination, record.status) == (None, "", "sQ", 503)
    record = parse(f"1795301681619 0 0 - - <NOSRV> 404 -1 0 LR 254 {ID}".encode())
    assert (record.service, record.track, record.site) == ("", "stable", "")
    assert parse(b"1795301681619 0 0 - - <NOSRV> 400 -1 0 PR 0 -").request_id == ""


@pytest.mark.parametrize(
    ("word", "status", "site", "outcome"),
    [
        ("-", 200, "private", ""),
        ("stale;age=12", 200, "_relief", "light"),
        ("light", 200, "_relief", "light"),
        ("shed;priority=low", 429, "_relief", "shed_low"),
        ("shed;priority=low", 429, "<NOSRV>", "shed_low"),
        ("shed;priority=normal", 429, "<NOSRV>", "shed_normal"),
        ("pass", 200, "_relief", "passed"),
        ("pass", 503, "_relief", "passed"),
        ("-", 503, "_relief", ""),
        ("-", 429, "_relief", ""),
        ("light", 500, "_relief", ""),
    ],
)
def test_what_relief_did_is_read(word: str, status: int, site: str, outcome: str) -> None:
    """The relief process is no site; only a good light answer and a refusal by priority are its own."""
    line = LINE.replace(" private 200 ", f" {site} {status} ")
    record = parse(f"{line} {word}".encode())
    assert (record.relief, record.site) == (outcome, "private" if site == "private" else "")
    assert parse(line.encode()).relief == ""


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Proxy gateway stopped (cumulated conns: FE: 0, BE: 0).",
        LINE + " more",
        LINE + " stale",
        LINE + " stale;age=-1",
        LINE + " shed;priority=high",
        LINE + " light light",
        " " + LINE,
        LINE.replace(" 200 ", " 0 "),
        LINE.replace(" 200 ", " -1 "),
        LINE.replace(" 7 ", " -2 "),
        LINE.replace(" 12 ", " 1e3 "),
        LINE.replace("shop", "Shop"),
        LINE.replace("shop", "a" * 41),
        LINE.replace("candidate", "canary"),
        LINE.replace("private", "<CACHE>"),
        LINE.replace("1795301681619", "-1795301681619"),
        LINE.replace(ID, ID.upper()),
        LINE.replace(" 200", "\u00a0200"),
        LINE.replace(" 200", " \u0662\u0660\u0660"),
        LINE.replace("--", "-\n"),
    ],
)
def test_anything_else_is_refused(line: str) -> None:
    """A line that differs in any field is an error, never half a record."""
    with pytest.raises(ValueError, match=r"."):
        parse(line.encode())


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=2 * LONGEST_LINE_BYTES), st.text(max_size=300).map(str.encode)))
def test_hostile_lines_are_refused(line: bytes) -> None:
    """No bytes raise anything but ValueError."""
    with pytest.raises(ValueError, match=r"."):
        parse(line)


@settings(deadline=None)
@given(st.integers(0, len(LINE) - 1), st.characters(max_codepoint=255))
def test_a_damaged_line_is_read_within_bounds_or_refused(position: int, character: str) -> None:
    """One changed character gives another valid record or an error."""
    damaged = LINE[:position] + character + LINE[position + 1 :]
    try:
        record = parse(damaged.encode())
    except ValueError:
        return
    assert 100 <= record.status < 600
    assert record.total_s >= 0
    assert record.track in ("stable", "candidate")


def test_a_long_line_is_refused_unread() -> None:
    """What is longer than the format allows is not looked at."""
    with pytest.raises(ValueError, match="513 bytes"):
        parse(b"1" * (LONGEST_LINE_BYTES + 1))
