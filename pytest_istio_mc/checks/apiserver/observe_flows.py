"""Flows during losses: requests of every cluster's client, each for a purpose."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ...errors import NotInTime
from ...eventually import eventually
from ...observations import Protocol
from ...probes import manifests
from ...probes.flows import FlowPlan, Running, flowing
from ...probes.traffic import Traffic
from ...spec import MeshSpec
from ...timelines import Timeline
from ..site import Site
from .facts import Purpose, title
from .observe_services import Services, connections_spread, wait_settled

BASELINE_SECONDS = 1.0
AFTER_SECONDS = 1.0
MOST_SECONDS = 240.0
DYING_SECONDS = 5.0
"""How long at least to look on after a pod was deleted by force.

Its kubelet ends its processes some two seconds after that.
"""

_LOOK_SECONDS = 0.5


def rest(seconds: float) -> None:
    """Let things go on for a while."""
    threading.Event().wait(max(0.0, seconds))


def wait_for(running: Running, within_seconds: float, holds: Callable[[Timeline], bool]) -> None:
    """Wait until something holds for what is on record, or the time is over.

    The record tells how it ended, and the judge judges.
    """
    try:
        eventually(
            running.so_far,
            holds,
            within_seconds=within_seconds,
            what="flows",
            every_seconds=_LOOK_SECONDS,
        )
    except NotInTime:
        pass


@contextmanager
def going_on(site: Site) -> Iterator[Running]:
    """Requests for the probe service from everywhere, answered without a failure just before."""
    traffic = site.traffic()
    with connections_spread(site):
        wait_settled(traffic)
        with flowing(traffic, list(plain_plans(traffic)), at_most_seconds=MOST_SECONDS) as running:
            rest(BASELINE_SECONDS)
            yield running


def plans(traffic: Traffic, services: Services, lost: str) -> list[FlowPlan]:
    """All that is sent while the API server of a cluster is lost."""
    spec = traffic.mesh.spec
    slow = 0.2 * _pace(spec)
    made = list(plain_plans(traffic))
    for cluster in spec.data_planes:
        name = cluster.name
        sent = partial(plan, traffic, name, address=services.addresses.get(name, ""))
        # where a gateway is shared, it is told, and not judged, how soon an endpoint is ejected
        fast = 0.1 if spec.seen_alone(lost, name) else slow
        made += [
            sent(Purpose.PUSHED, service, detail=config, interval=slow)
            for config, service in services.pushed.items()
        ]
        made.append(sent(Purpose.DYING, services.dying, interval=fast))
        made.append(sent(Purpose.LATE, services.late, interval=slow))
    return made


def _pace(spec: MeshSpec) -> float:
    """How much slower flows are that need not be fast, with more than two clusters.

    In a lab all run on one machine.
    """
    return max(1.0, len(spec.data_planes) / 2)


def plain_plans(traffic: Traffic) -> Iterator[FlowPlan]:
    """To the probe service from everywhere: on new connections, kept ones, and as a stream."""
    pace = _pace(traffic.mesh.spec)
    lines: dict[str, Any] = {"port": manifests.TCP, "protocol": Protocol.TCP, "stream": True}
    for cluster in traffic.mesh.spec.data_planes:
        sent = partial(plan, traffic, cluster.name, Purpose.PLAIN, traffic.probes.service)
        yield sent(detail="new connections", interval=0.1)
        yield sent(detail="kept connections", interval=0.2 * pace, keep_alive=True)
        yield sent(detail="stream", interval=0.5 * pace, **lines)


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
    """A flow for a purpose to a service of the probe namespace; ``more`` as in ``FlowPlan``."""
    return FlowPlan(
        source,
        traffic.host(service),
        port,
        name=title(source, purpose, detail),
        interval_seconds=interval,
        **more,
    )
