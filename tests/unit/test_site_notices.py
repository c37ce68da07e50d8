"""Notices of a local site: a file that is read back, bounded by time, and never believed when damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import app
from serving.errors import HcctlError
from serving.sites.notices import FILE, add_notice, read_notices
from serving.sites.site import Notice


def test_what_was_added_is_read_until_its_end(tmp_path: Path):
    """Two notices; the next addition drops the one whose node is gone."""
    assert read_notices(tmp_path) == ()
    first, second, third = (Notice(name, "spot", ends_s) for name, ends_s in (("a", 10.0), ("b", 30.0), ("c", 50.0)))
    add_notice(tmp_path, first, now_s=0.0)
    add_notice(tmp_path, second, now_s=5.0)
    assert read_notices(tmp_path) == (first, second)
    add_notice(tmp_path, third, now_s=20.0)
    assert read_notices(tmp_path) == (second, third)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '[{"id": 1}]',
        *(f'[{{"id": "a", "pool": "p", "ends_s": {end}}}]' for end in ('"soon"', '"1.0"', "NaN", "Infinity", "1e999")),
    ],
)
def test_a_damaged_file_is_an_error_with_the_way_out(tmp_path: Path, text: str):
    """It names the file."""
    (tmp_path / FILE).write_text(text)
    with pytest.raises(HcctlError, match="notices cannot be read") as caught:
        read_notices(tmp_path)
    assert str(tmp_path / FILE) in caught.value.one_line()


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["moon"], "there is no such site"),
        (["cloud"], "there is no such spot pool"),
        (["cloud", "--pool", "on-demand"], "there is no such spot pool"),
        (["private"], "there is no such spot pool"),
    ],
)
def test_only_spot_nodes_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], told: str):
    """A site or pool that has none is refused as a wrong input."""
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["init", "--name", "shop"]).exit_code == 0
    result = CliRunner().invoke(app, ["rehearse", "reclaim", *args])
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_closed_site_has_nothing_to_take_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The cloud site of a project that is down."""
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, ["init", "--name", "shop"]).exit_code == 0
    file = tmp_path / "hcctl.yaml"
    file.write_text(file.read_text().replace("kind: on_demand", "kind: spot"))
    result = CliRunner().invoke(app, ["rehearse", "reclaim", "cloud"])
    assert result.exit_code == 1
    assert "the site is not open" in result.stderr
