"""Train the recommender in a process of its own: `python -m serving.recommender.demo --help`.

Prints one JSON object on stdout: what the registry's manifest needs, and the shop's opening hours.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

from serving.errors import HcctlError
from serving.recommender.demo.artefact import save
from serving.recommender.demo.train import train
from serving.recommender.generated.orders import generate_orders
from serving.recommender.orders.data import Orders, load_orders

GENERATED_USERS, GENERATED_ITEMS, GENERATED_DAYS = 1_250, 1_200, 120


def main() -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m serving.recommender.demo", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="existing folder for the artefact")
    parser.add_argument("--data", type=Path, help="folder with the shop's CSV files; a generated shop if unset")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-seconds", type=float, default=60.0)
    options = parser.parse_args()
    try:
        orders = load_orders(options.data) if options.data else _generated(options.seed)
        trained = train(orders, seed=options.seed, max_seconds=options.max_seconds)
        description = save(trained, options.out)
    except HcctlError as error:
        sys.stderr.write(f"{error.one_line()}\n")
        return error.exit_code
    report = asdict(description) | {
        "order_lines": len(orders),
        "users": len(orders.user_ids),
        "items": len(orders.item_ids),
        "test_users": trained.test_users,
        "steps": trained.steps,
        "train_s": round(trained.train_s, 3),
        "hour_counts": np.bincount(orders.timestamp_s // 3_600 % 24, minlength=24).tolist(),
    }
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


def _generated(seed: int) -> Orders:
    return generate_orders(seed, GENERATED_USERS, GENERATED_ITEMS, GENERATED_DAYS)


if __name__ == "__main__":
    sys.exit(main())
