"""The workers that train one network together: each on its share of every batch, with the mean of all gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Team:
    """This worker among all. With more than one, torch's process group is already there (Ray Train makes it)."""

    rank: int = 0
    size: int = 1

    def share(self, batch: int) -> int:
        """How many of a batch are this worker's; at least 1."""
        return max(1, batch // self.size)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each by its mean over all workers."""
        if self.size > 1:
            whole = torch.cat([tensor.reshape(-1) for tensor in tensors])
            distributed.all_reduce(whole)
            whole /= self.size
            first = 0
            for tensor in tensors:
                tensor.copy_(whole[first : first + tensor.numel()].view_as(tensor))
                first += tensor.numel()

    def mean(self, value: float) -> float:
        """The mean of a number over all workers."""
        if self.size == 1:
            return value
        told = torch.tensor([value], dtype=torch.float64)
        self.average([told])
        return float(told)

    def agree(self, value: float | None) -> float | None:
        """The first worker's value, for all: a decision must not depend on the last bit of each one's sums."""
        if self.size == 1 or value is None:
            return value
        told = torch.tensor([value], dtype=torch.float64)
        distributed.broadcast(told, 0)
        return float(told)


ALONE = Team()
