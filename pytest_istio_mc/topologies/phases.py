"""Phases: what an upgrade consists of, by method, and how long each took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Method(Enum):
    """How an istiod is replaced."""

    CANARY = "canary"
    IN_PLACE = "in-place"
    RESTART = "restart"


class Phase(Enum):
    """A part of an upgrade; they come in this order."""

    DEFINITIONS = "definitions"
    ISTIOD = "istiod"
    WORKLOADS = "workloads"
    GATEWAYS = "gateways"
    TAGS = "tags"
    REMOVAL = "removal"


PHASES: Mapping[Method, tuple[Phase, ...]] = {
    Method.CANARY: tuple(Phase),
    Method.IN_PLACE: (Phase.DEFINITIONS, Phase.ISTIOD, Phase.WORKLOADS, Phase.GATEWAYS),
    Method.RESTART: (Phase.ISTIOD, Phase.WORKLOADS, Phase.GATEWAYS),
}
"""The phases of each method. All but the first and the last two are gone through by cluster."""


@dataclass(frozen=True)
class PhaseTime:
    """A phase that was gone through: when it began (seconds since the epoch), and how long."""

    phase: Phase
    where: str
    began: float
    seconds: float
