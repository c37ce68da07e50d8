"""A model whose behaviour each test chooses: written into the test project as `shop_model.py`.

It reads the file `behaviour.json` of the project at each request, keyed by site and version, so that
a running replica can be told to fail.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def site() -> str:
    """The site this process belongs to, from the marker of its process group."""
    return os.environ.get("HCCTL_PROCESS_GROUP", "").rstrip("/").rpartition("/")[2]


class ShopModel:
    """Answers with site, version label and process id; or as told."""

    def __init__(self, label: str) -> None:
        self.label = label

    @classmethod
    def load(cls, directory: Path, config: dict[str, Any]) -> ShopModel:
        """Fails when the version says so."""
        label = (directory / "label.txt").read_text().strip()
        if label == "does-not-load":
            raise RuntimeError("this version cannot be loaded")
        return cls(label)

    def predict_batch(self, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One answer per request."""
        behaviour = json.loads((HERE / "behaviour.json").read_text())
        told = behaviour.get(f"{site()}/{self.label}") or behaviour.get(site()) or behaviour.get(self.label) or {}
        time.sleep(told.get("sleep_s", 0.0))
        probe = [bool((request["body"] or {}).get("probe")) for request in requests]
        return [
            {"status": 500, "error": "told to fail"}
            if told.get("fail") and not (told.get("probes_pass") and is_probe)
            else {"site": site(), "label": self.label, "pid": os.getpid()}
            for is_probe in probe
        ]
