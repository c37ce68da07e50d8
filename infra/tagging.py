"""The tags that everything of a stack carries. Pure.

Passed to each resource by hand, not as defaults of the provider: launch templates, and so the machines and volumes
that a node group starts, do not inherit those.
"""

from __future__ import annotations

from collections.abc import Mapping

STACK_TAG = "hcctl:stack"
"""Whose it is; the budget sums cost by it, the orphan sweep finds machines by it."""
POOL_TAG = "hcctl:pool"
"""On the machines and volumes of a pool."""


def stack_tags(name: str, own: Mapping[str, str]) -> dict[str, str]:
    """Tags of all resources of the stack `name`; `own` are the user's."""
    return {**own, STACK_TAG: name, "hcctl:managed-by": "pulumi"}
