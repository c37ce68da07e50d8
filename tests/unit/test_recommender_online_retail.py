"""A real shop's orders through ingestion."""

from pathlib import Path

import pytest
import yaml

from benchmarks.recommender import data_folder
from serving.recommender.ingest.pipeline import ingest
from serving.recommender.orders.data import load_orders
from serving.recommender.orders.purchases import Purchases

pytestmark = pytest.mark.shared

FOLDER = data_folder()
SCHEMA = {
    "kind": "ShopData",
    "events": {
        "files": [str(FOLDER / "interactions.csv.gz")],
        "type": "purchase",
        "columns": {
            "user_id": "user_id",
            "item_id": "item_id",
            "timestamp": "timestamp",
            "quantity": "quantity",
            "unit_price": "unit_price",
            "request_id": "order_id",
        },
    },
    "items": {
        "files": [str(FOLDER / "items.csv")],
        "columns": {"item_id": "item_id", "title": "title", "price": "median_price"},
    },
}


def named(purchases: Purchases) -> set[tuple[str, str, int]]:
    """User, item and day of each purchase."""
    rows = zip(purchases.user.tolist(), purchases.item.tolist(), purchases.day.tolist(), strict=True)
    return {(purchases.user_ids[user], purchases.item_ids[item], day) for user, item, day in rows}


def test_online_retail_gives_the_purchases_of_its_orders(tmp_path: Path) -> None:
    """Only what is said twice goes, and the purchases are those of the strict reader: every one, and no other."""
    path = tmp_path / "data.yaml"
    path.write_text(yaml.safe_dump(SCHEMA))
    data = ingest(path, tmp_path / "clean")
    orders = load_orders(FOLDER)
    assert data.report.events.rows == len(orders)
    assert data.report.events.rejected.keys() == {"duplicate"}
    found, wanted = data.purchases(), Purchases.of(orders)
    assert len(found) == len(wanted)
    assert found.item_ids == wanted.item_ids
    assert named(found) == named(wanted)
