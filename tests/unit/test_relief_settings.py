"""What the relief process reads: one service of a name, and refusals that name the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from serving.errors import InvalidInput
from serving.relief.settings import read_services

SHOP = {"name": "shop", "version": "", "application": "/shop-1/", "version_dir": "", "light": {}}


@pytest.mark.parametrize(
    ("services", "why"),
    [
        ([SHOP, {**SHOP, "light": {"slots": 1}}], "services.1.light.slots: "),
        ([SHOP, {**SHOP, "x" * 1_000: 1}], f"services.1.{'x' * 189}: "),
        ([SHOP, {**SHOP, "version": "v2"}], "services: two have the same name"),
    ],
)
def test_a_refusal_names_the_field(tmp_path: Path, services: list[dict[str, Any]], why: str) -> None:
    """The first problem comes with its place, in a bounded text."""
    file = tmp_path / "relief.json"
    file.write_text(json.dumps({"services": services}))
    with pytest.raises(InvalidInput) as caught:
        read_services(file)
    assert caught.value.where == str(file)
    assert caught.value.why.startswith(why)
    assert len(caught.value.why) <= 500
