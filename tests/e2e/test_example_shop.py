"""The example of the README, as it is written there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import httpx
import pytest

from tests.support.running_project import REPOSITORY, RunningProject

pytestmark = [pytest.mark.e2e, pytest.mark.campaign, pytest.mark.timeout(900)]  # five commands, each a process
EXAMPLE = REPOSITORY / "examples" / "shop"


def test_five_commands_from_csv_to_an_answer(tmp_path: Path) -> None:
    """The commands of the example's README, one after the other, lead to a list for a customer of its orders."""
    project = RunningProject(tmp_path / "shop", "shop")
    shutil.copytree(EXAMPLE, project.folder, dirs_exist_ok=True)
    first = (EXAMPLE / "README.md").read_text().split("```")[1]
    commands = [line.split("#")[0].split()[1:] for line in first.strip().splitlines()]
    assert len(commands) == 5
    try:
        told = "".join(project.must(*command).errors for command in commands)
        address = re.search(r"http://127\.0\.0\.1:\d+", told)
        assert address
        asked = {"user_id": "C00003", "k": 3}
        answer = httpx.post(f"{address[0]}/recommend", json=asked, timeout=20.0, trust_env=False)
        assert answer.status_code == 200
        assert len(answer.json()["items"]) == 3
    finally:
        project.must("down")
