"""Ingestion on many machines: the two stages of `pipeline`, as tasks of Ray Data. Needs the extra `train`.

A file is cleaned by one task, so many files go faster than one; a part, which holds all events of its users, is
settled by one. The folder must be one that all machines see, as it holds the result and the rejected rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.recommender.ingest.dataset import Dataset
from serving.recommender.ingest.pipeline import Source, clean_file, ingest, settle_part

if TYPE_CHECKING:
    from collections.abc import Iterator


def ingest_on_ray(schema: Path, folder: Path) -> Dataset:
    """As `pipeline.ingest`, on the Ray cluster that this process is connected to, or starts here.

    Raises:
        InvalidInput: the schema or a file cannot be used, or most rows are bad.
        HcctlError: the disk is full, read-only or failing, or Ray Data is not installed.
    """
    return ingest(schema, folder, run=tasks)


def tasks(sources: list[Source]) -> None:
    """Both stages, as tasks."""
    import polars as pl

    from serving.errors import HcctlError

    try:
        import ray
        import ray.data
    except ImportError as problem:
        raise HcctlError(
            "Ray Data is not installed", why=str(problem)[:200], next_step="install hcctl with its extra: hcctl[train]"
        ) from problem

    def cleaned(batch: dict[str, Any]) -> Iterator[Any]:
        for number in batch["number"]:
            for part, frame in clean_file(sources[int(number)]):
                yield frame.with_columns(pl.lit(part).alias("part")).to_arrow()

    def settled(part: Any) -> Any:
        events = pl.DataFrame(part)
        settle_part(sources[0], int(events["part"][0]), events.drop("part"))
        return events.select(pl.col("part").first()).to_arrow()

    numbers = ray.data.from_items([{"number": source.number} for source in sources])
    try:
        events = numbers.map_batches(cleaned, batch_size=1, batch_format="numpy")
        events.groupby("part").map_groups(settled, batch_format="pyarrow").materialize()
    except ray.exceptions.RayTaskError as problem:
        if isinstance(problem.cause, HcctlError):
            raise problem.cause from problem
        raise
