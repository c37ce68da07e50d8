"""The token of a site: made once, read strictly, and never shown, whatever stands in its file."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from serving.errors import SiteUnreachable
from serving.sites.site_token import read_token, write_token


def test_a_new_token_is_for_its_owner_only(tmp_path: Path) -> None:
    """256 random bits with mode 0600; each is another; printing it shows asterisks."""
    file = tmp_path / "token"
    tokens = set()
    for _ in range(3):
        write_token(file)
        token = read_token(file)
        tokens.add(token.get_secret_value())
        assert f"{token}{token!r}{[token]}".count("***") >= 3
        assert token.get_secret_value() not in f"{token}{token!r}{[token]}"
    assert len(tokens) == 3
    assert file.stat().st_mode & 0o777 == 0o600


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=100))
@example(b"5ecre7" * 11)
@example(b"a" * 64 + b"\n")  # http.client would put this one into its error
@example(b"\xff" * 64)
@example(b"")
def test_a_damaged_token_is_named_and_not_shown(tmp_path: Path, content: bytes) -> None:
    """Anything but 64 hexadecimal digits is one clear error without a byte of what is there."""
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(SiteUnreachable, match="damaged") as caught:
        read_token(file)
    told = "".join(traceback.format_exception(caught.value))
    assert len(content) < 6 or content.decode("latin-1").strip() not in told


def test_a_missing_token_says_where(tmp_path: Path) -> None:
    """Without the file the error names it."""
    with pytest.raises(SiteUnreachable, match="No such file"):
        read_token(tmp_path / "token")
