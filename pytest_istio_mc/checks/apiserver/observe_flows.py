"""What is sent during outages: flows from every cluster's client, each for a purpose."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...observations import Protocol
from ...probes import manifests
from ...probes.flows import FlowPlan
from ...probes.traffic import Traffic
from ...spec import MeshSpec
from .facts import Purpose, title
from .observe_services import Services


def plans(traffic: Traffic, services: Services, lost: str) -> list[FlowPlan]:
    """All that is sent while the API server of a cluster is lost."""
    spec = traffic.mesh.spec
    slow = 0.2 * _pace(spec)
    made = list(plain_plans(traffic))
    for cluster in spec.data_planes:
        name = cluster.name
        address = services.addresses.get(name, "")
        for config, service in services.pushed.items():
            made.append(
                plan(
                    traffic,
                    name,
                    Purpose.PUSHED,
                    service,
                    detail=config,
                    interval=slow,
                    address=address,
                )
            )
        fast = (
            0.1 if spec.seen_alone(lost, name) else slow
        )  # else it is told, and not judged, how soon an endpoint is ejected
        made.append(
            plan(traffic, name, Purpose.DYING, services.dying, interval=fast, address=address)
        )
        made.append(
            plan(traffic, name, Purpose.LATE, services.late, interval=slow, address=address)
        )
    return made


def _pace(spec: MeshSpec) -> float:
    """How much slower flows are that need not be fast, where there are more than two clusters: all run on one machine in a lab."""
    return max(1.0, len(spec.data_planes) / 2)


def plain_plans(traffic: Traffic) -> Iterator[FlowPlan]:
    """To the probe service from everywhere: on new connections, on kept ones, and as a stream of lines over one."""
    pace = _pace(traffic.mesh.spec)
    for cluster in traffic.mesh.spec.data_planes:
        name, service = cluster.name, traffic.probes.service
        yield plan(traffic, name, Purpose.PLAIN, service, detail="new connections", interval=0.1)
        yield plan(
            traffic,
            name,
            Purpose.PLAIN,
            service,
            detail="kept connections",
            interval=0.2 * pace,
            keep_alive=True,
        )
        lines: dict[str, Any] = {"port": manifests.TCP, "protocol": Protocol.TCP, "stream": True}
        yield plan(
            traffic, name, Purpose.PLAIN, service, detail="stream", interval=0.5 * pace, **lines
        )


def plan(
    traffic: Traffic,
    source: str,
    purpose: Purpose,
    service: str,
    *,
    detail: str = "",
    interval: float,
    port: int = manifests.HTTP,
    **more: Any,
) -> FlowPlan:
    """A flow for a purpose to a service of the probe namespace, with ``more`` of what a flow can be told."""
    return FlowPlan(
        source,
        traffic.host(service),
        port,
        name=title(source, purpose, detail),
        interval_seconds=interval,
        **more,
    )
