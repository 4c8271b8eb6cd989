"""What judges of routed requests share: what lies below them, and how answers are spread."""

from __future__ import annotations

from ..routing import Sample
from .endpoints_live import REACH_BELOW as ENDPOINTS_BELOW

REACH_BELOW = (*ENDPOINTS_BELOW, "MC-CONTROL-001", "MC-CONTROL-008", "MC-CONTROL-009")
"""What keeps requests from reaching the instances of other clusters at all, whatever routes say."""


def spread(sample: Sample) -> str:
    """How many requests each cluster answered, in words."""
    answered = sample.answered
    return ", ".join(f"{cluster} {count}" for cluster, count in sorted(answered.items())) or "no answers"
