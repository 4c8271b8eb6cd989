"""What judges of routed requests share: what lies below them, and how answers are spread."""

from __future__ import annotations

from ..routing import Sample
from .trust_live import TRUST_BELOW

REACH_BELOW = (
    *TRUST_BELOW,
    "MC-TRUST-008",
    *(f"MC-ACCESS-{number:03}" for number in range(1, 9)),
    *(f"MC-CONTROL-{number:03}" for number in range(1, 10)),
    *(f"MC-DISCOVERY-{number:03}" for number in range(1, 4)),
    "MC-EASTWEST-001",
    "MC-EASTWEST-002",
    "MC-EASTWEST-003",
    "MC-EASTWEST-004",
    "MC-EASTWEST-007",
)
"""What keeps requests from reaching the instances of other clusters at all, whatever routes say."""


def spread(sample: Sample) -> str:
    """How many requests each cluster answered, in words."""
    answered = sample.answered
    return ", ".join(f"{cluster} {count}" for cluster, count in sorted(answered.items())) or "no answers"
