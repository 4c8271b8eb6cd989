"""Observes connections and handshakes with gateways, and the loss of a gateway pod."""

from __future__ import annotations

import time

from ...errors import ObservationError
from ...faults import Faults, pods
from ...observations import Connection, GatewayAddress, NamedCall, Trial
from ...probes import trials
from ...probes.flows import flowing
from ...probes.load import Pulse
from ...probes.sampling import by_name_alone
from ...probes.traffic import Traffic
from ...rights import ROUTES, SERVICES, Right, Where, elsewhere, uses
from ..apiserver.facts import Purpose, ends_steady
from ..apiserver.observe_flows import (
    AFTER_SECONDS,
    BASELINE_SECONDS,
    DYING_SECONDS,
    MOST_SECONDS,
    plan,
    rest,
    wait_for,
)
from ..apiserver.observe_services import only_in
from ..site import Site
from .facts import GatewayLoss


@uses(
    SERVICES,
    ROUTES,
    *elsewhere(
        Right(("get", "list", "watch", "patch"), "apps", "deployments", Where.GATEWAYS, ""),
        Right(("list",), "apps", "replicasets", Where.GATEWAYS, ""),
        Right(("get",), "", "services", Where.GATEWAYS, ""),
        Right(("delete",), "", "pods", Where.GATEWAYS, ""),
        where=Where.GATEWAYS,
        why="kill a pod of an east-west gateway, and give it a second one meanwhile",
    ),
)
def gateway_lost(site: Site) -> tuple[GatewayLoss, ...]:
    """One pod of the last gateway lost: as it stands, and with two pods.

    Requests go on meanwhile from every other network to a service that is only behind it.
    """
    gateways = sorted(site.gateways(), key=lambda one: bool(one.service))
    if not gateways:
        raise ObservationError("east-west gateways", "none has an address")
    # the last one whose pods can be found, if there is any
    traffic, faults, gateway = site.traffic(), site.faults(), gateways[-1]
    workload = pods.gateway_workload(faults.scene, gateway)
    pods.demand_spare(faults.scene, workload)
    with only_in(site, gateway.network) as services:
        losses = [_lose_gateway_pod(traffic, faults, gateway, *services)]
        if len(workload.pods) == 1:
            with pods.scaled(faults.scene, workload, 2):
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
    with Pulse() as pulse, flowing(traffic, sent, at_most_seconds=MOST_SECONDS) as running:
        rest(BASELINE_SECONDS)
        with running.marked(f"one gateway pod of {gateway.network} lost"):
            began = time.time()
            with faults.gateway_killed(gateway) as workload:
                pass
            whole = time.time() - began
        rest(began + DYING_SECONDS - time.time())
        within = traffic.timeouts.endpoint_propagation
        wait_for(running, within, lambda timeline: all(map(ends_steady, timeline.flows)))
        rest(AFTER_SECONDS)
    network, replicas, timeline = gateway.network, len(workload.pods), running.timeline
    return GatewayLoss(network, gateway.cluster, replicas, began, whole, timeline, pulse.machine)


def addresses(site: Site) -> tuple[GatewayAddress, ...]:
    """The addresses of the gateways of all networks."""
    return tuple(site.gateways())


def connections(site: Site) -> tuple[Connection, ...]:
    """A TCP connection to every gateway address from every other network."""
    return trials.gateway_connections(site.traffic(), site.gateways())


def named_calls(site: Site) -> tuple[NamedCall, ...]:
    """The probe services asked for by name at every gateway, from every other network."""
    return trials.named_calls(site.traffic(), site.gateways())


def unknown_names(site: Site) -> tuple[Trial, ...]:
    """Unknown names, no name and plaintext at every gateway, from every other network."""
    return trials.unknown_names(site.traffic(), site.gateways())


def past_the_gateway(site: Site) -> tuple[Trial, ...]:
    """Plaintext straight to a pod, from every cluster to every other one."""
    return trials.past_the_gateway(site.traffic())
