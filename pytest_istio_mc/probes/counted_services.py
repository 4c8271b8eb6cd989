"""Counted services: what requests are counted to, and the flows that are sent there.

- Every ordered pair of clusters, and each cluster to itself, has a service of the run's own that
  only the target's servers are behind. A second one has a route of the run's own namespace with
  ``retries.attempts: 0``, so that what Istio's retries hide is counted, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import MeshError, NotInTime
from ..eventually import eventually
from ..mesh import Mesh
from ..observations import Protocol
from ..together import for_each
from . import manifests, objects
from .traffic import Traffic

if TYPE_CHECKING:
    from ..kube import Kube

CLIENT_BUDGET = 110.0
"""Requests a second from each client, over all its flows."""

MOST_RATE = 10.0
"""Requests a second of one flow."""

ARMED = "/istio-mc-once"
"""The path by which a client sees that its proxy has the route without retries."""


@dataclass(frozen=True)
class Way:
    """One way of sending: protocol, connections, and whether proxies may retry."""

    protocol: Protocol
    keep_alive: bool
    retried: bool = True
    stream: bool = False

    @property
    def title(self) -> str:
        """It in words."""
        if self.stream:
            return "TCP stream"
        return f"{_WORDS[self.protocol]}, {'kept' if self.keep_alive else 'new'} connections"


_WORDS = {Protocol.HTTP: "HTTP", Protocol.HTTP2: "HTTP/2", Protocol.TCP: "TCP"}

WAYS = (
    *(
        Way(protocol, keep, retried)
        for retried in (True, False)
        for protocol in (Protocol.HTTP, Protocol.HTTP2)
        for keep in (False, True)
    ),
    Way(Protocol.TCP, False),
    Way(Protocol.TCP, True),
    Way(Protocol.TCP, True, stream=True),
)
"""Retries are of HTTP; a TCP connection that breaks is lost either way."""

PORTS = {
    Protocol.HTTP: manifests.HTTP,
    Protocol.TCP: manifests.TCP,
    Protocol.HTTP2: manifests.HTTP2,
}


@dataclass(frozen=True)
class CountPlan:
    """One flow to be counted."""

    source: str
    target: str
    host: str
    port: int
    way: Way
    interval_seconds: float


def pairs(mesh: Mesh) -> tuple[tuple[str, str], ...]:
    """Every ordered pair of clusters with probes that have services in common, and each itself.

    Separate meshes have none in common.
    """
    there = {pod.cluster for pod in mesh.require_probes().pods}
    names = [cluster.name for cluster in mesh.spec.data_planes if cluster.name in there]
    apart = mesh.spec.federated
    return tuple((one, two) for one in names for two in names if one == two or not apart)


def service_of(mesh: Mesh, target: str, *, retried: bool) -> str:
    """The name of the service that only the servers of a cluster are behind."""
    version = mesh.require_probes().servers(target)[0].version
    return f"count-{version}" if retried else f"count-{version}-once"


def plans(mesh: Mesh, host: Callable[[str], str]) -> tuple[CountPlan, ...]:
    """All flows, each at the rate that the budget of its client leaves it."""
    found = pairs(mesh)
    targets = max(sum(source == one for one, _ in found) for source, _ in found)
    rate = min(MOST_RATE, CLIENT_BUDGET / (targets * len(WAYS)))
    interval = math.ceil(1000 / rate) / 1000

    def plan(source: str, target: str, way: Way) -> CountPlan:
        name = service_of(mesh, target, retried=way.retried)
        return CountPlan(source, target, host(name), PORTS[way.protocol], way, interval)

    return tuple(plan(source, target, way) for source, target in found for way in WAYS)


@contextmanager
def services(traffic: Traffic, kubes: Mapping[str, Kube]) -> Iterator[None]:
    """The services and routes to count with, until the block ends."""
    mesh, made = traffic.mesh, []
    routes = []
    for target in dict.fromkeys(target for _, target in pairs(mesh)):
        version = mesh.require_probes().servers(target)[0].version
        for retried in (True, False):
            name = service_of(mesh, target, retried=retried)
            one = manifests.counted_service(name, version)
            made.append(one)
            if not retried:
                routes.append(objects.virtual_service(name, _once(name)))
    wanted = objects.everywhere(mesh, made, routes)
    with objects.present(mesh, kubes, traffic.probes.namespace, wanted):
        yield


def _once(name: str) -> list[dict[str, Any]]:
    seen = {"match": [{"uri": {"exact": ARMED}}]}
    answer = {"directResponse": {"status": 200, "body": {"string": ARMED}}}
    led = {"route": [{"destination": {"host": name}}], "retries": {"attempts": 0}}
    return [{**seen, **answer}, led]


def ready(traffic: Traffic) -> dict[tuple[str, str], str]:
    """Wait until each pair gets answers on all services; why not, of those that never do."""

    def why_not(pair: tuple[str, str]) -> str:
        source, target = pair
        try:
            found = eventually(
                lambda: _unready(traffic, source, target),
                lambda why: not why,
                within_seconds=traffic.timeouts.config_propagation,
                every_seconds=0.5,
                what=f"answers from {target} to {source}",
            )
        except NotInTime as error:
            return error.detail or str(error)
        except MeshError as error:
            return str(error)
        return found.value

    known = pairs(traffic.mesh)
    return {pair: why for pair, why in zip(known, for_each(why_not, known, 8), strict=True) if why}


def _unready(traffic: Traffic, source: str, target: str) -> str:
    for retried in (True, False):
        host = traffic.host(service_of(traffic.mesh, target, retried=retried))
        for protocol in (Protocol.HTTP, Protocol.HTTP2, Protocol.TCP) if retried else _HTTP:
            request = traffic.requests(source, host, PORTS[protocol], protocol=protocol)[0]
            if not request.succeeded or request.answer is None or request.answer.cluster != target:
                return request.failure or f"{protocol.value} is answered by another cluster"
    armed = traffic.requests(source, host, manifests.HTTP, path=ARMED)[0]
    if armed.status == 200 and armed.error.strip() == ARMED:
        return ""
    return "the route without retries is not in force"


_HTTP = (Protocol.HTTP, Protocol.HTTP2)
