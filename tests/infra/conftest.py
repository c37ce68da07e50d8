"""A stack's folder, and a stand-in for the Pulumi engine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from infra.outputs import StackOutputs
from tests.support.pulumi_program import EXAMPLE

ENGINE = """#!/bin/sh
echo "$@" >> "$ENGINE_LOG"
case "$*" in
  *version*) echo v3.200.0;;
  *"stack output"*--show-secrets*) cat "$ENGINE_OUTPUTS";;
  *"stack output"*) sed 's/"on_prem_kubeconfig": "[^"]*"/"on_prem_kubeconfig": "[secret]"/' "$ENGINE_OUTPUTS";;
  *"stack history"*) cat "$ENGINE_HISTORY";;
  *destroy*|*preview*|*up*)
    [ -z "$ENGINE_FAILS" ] || { echo "error: $ENGINE_FAILS" >&2; exit 255; }
    while [ $# -gt 1 ]; do
      [ "$1" != --event-log ] || echo '{"sequence": 1, "summaryEvent": {"durationSeconds": 1}}' >> "$2"
      shift
    done;;
esac
"""
"""Stands for `pulumi`: notes what it is asked, and answers as the real one does."""

MOMENT = "2026-11-22T12:00:00.000Z"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the stack `prod`, and no engine."""
    shutil.copy(EXAMPLE, tmp_path / "Pulumi.prod.yaml")
    (tmp_path / "bin").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return tmp_path


@pytest.fixture
def engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of an engine that is on PATH now."""
    found: dict[str, Any] = dict.fromkeys(StackOutputs.model_fields, "x")
    found |= {"format": 1, "pools": [], "repository_urls": {}, "on_prem_kubeconfig": "door"}
    (folder / "outputs.json").write_text(json.dumps(found))
    ended = {"result": "succeeded", "startTime": MOMENT, "endTime": MOMENT}
    update = {"kind": "update", "message": "", "environment": {}, "config": {}, "version": 1, **ended}
    (folder / "history.json").write_text(json.dumps([update]))
    (folder / "bin" / "pulumi").write_text(ENGINE)
    (folder / "bin" / "pulumi").chmod(0o755)
    monkeypatch.setenv("ENGINE_LOG", str(folder / "log"))
    monkeypatch.setenv("ENGINE_HISTORY", str(folder / "history.json"))
    monkeypatch.setenv("ENGINE_OUTPUTS", str(folder / "outputs.json"))
    monkeypatch.delenv("ENGINE_FAILS", raising=False)
    return folder / "log"
