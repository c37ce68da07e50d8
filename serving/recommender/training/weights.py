"""The weights of a network as named arrays, and back."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from serving.errors import InvalidInput
from serving.recommender.method import Arrays, expect


def weights_of(network: nn.Module) -> Arrays:
    """All weights, by name."""
    return {name: tensor.detach().numpy().copy() for name, tensor in network.state_dict().items()}


def load_weights(network: nn.Module, learned: Arrays) -> None:
    """Put `learned` into `network`, which is then ready to score.

    Raises:
        ValueError: they are not weights of this network.
    """
    expect(learned, {name: (np.float32, tuple(tensor.shape)) for name, tensor in network.state_dict().items()})
    network.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in learned.items()})
    network.eval()


def warm_start(network: nn.Module, learned: Arrays, item_ids: tuple[str, ...], known_ids: tuple[str, ...]) -> int:
    """Begin with what another network has learned of `known_ids`; returns how many items were known to it.

    Weights of one shape are taken as they are. Those with a row per item are matched by item id, new items keep their
    random ones.

    Raises:
        InvalidInput: the other network is of another shape.
    """
    place = {item_id: row for row, item_id in enumerate(known_ids)}
    here = np.array([row for row, item_id in enumerate(item_ids) if item_id in place], dtype=np.int64)
    there = np.array([place[item_ids[row]] for row in here], dtype=np.int64)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            told = learned.get(name, np.empty(0, dtype=np.float32))
            per_item = tensor.ndim == told.ndim > 0 and tensor.shape[1:] == told.shape[1:]
            if per_item and tensor.shape[0] - len(item_ids) == told.shape[0] - len(known_ids) in {0, 1}:
                tensor[torch.from_numpy(here)] = torch.from_numpy(told[there])
            elif tensor.shape == told.shape:
                tensor.copy_(torch.from_numpy(told))
            else:
                raise InvalidInput(
                    "cannot start from this model",
                    where=name,
                    why=f"it has {tuple(told.shape)} numbers, not {tuple(tensor.shape)}",
                    next_step="start from a model of the same settings",
                )
    return len(here)
