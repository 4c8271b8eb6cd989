"""Precheck: what of a mesh an upgrade of Istio would break, by rules."""

from __future__ import annotations

from ...snapshot import Snapshot
from ..releases import Release
from .rules import Outlook, Rule, Situation, Standing, Weight, outlook
from .table import RULES

__all__ = ["RULES", "Outlook", "Rule", "Standing", "Weight", "precheck"]


def precheck(snapshot: Snapshot, target: Release) -> tuple[Outlook, ...]:
    """How every rule stands in a mesh that is to be upgraded to ``target``."""
    situation = Situation(snapshot, target)
    return tuple(outlook(rule, situation) for rule in RULES)
