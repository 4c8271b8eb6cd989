"""The table: every rule, in the order in which they are told."""

from __future__ import annotations

from . import (
    access,
    capacity,
    configuration,
    definitions,
    failover,
    identity,
    known_bad,
    rotation,
    skew,
)
from .rules import Rule, Weight

_WEIGHTS = list(Weight)

RULES: tuple[Rule, ...] = tuple(
    sorted(
        (
            *skew.RULES,
            *known_bad.RULES,
            *access.RULES,
            *definitions.RULES,
            *failover.RULES,
            *configuration.RULES,
            *identity.RULES,
            *rotation.RULES,
            *capacity.RULES,
        ),
        key=lambda rule: _WEIGHTS.index(rule.weight),
    )
)
"""All rules, those that block first."""
