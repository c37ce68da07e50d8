"""Ingestion as tasks of Ray Data: the same functions, the same data."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.errors import InvalidInput
from serving.recommender.generated import writing
from serving.recommender.generated.events import World
from serving.recommender.generated.shop import Shop
from serving.recommender.ingest.on_ray import ingest_on_ray
from serving.recommender.ingest.pipeline import ingest

pytestmark = pytest.mark.train


@pytest.fixture
def cluster() -> Iterator[None]:
    """Two workers on this machine."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=200 << 20)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("cluster")
def test_many_tasks_give_the_data_of_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files cleaned and parts settled by tasks give the same report, the same events and the same rejected rows; and a
    bad file is the same error."""
    monkeypatch.setattr(writing, "EVENTS_PER_FILE", 20_000)
    writing.write(World(Shop(users=700, items=90, days=60)), tmp_path / "shop", file_format="csv", images=False)
    schema, last = tmp_path / "shop" / "data.yaml", tmp_path / "shop" / "events-00002.csv"
    with last.open("a") as file:
        file.write("not,an,event\n" + last.read_text().splitlines()[-1] + "\n")
    one, many = ingest(schema, tmp_path / "one"), ingest_on_ray(schema, tmp_path / "many")
    assert one.report == many.report
    assert one.report.events.rejected == {"duplicate": 1, "malformed row": 1}
    assert one.events().collect().sort("event_id").equals(many.events().collect().sort("event_id"))
    assert (one.folder / "rejected.csv").read_bytes() == (many.folder / "rejected.csv").read_bytes()

    last.write_bytes(b"")
    with pytest.raises(InvalidInput) as caught:
        ingest_on_ray(schema, tmp_path / "bad")
    assert str(last) in caught.value.where
    assert not list(tmp_path.glob("*bad*"))
