"""A torch module with more weights than work: scoring one example costs about as much as scoring many."""

from __future__ import annotations

import torch

FEATURES, WIDTH, LAYERS = 8, 2_048, 3


class Tower(torch.nn.Module):
    """Dense layers, about 34 MB of weights, all read once per forward pass."""

    input_shape = (FEATURES,)

    def __init__(self) -> None:
        super().__init__()
        widths = [FEATURES, *[WIDTH] * LAYERS]
        self.layers = torch.nn.ModuleList(torch.nn.Linear(a, b) for a, b in zip(widths, [*widths[1:], 4], strict=True))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            inputs = torch.relu(layer(inputs))
        return inputs
