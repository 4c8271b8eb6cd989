"""Dates and spells of time that others wrote; no number is too large for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""What lies before or after counts as these; months can be taken from them, and added."""

LONGEST = timedelta(days=1_000_000)
"""A longer spell counts as this one."""


def moment_of(seconds: float) -> datetime:
    """The moment of Unix seconds; of 1e18 seconds, which no calendar has, the last one."""
    if math.isnan(seconds):
        return FIRST
    bounded = min(max(seconds, FIRST.timestamp()), LAST.timestamp())
    return datetime.fromtimestamp(bounded, UTC)


def spell_of(seconds: float) -> timedelta:
    """The spell of that many seconds, never negative."""
    if math.isnan(seconds):
        return timedelta()
    return timedelta(seconds=min(max(seconds, 0.0), LONGEST.total_seconds()))


def parsed_moment(text: str) -> datetime | None:
    """The moment of an ISO 8601 text; None without a zone or out of bounds, too."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    # without a zone it cannot be compared with others
    if moment.tzinfo is None or not FIRST.year <= moment.year < LAST.year:
        return None
    return moment


@dataclass(frozen=True)
class IsMoment:
    """A text that is a moment, by :func:`parsed_moment`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """The rule for pydantic."""
        from pydantic_core import PydanticCustomError, core_schema

        def demand(text: str) -> str:
            if parsed_moment(text) is None:
                words = "expected a date with a time and a zone (2026-01-31T12:00:00+00:00)"
                raise PydanticCustomError("moment", words)
            return text

        return core_schema.no_info_after_validator_function(demand, core_schema.str_schema())


@dataclass(frozen=True)
class IsFinite:
    """A number that is neither infinite nor NaN."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """The rule for pydantic."""
        from pydantic_core import core_schema

        return core_schema.float_schema(allow_inf_nan=False)


Moment = Annotated[str, IsMoment()]
Seconds = Annotated[float, IsFinite()]
