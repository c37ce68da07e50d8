"""Commands on a state that somebody damaged: one error that names it, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import intents, wiring
from cli.context import Project
from serving.errors import HcctlError
from serving.loading import load_project
from serving.paths import ProjectPaths
from tests.support.memory_store import MemoryStore

PROJECT = """\
kind: HybridProject
name: shop
sites:
  private: {role: private, pools: [{name: own, kind: fixed, max_nodes: 2}]}
"""


@pytest.mark.parametrize("body", [{}, {"spec": {}}, {"spec": {"kind": "HybridService"}, "wanted": {"version": 1}}])
def test_an_unreadable_declaration_is_named(body: dict) -> None:
    """The service's name and what to do, not the validator's page."""
    store = MemoryStore()
    store.put_intent("service", "shop", body, expected_revision=0, at_s=1.0)
    with pytest.raises(HcctlError, match="shop") as raised:
        intents.service_intent(store, "shop")
    assert "deploy its file again" in raised.value.next_step
    assert "\n" not in raised.value.one_line()


@pytest.mark.parametrize("text", ["", "x", "0", "70000", "18000 18001", "-1"])
def test_an_unreadable_gateway_port_is_named(tmp_path: Path, text: str) -> None:
    """Choosing another one silently would leave clients and a running gateway behind."""
    (tmp_path / "hcctl.yaml").write_text(PROJECT)
    paths = ProjectPaths(tmp_path)
    paths.state_dir.mkdir(mode=0o700)
    (paths.state_dir / "gateway-port").write_text(text)
    with pytest.raises(HcctlError, match="gateway-port"):
        wiring.gateway_port(Project(paths, load_project(paths.project_file)))
