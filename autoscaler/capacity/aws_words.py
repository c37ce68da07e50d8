"""What AWS says, in our words: notices of spot reclaims, and which quota a machine counts against. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime

INTERRUPTION = "EC2 Spot Instance Interruption Warning"
WARNED_S = 120.0
"""From the warning until the machine is gone, as AWS promises."""


@dataclass(frozen=True)
class Interruption:
    """AWS takes a spot machine back."""

    machine: str
    ends_s: float


def read_interruption(body: str) -> Interruption | None:
    """The warning in a message of the queue; None for events of another kind.

    Raises:
        ValueError: it is no event.
    """
    try:
        event = json.loads(body)
        if event["detail-type"] != INTERRUPTION:
            return None
        at_s = datetime.fromisoformat(event["time"]).timestamp()
        return Interruption(str(event["detail"]["instance-id"]), at_s + WARNED_S)
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no event of EC2: {type(error).__name__}") from None


_QUOTAS = {
    ("standard", False): "L-1216C47A",
    ("standard", True): "L-34B43A08",
    ("g", False): "L-DB2E81BA",
    ("g", True): "L-3819A6DF",
    ("p", False): "L-417A185B",
    ("p", True): "L-7212CCBC",
}
"""Codes of Service Quotas, in vCPUs: running on-demand machines of a class, and spot requests of it."""
_STANDARD = frozenset("acdhimrtz")


def quota_class(instance_type: str) -> str | None:
    """Machines of one class share a quota; None for classes that are not looked after here."""
    family = re.match(r"[a-z]+", instance_type)
    first = family.group() if family else ""
    if first in {"g", "vt", "gr"}:
        return "g"
    if first == "p":
        return "p"
    return "standard" if len(first) == 1 and first in _STANDARD else None


def quota_code(instance_type: str, *, spot: bool) -> str | None:
    """The quota that machines of this type count against; None where it is not known."""
    if spot and instance_type.startswith("p5"):
        return None  # of its own, and of several kinds
    found = quota_class(instance_type)
    return None if found is None else _QUOTAS[found, spot]
