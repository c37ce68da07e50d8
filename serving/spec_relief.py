"""The `relief` section of `service.yaml`: what the gateway does for requests while capacity is short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from serving.declared import ImportPath, Model, Seconds, Share

ReliefLevel = Literal["light", "shed_low", "shed_normal"]
RELIEF_LEVELS: tuple[ReliefLevel, ...] = ("light", "shed_low", "shed_normal")
"""In the order of their severity; each includes those before it."""
SHED: Mapping[ReliefLevel, Literal["low", "normal"]] = {"shed_low": "low", "shed_normal": "normal"}
"""The priority that a level refuses; high is refused at none."""


class ReliefVariant(Model):
    """A model light enough to answer on a processor core inside the relief process."""

    import_path: ImportPath = Field(
        description="`package.module:attribute` of a class with `load(directory, config)` and "
        "`predict_batch(requests)`, or a torch.nn.Module class. It is loaded from the files of the version that serves."
    )
    config: dict[str, JsonValue] = Field(default_factory=dict, description="Passed to the variant when it is built.")
    slots: int = Field(
        default=8,
        ge=1,
        le=1_000,
        description="Requests it may hold at once; they are answered one after the other. More wait for a replica.",
    )


class ReliefLight(Model):
    """Answers that need no replica: kept ones, or those of a lighter variant, from a small process of their own."""

    over: float = Field(
        default=0.5,
        gt=0,
        le=1_000,
        description="Begins when the expected wait at the gateway is over this share of the SLO's latency. Half: "
        "the other half is left for the answer itself.",
    )
    max_stale_s: float = Field(
        default=60.0, ge=0, le=86_400, description="A kept answer may be this old; 0: none is kept."
    )
    fill_share: Share = Field(
        default=0.1,
        description="Share of the requests of declared routes that pass through the relief process while nobody "
        "waits, so that their answers are kept. More keeps more answers, and costs each of these requests a "
        "millisecond or two.",
    )
    cache_mib: int = Field(
        default=32, ge=1, le=4_096, description="Memory for kept answers; beyond it the longest unused ones go."
    )
    slots: int = Field(default=16, ge=2, le=1_000, description="Requests the relief process may hold at once.")
    max_queue: int = Field(
        default=32, ge=1, le=10_000, description="Requests that may wait for it; more wait for a replica like others."
    )
    variant: ReliefVariant | None = Field(
        default=None, description="Answers what is not kept. Unset: such requests wait for a replica."
    )

    @model_validator(mode="after")
    def _has_answers(self) -> Self:
        if self.max_stale_s == 0 and self.variant is None:
            raise ValueError("nothing can answer; raise max_stale_s, or declare a variant")
        return self


class ReliefShed(Model):
    """Requests that are refused (429 with Retry-After), so that the others are answered in time."""

    low_over: float = Field(
        default=1.0,
        gt=0,
        le=1_000,
        description="Low priority is refused while the expected wait at the gateway is over this share of the SLO's "
        "latency. 1: from then on no new request is in time.",
    )
    normal_over: float | None = Field(
        default=None, gt=0, le=1_000, description="The same for normal priority; unset: never. High is never refused."
    )

    @model_validator(mode="after")
    def _low_first(self) -> Self:
        if self.normal_over is not None and self.normal_over < self.low_over:
            raise ValueError("normal_over is below low_over; low priority is refused first, so raise normal_over")
        return self


class Relief(Model):
    """What the gateway does for requests while capacity is short. Each level adds to those before it."""

    light: ReliefLight | None = Field(default=None, description="First level; unset: not used.")
    shed: ReliefShed | None = Field(default=None, description="Second and third level; unset: not used.")
    leave_share: Share = Field(
        default=0.5,
        description="A level is left when the expected wait is at most this share of what it began at, and the load, "
        "with what the level kept away, fits the capacity. The gap stops flapping.",
    )
    leave_after_s: Seconds = Field(default=5.0, description="This must hold so long; then one level is left.")

    @model_validator(mode="after")
    def _levels_rise(self) -> Self:
        if self.light is None and self.shed is None:
            raise ValueError("no level is declared; declare light or shed, or leave relief out")
        if self.light and self.shed and self.shed.low_over < self.light.over:
            raise ValueError(
                "shed begins before light; light answers come first, so raise shed.low_over above light.over"
            )
        return self

    def entries_s(self, slo_s: float) -> dict[ReliefLevel, float]:
        """The declared levels, mildest first, with the expected wait in seconds over which each begins."""
        shares: dict[ReliefLevel, float | None] = {
            "light": self.light.over if self.light else None,
            "shed_low": self.shed.low_over if self.shed else None,
            "shed_normal": self.shed.normal_over if self.shed else None,
        }
        return {level: share * slo_s for level, share in shares.items() if share is not None}
