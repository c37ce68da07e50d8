"""The recommender on disk: weights and histories as safetensors, names as JSON. No pickle.

`model.safetensors`  the weights of `TwoTower`
`shop.safetensors`   popularity of the items, and what each customer bought
`items.json`         ids, titles and prices, in the order of the embeddings
`users.json`         customer ids, in the order of the histories
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import JsonValue
from safetensors.torch import load_file, save_file

from serving.errors import CorruptArtefact
from serving.recommender.networks.two_tower import TwoTower
from serving.recommender.orders.lines import Index, UserLines

if TYPE_CHECKING:
    from serving.recommender.demo.train import TrainedRecommender

WEIGHTS, SHOP, ITEMS, USERS = "model.safetensors", "shop.safetensors", "items.json", "users.json"
POPULARITY, HISTORY_ITEMS, HISTORY_OFFSETS = "popularity", "history_items", "history_offsets"

IO_SCHEMA: dict[str, JsonValue] = {
    "request": {
        "type": "object",
        "properties": {
            "user_id": {"type": "string"},
            "history": {"type": "array", "items": {"type": "string"}, "maxItems": 1_000},
            "k": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
            "exclude_bought": {"type": "boolean", "default": False},
        },
        "oneOf": [{"required": ["user_id"]}, {"required": ["history"]}],
        "additionalProperties": False,
    },
    "response": {
        "type": "object",
        "properties": {
            "items": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string"},
                        "title": {"type": "string"},
                        "price": {"type": "number"},
                        "score": {"type": "number"},
                    },
                },
            },
            "source": {"enum": ["model", "popularity"]},
        },
    },
}


@dataclass(frozen=True)
class ArtefactDescription:
    """What the registry's manifest says about the artefact."""

    config: dict[str, JsonValue]
    metrics: dict[str, float]
    schema: dict[str, JsonValue]


@dataclass(frozen=True, eq=False)
class Shop:
    """A loaded artefact."""

    model: TwoTower
    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    prices: tuple[float, ...]
    user_ids: tuple[str, ...]
    popularity: NDArray[np.float32]
    history_items: Index
    history_offsets: Index


def save(trained: TrainedRecommender, directory: Path) -> ArtefactDescription:
    """Write the artefact into `directory`, which exists.

    Raises:
        OSError: the disk is full or failing.
    """
    orders, model = trained.orders, trained.model
    lines = UserLines.of(orders)
    recent_start = np.maximum(lines.offsets[:-1], lines.offsets[1:] - model.history)
    kept = np.concatenate([np.arange(s, e) for s, e in zip(recent_start, lines.offsets[1:], strict=True)])
    offsets = np.concatenate([[0], np.cumsum(lines.offsets[1:] - recent_start)])
    shop = {
        POPULARITY: torch.from_numpy(trained.popularity),
        HISTORY_ITEMS: torch.from_numpy(lines.item[kept].astype(np.int32)),
        HISTORY_OFFSETS: torch.from_numpy(offsets.astype(np.int64)),
    }
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, directory / WEIGHTS)
    save_file(shop, directory / SHOP)
    prices = [round(float(price), 2) for price in orders.prices]
    _write_json(directory / ITEMS, {"ids": orders.item_ids, "titles": orders.titles, "prices": prices})
    _write_json(directory / USERS, {"ids": orders.user_ids})
    return ArtefactDescription(
        config={"dim": model.dim, "history": model.history},
        metrics={
            f"{row}.{name}": round(value, 6)
            for row, quality in trained.quality.items()
            for name, value in asdict(quality).items()
        },
        schema=IO_SCHEMA,
    )


def load(directory: Path, *, dim: int, history: int) -> Shop:
    """Read an artefact; every tensor is checked for name, type, shape and range before it is used.

    Raises:
        CorruptArtefact: a file is missing or does not fit the others; `where` is the file.
    """
    items = _read_json(directory / ITEMS, ("ids", "titles", "prices"))
    users = _read_json(directory / USERS, ("ids",))
    n_items, n_users = len(items["ids"]), len(users["ids"])
    model = TwoTower(n_items, dim, history=history)
    model.load_state_dict(_tensors(directory / WEIGHTS, dict(model.state_dict())))
    found = _tensors(
        directory / SHOP,
        {
            POPULARITY: torch.empty(n_items, dtype=torch.float32),
            HISTORY_ITEMS: None,
            HISTORY_OFFSETS: torch.empty(n_users + 1, dtype=torch.int64),
        },
    )
    bought, offsets = found[HISTORY_ITEMS], found[HISTORY_OFFSETS]
    sound = (
        bought.dtype == torch.int32
        and bought.dim() == 1
        and bool(((bought >= 0) & (bought < n_items)).all())
        and int(offsets[0]) == 0
        and int(offsets[-1]) == len(bought)
        and bool((offsets.diff() >= 0).all())
    )
    if not sound:
        raise _corrupt(directory / SHOP, "the histories do not fit the items and users")
    return Shop(
        model=model.eval(),
        item_ids=tuple(items["ids"]),
        titles=tuple(items["titles"]),
        prices=tuple(items["prices"]),
        user_ids=tuple(users["ids"]),
        popularity=found[POPULARITY].numpy(),
        history_items=bought.numpy().astype(np.int64),
        history_offsets=offsets.numpy(),
    )


def _tensors(path: Path, expected: dict[str, torch.Tensor | None]) -> dict[str, torch.Tensor]:
    """The tensors of a file, alike in name, type and shape to the expected ones (None: any), all finite."""
    try:
        found: dict[str, torch.Tensor] = load_file(path)
    except Exception as error:  # safetensors raises its own type, OSError and others
        raise _corrupt(path, str(error)[:200]) from error
    if found.keys() != expected.keys():
        raise _corrupt(path, f"its tensors are not {', '.join(sorted(expected))}")
    for name, like in expected.items():
        tensor = found[name]
        if like is not None and (tensor.dtype, tensor.shape) != (like.dtype, like.shape):
            want = f"{like.dtype} {list(like.shape)}"
            raise _corrupt(path, f"tensor {name} is {tensor.dtype} {list(tensor.shape)}, not {want}")
        if not bool(torch.isfinite(tensor).all()):
            raise _corrupt(path, f"tensor {name} is not finite")
    return found


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def _read_json(path: Path, columns: tuple[str, ...]) -> dict[str, list[Any]]:
    """An object of equally long lists: strings, or numbers for prices."""
    try:
        value: dict[str, list[Any]] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _corrupt(path, str(error)[:200]) from error
    if not isinstance(value, dict) or value.keys() != set(columns):
        raise _corrupt(path, f"it is not an object of {', '.join(columns)}")
    for column in columns:
        kinds = (int, float) if column == "prices" else (str,)
        if not isinstance(value[column], list) or not all(type(entry) in kinds for entry in value[column]):
            raise _corrupt(path, f"{column} is not a list of {kinds[-1].__name__}")
    if len({len(value[column]) for column in columns}) != 1 or not value["ids"]:
        raise _corrupt(path, "its lists are empty or differ in length")
    return value


def _corrupt(path: Path, why: str) -> CorruptArtefact:
    return CorruptArtefact(
        "the recommender cannot be loaded", where=path.name, why=why, next_step="train and push it again"
    )
