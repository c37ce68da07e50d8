"""A RayService after KubeRay has read and written it whole, as it does to add its finalizer.

Seen with KubeRay of August 2026 on Kubernetes 1.36: Go writes amounts in their shortest form, leaves empty texts out,
and writes structures that are empty.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from tests.support.json_fields import Object

BINARY, DECIMAL = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), ("", "k", "M", "G")


def through_kuberay(service: Object) -> Object:
    """The object as it comes back; what went in is left as it was."""
    made: Object = _written(service)
    for group in made["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        group.setdefault("scaleStrategy", {})
    return made


def _written(part: Any) -> Any:
    if isinstance(part, list):
        return [_written(item) for item in part]
    if not isinstance(part, dict):
        return part
    made = {key: _written(value) for key, value in part.items()}
    if "operator" in made and made.get("value") == "":  # a toleration
        del made["value"]
    if "sizeLimit" in made:
        made["sizeLimit"] = _shortest(made["sizeLimit"])
    for bound in ("requests", "limits"):
        if bound in made:
            made[bound] = {name: _shortest(str(amount)) for name, amount in made[bound].items()}
    return made


def _shortest(amount: str) -> str:
    """As Go's resource.Quantity writes it."""
    value: Decimal = parse_quantity(amount)
    base, suffixes = (1_024, BINARY) if amount.endswith("i") else (1_000, DECIMAL)
    if value % 1:
        return f"{int(value * 1_000)}m"
    whole, index = int(value), 0
    while whole and whole % base == 0 and index < len(suffixes) - 1:
        whole, index = whole // base, index + 1
    return f"{whole}{suffixes[index]}"
