"""Small shops, as purchases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serving.recommender.orders.purchases import Purchases


def purchases(rows: Sequence[tuple[int, int, int]], users: int = 0, items: int = 0) -> Purchases:
    """Purchases from (user, item, day), with ids u0, u1, ... and i0, i1, ..., and more if wanted."""
    ordered = sorted(set(rows), key=lambda row: (row[2], row[0], row[1]))
    user, item, day = (np.array([row[place] for row in ordered], dtype=np.int64) for place in range(3))
    most_users = max([users, *(1 + row[0] for row in rows)])
    most_items = max([items, *(1 + row[1] for row in rows)])
    return Purchases(
        user, item, day, tuple(f"u{n}" for n in range(most_users)), tuple(f"i{n}" for n in range(most_items))
    )
