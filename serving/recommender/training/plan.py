"""How long and how fast a network learns."""

from __future__ import annotations

from pydantic import Field

from serving.recommender.method import Settings


class Plan(Settings):
    """Of one training."""

    seed: int = Field(default=0, ge=0, lt=1 << 63)
    epochs: int = Field(default=10, ge=1, le=10_000)
    stop_after: int | None = Field(default=None, ge=1, description="Epochs after which to stop; unset: after all.")
    learning_rate: float = Field(default=3e-3, gt=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    decay: bool = Field(default=True, description="Lower the learning rate to 0 over the epochs, linearly.")
    patience: int | None = Field(
        default=None, ge=1, description="Stop after so many epochs without gain; unset: never."
    )
