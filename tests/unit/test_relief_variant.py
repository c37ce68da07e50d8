"""The lighter variant: what it does not answer is told, and not told over and over."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from serving.relief.settings import ReliefService
from serving.relief.variant import Variant
from tests.support.versions import ECHO, Versions


def test_a_variant_that_fails_is_told_once_per_kind_of_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One warning with service and type, however many requests fail; no text of an error, and none if all is well."""
    caplog.set_level(logging.INFO)
    source = tmp_path / "artefact"
    source.mkdir()
    (source / "label.txt").write_text("one")
    versions = Versions(tmp_path / "registry")
    version = versions.push(source)
    service = ReliefService.model_validate(
        {
            "name": "shop",
            "version": version,
            "version_dir": str(versions.registry.directory(version)),
            "application": "/shop-1/",
            "light": {"variant": {"import_path": ECHO}},
        }
    )

    async def asked(*paths: str) -> list[bool]:
        variant = Variant(service)
        while not caplog.records:  # it loads in its thread
            await asyncio.sleep(0.01)
        caplog.clear()
        try:
            return [await variant.answer(path, (), b"") is not None for path in paths]
        finally:
            variant.close()

    assert asyncio.run(asked("/x")) == [True]
    assert caplog.records == []
    assert asyncio.run(asked("/refuse", "/raise", "/x", "/raise", "/refuse")) == [False, False, True, False, False]
    assert [(record.levelname, record.getMessage(), record.service) for record in caplog.records] == [
        ("WARNING", f"the lighter variant gives no answer: {kind}", "shop") for kind in ("InvalidInput", "RuntimeError")
    ]
