"""Observes the loss of a gateway pod."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...faults import Faults, pods
from ...observations import GatewayAddress
from ...probes.flows import flowing
from ...probes.load import Pulse
from ...probes.sampling import by_name_alone
from ...probes.traffic import Traffic
from ..apiserver.facts import GatewayLoss, Purpose, ends_steady
from ..apiserver.observe import (
    _AFTER_SECONDS,
    _MOST_SECONDS,
    BASELINE_SECONDS,
    DYING_SECONDS,
    _rest,
    _wait_for,
)
from ..apiserver.observe_flows import plan
from ..apiserver.observe_services import only_way

if TYPE_CHECKING:
    from ...kube import Kube


def lose_gateway(
    traffic: Traffic, kubes: Mapping[str, Kube], faults: Faults, gateway: GatewayAddress
) -> tuple[GatewayLoss, ...]:
    """Lose one pod of a gateway, first while it has as many as it had, then, if that was one, while it has two; requests go on meanwhile
    from every other network to a service that is only behind it."""
    scene = faults.scene
    workload = pods.gateway_workload(scene, gateway)
    with only_way(traffic, kubes, gateway.network) as services:
        losses = [_lose_gateway_pod(traffic, faults, gateway, *services)]
        if len(workload.pods) == 1:
            with pods.scaled(scene, workload, 2):
                losses.append(_lose_gateway_pod(traffic, faults, gateway, *services))
    return tuple(losses)


def _lose_gateway_pod(
    traffic: Traffic, faults: Faults, gateway: GatewayAddress, plain: str, retried: str
) -> GatewayLoss:
    spec, addresses = traffic.mesh.spec, by_name_alone(traffic)
    sent = [
        plan(
            traffic,
            cluster.name,
            purpose,
            service,
            detail=detail,
            interval=0.1,
            keep_alive=detail == "kept connections",
            address=addresses.get(cluster.name, ""),
        )
        for cluster in spec.data_planes
        if cluster.network != gateway.network
        for purpose, service in ((Purpose.ONLY, plain), (Purpose.RETRIED, retried))
        for detail in ("new connections", "kept connections")
    ]
    with Pulse() as pulse, flowing(traffic, sent, at_most_seconds=_MOST_SECONDS) as running:
        _rest(BASELINE_SECONDS)
        with running.marked(f"one gateway pod of {gateway.network} lost"):
            began = time.time()
            with faults.gateway_killed(gateway) as workload:
                pass
            whole = time.time() - began
        _rest(began + DYING_SECONDS - time.time())
        _wait_for(
            running,
            traffic.timeouts.endpoint_propagation,
            lambda timeline: all(map(ends_steady, timeline.flows)),
        )
        _rest(_AFTER_SECONDS)
    return GatewayLoss(
        gateway.network,
        gateway.cluster,
        len(workload.pods),
        began,
        whole,
        running.timeline,
        pulse.machine,
    )
