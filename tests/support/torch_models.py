"""Small torch modules for tests."""

from __future__ import annotations

import torch


class Scale(torch.nn.Module):
    """Multiplies each example by one learned weight per feature."""

    input_shape = (3,)

    def __init__(self, features: int = 3) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(features))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs * self.weight
