"""`hcctl up` before anything is started."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import app
from serving import paths
from serving.errors import InvalidInput
from serving.paths import ProjectPaths, check_socket_paths

RAY_SOCKET = f"ray/session_2026-11-22_12-07-53_123456_{2**22}/sockets/dash_TaskEventsHead"
"""The longest that Ray 2.60 makes below a site's folder, with the largest process id; it may end at 107 bytes."""


@pytest.mark.parametrize("name", ["t" * 40, "\N{LATIN SMALL LETTER A WITH DIAERESIS}" * 8], ids=["long", "wide"])
def test_no_room_for_sockets_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Bad input, with TMPDIR and by how much it is too long; nothing is started, and no folder is left."""
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["init", "--name", "shop"]).exit_code == 0
    monkeypatch.setattr(tempfile, "tempdir", f"/tmp/{name}")
    result = CliRunner().invoke(app, ["up"])
    assert result.exit_code == 2, result.output
    assert f"TMPDIR /tmp/{name}" in result.stderr
    assert f"{len(name.encode()) - 7} bytes shorter" in result.stderr
    assert not Path("/tmp", name).exists()


def test_every_socket_has_room_below_the_longest_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the bound HAProxy's path is as long as it may be, and Ray's own are below theirs; a byte more is refused."""
    monkeypatch.setattr(tempfile, "tempdir", "/tmp/" + "t" * 7)
    longest = ProjectPaths(Path("/shop")).ray_dir("private")
    check_socket_paths(longest)
    assert paths.longest_socket_bytes(longest) == paths.SOCKET_LIMIT
    assert len(str(longest / RAY_SOCKET)) <= 107
    with pytest.raises(InvalidInput, match="TMPDIR"):
        check_socket_paths(longest.with_name(longest.name + "x"))
