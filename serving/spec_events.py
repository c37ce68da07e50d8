"""The `events` section of `service.yaml`: rushes that are known beforehand, once or every week."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, StringConstraints, field_validator, model_validator

from serving.declared import ClockTime, Model, Name

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_S = 86_400
LONGEST_S = 7 * DAY_S

Moment = Annotated[str, StringConstraints(pattern=r"^20\d{2}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2})$")]
"""Date and time with its distance from UTC: never a time whose zone has to be guessed."""
ZoneName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}$", max_length=64)]


@dataclass(frozen=True)
class Occurrence:
    """One time that an event takes place, in seconds since the epoch."""

    start_s: float
    end_s: float


class Weekly(Model):
    """Days of the week and a time of day where people are: it stays at eight when the clocks change."""

    days: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(
        min_length=1, max_length=7, description="Days on which it starts."
    )
    at: ClockTime = Field(description="Time of day at which it starts, in the zone.")
    zone: ZoneName = Field(default="UTC", description="Time zone, e.g. Europe/Berlin.")

    @model_validator(mode="after")
    def _days_once(self) -> Self:
        if len(set(self.days)) != len(self.days):
            raise ValueError("days has a day twice; keep one")
        return self

    @field_validator("zone")
    @classmethod
    def _known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(
                f"there is no time zone {zone!r} here; write one as Europe/Berlin, or install the system's tzdata"
            ) from None
        return zone


class Event(Model):
    """A rush that is known beforehand: capacity for it is ready when it starts, and may go when it ends."""

    name: Name = Field(description="Shown in `hcctl why`.")
    starts: Moment | None = Field(
        default=None, description="When it starts, with its distance from UTC: 2026-11-27T20:00+01:00. Or `weekly`."
    )
    weekly: Weekly | None = Field(default=None, description="When it starts every week. Or `starts`.")
    duration_s: float = Field(gt=0, le=LONGEST_S, description="How long it lasts.")
    expected_rps: float | None = Field(
        default=None, gt=0, le=10_000_000, description="Requests per second it brings, all in all. Or `rate_factor`."
    )
    rate_factor: float | None = Field(
        default=None,
        ge=1,
        le=1_000,
        description="The rate just before it is multiplied by this (mean of about six minutes). Or `expected_rps`.",
    )

    @field_validator("starts")
    @classmethod
    def _exists(cls, starts: str | None) -> str | None:
        try:
            datetime.fromisoformat(starts or "2000-01-01")
        except ValueError:
            raise ValueError(f"{starts!r} is in no calendar; write day and time as 2026-11-27T20:00+01:00") from None
        return starts

    @model_validator(mode="after")
    def _one_of_each(self) -> Self:
        if (self.starts is None) == (self.weekly is None):
            raise ValueError("starts and weekly say both when it starts; give exactly one of them")
        if (self.expected_rps is None) == (self.rate_factor is None):
            raise ValueError("expected_rps and rate_factor say both how much comes; give exactly one of them")
        return self

    def occurrence(self, now_s: float) -> Occurrence | None:
        """The one that is going on or comes next; None when it is over for good."""
        return next((each for each in self._from(now_s) if each.end_s > now_s), None)

    def _from(self, now_s: float) -> Iterator[Occurrence]:
        if self.weekly is None:
            start_s = datetime.fromisoformat(self.starts or "").timestamp()
            yield Occurrence(start_s, start_s + self.duration_s)
            return
        zone = ZoneInfo(self.weekly.zone)
        hour, minute = map(int, self.weekly.at.split(":"))
        first = datetime.fromtimestamp(now_s - self.duration_s - DAY_S, zone)
        for number in range(round(self.duration_s / DAY_S) + 10):
            day = first + timedelta(days=number)
            if DAYS[day.weekday()] in self.weekly.days:
                start_s = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).timestamp()
                yield Occurrence(start_s, start_s + self.duration_s)
