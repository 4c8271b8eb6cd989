"""Facts of gateways: what was seen when one of them lost a pod."""

from __future__ import annotations

from dataclasses import dataclass

from ...machine import UNMEASURED, Machine
from ...timelines import Timeline


@dataclass(frozen=True)
class GatewayLoss:
    """One pod of the gateway of ``network`` lost, out of ``replicas``.

    - ``timeline`` has nothing but the flows that came through it from other networks.
    - ``whole_seconds`` is how long it took until it had as many ready pods as before.
    """

    network: str
    cluster: str
    replicas: int
    began: float
    whole_seconds: float
    timeline: Timeline
    machine: Machine = UNMEASURED
