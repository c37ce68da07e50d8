"""What long runs leave behind: one text file each below docs/campaigns, committed with the code it was run on."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "campaigns"


def keep(name: str, lines: Iterable[str]) -> None:
    """Write the report of a campaign, with its date."""
    when = time.strftime("%d %B %Y, %H:%M UTC", time.gmtime())
    (FOLDER / f"{name}.txt").write_text("\n".join([f"{name}, {when}", *lines]) + "\n")
