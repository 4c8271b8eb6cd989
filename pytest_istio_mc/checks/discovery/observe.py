"""Observes reach over every protocol, headless services and services in one cluster only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from ...eventually import awaited, eventually
from ...mesh import ProbePod
from ...observations import Protocol, Request
from ...probes import manifests, objects
from ...probes.traffic import Traffic
from ...rights import SERVICES, uses
from ...together import for_each
from ..site import Site
from .facts import Elsewhere, HeadlessCall, HeadlessName
from .observe_changes import growing_patience, has_endpoints

if TYPE_CHECKING:
    from ...kube import Kube

T = TypeVar("T")

SERVICE = "headless"


def instances(site: Site) -> tuple[Request, ...]:
    """Requests from every cluster for a service that all have, until all have answered.

    TCP connections besides HTTP, where several clusters are behind one gateway.
    """
    return site.traffic().reach_instances()


def protocols(site: Site) -> Mapping[Protocol, tuple[Request, ...]]:
    """TCP connections and HTTP/2 requests from every cluster, until all have answered."""
    traffic = site.traffic()
    return {protocol: traffic.reach(protocol) for protocol in (Protocol.TCP, Protocol.HTTP2)}


@uses(SERVICES)
def headless_calls(site: Site) -> tuple[tuple[HeadlessName, ...], float | None]:
    """Requests to every instance of a headless service on the client's own network.

    - The service has the servers of every cluster, and is the same in all of them.
    - They are sent until all answer; then it is asked what the name resolves to.
    - The second value is the seconds that took, None if longer than ``endpoint_propagation``.
    """
    traffic, kubes = site.traffic(), site.kubes()
    mesh, probes = traffic.mesh, traffic.probes
    clusters = [cluster.name for cluster in mesh.spec.data_planes]
    cells = [
        (source.name, pod)
        for source in mesh.spec.data_planes
        for target in mesh.spec.data_planes
        if source.network == target.network
        for pod in probes.servers(target.name)
    ]
    budget = traffic.timeouts.endpoint_propagation
    host, patiences = traffic.host(SERVICE), growing_patience(traffic)

    def call(patience: float) -> tuple[HeadlessCall, ...]:
        return tuple(traffic.from_each(cells, lambda cell: _call(traffic, *cell, patience)))

    def install(cluster: str) -> None:
        service = manifests.headless_service(SERVICE, probes.service)
        objects.apply(traffic.mesh, kubes[cluster], probes.namespace, service)
        eventually(
            lambda: has_endpoints(kubes[cluster], SERVICE, probes.namespace),
            bool,
            within_seconds=budget,
            what=f'cluster "{cluster}": EndpointSlice of {SERVICE}',
            every_seconds=0.02,
        )

    def name(source: str) -> HeadlessName:
        # asked for last: a cluster's DNS server remembers for seconds that a name had no address
        addresses = traffic.resolve(source, host)
        captured = _captured(traffic, kubes[source], source)
        mine = tuple(call for call in calls if call.source == source)
        return HeadlessName(source, host, addresses, captured, mine)

    with _gone_at_the_end(traffic, kubes, dict.fromkeys(clusters, SERVICE)):
        for_each(install, clusters)
        calls, seconds = awaited(
            lambda: call(next(patiences)),
            _all_reached,
            within_seconds=budget,
            what="a headless service's instances to answer",
        )
        return tuple(for_each(name, clusters)), seconds


def _all_reached(calls: tuple[HeadlessCall, ...]) -> bool:
    # a sidecar that does not know the service yet passes requests on without mutual TLS:
    # who answers then does not know the caller
    answers = [(call.pod, call.http.answer, call.tcp.answer) for call in calls]
    return all(
        http and http.caller and http.pod == pod and tcp and tcp.pod == pod
        for pod, http, tcp in answers
    )


def _call(traffic: Traffic, source: str, pod: ProbePod, patience: float) -> HeadlessCall:
    def ask(port: int, protocol: Protocol) -> Request:
        host = traffic.host(SERVICE)
        return traffic.requests(
            source, host, port, protocol, address=pod.ip, timeout_seconds=patience
        )[0]

    http, tcp = ask(manifests.HTTP, Protocol.HTTP), ask(manifests.TCP, Protocol.TCP)
    return HeadlessCall(source, pod.cluster, pod.name, pod.ip, http, tcp)


def _captured(traffic: Traffic, kube: Kube, source: str) -> bool:
    """Whether the sidecar of a client answers its DNS queries."""
    pod = kube.read("Pod", traffic.probes.client(source).name, traffic.probes.namespace) or {}
    spec = pod.get("spec", {})
    settings = {
        entry["name"]: entry.get("value", "")
        for container in (*spec.get("initContainers", ()), *spec.get("containers", ()))
        for entry in container.get("env", ())
    }
    return str(settings.get("ISTIO_META_DNS_CAPTURE", "")).lower() == "true"


@uses(SERVICES)
def services_elsewhere(site: Site) -> tuple[tuple[Elsewhere, ...], float | None]:
    """Requests from every cluster for services that exist in one other cluster only.

    - Each cluster has one, which leads to its servers.
    - They are asked for until all answer. The second value is the seconds that took, None if
      longer than ``endpoint_propagation``.
    """
    traffic, kubes = site.traffic(), site.kubes()
    probes, spec = traffic.probes, traffic.mesh.spec
    pairs = [(source.name, target.name) for source, target in spec.pairs]
    services = {cluster.name: f"only-in-{cluster.name}" for cluster in spec.data_planes}

    def install(cluster: str) -> None:
        service = manifests.extra_service(services[cluster], probes.service)
        objects.apply(traffic.mesh, kubes[cluster], probes.namespace, service)

    def ask(pair: tuple[str, str]) -> Elsewhere:
        source, target = pair
        host = traffic.host(services[target])
        addresses = traffic.resolve(source, host)
        # a sidecar looks at the name in the request: any address that leads through it will do
        known = () if addresses else traffic.resolve(source, traffic.host(probes.service))
        detour = next(iter(known), "")
        (request,) = traffic.requests(source, host, manifests.HTTP, address=detour)
        return Elsewhere(source, target, host, addresses, request)

    with _gone_at_the_end(traffic, kubes, services):
        for_each(install, services)
        return awaited(
            lambda: tuple(traffic.from_each(pairs, ask)),
            # until its sidecar knows the name, a client gets to whoever has the address
            lambda calls: all(call.answered_there for call in calls),
            within_seconds=traffic.timeouts.endpoint_propagation,
            what="services of other clusters answer",
        )


@contextmanager
def _gone_at_the_end(
    traffic: Traffic, kubes: Mapping[str, Kube], services: Mapping[str, str]
) -> Iterator[None]:
    """Delete these Services, one for each cluster."""
    try:
        yield
    finally:
        mesh, namespace = traffic.mesh, traffic.probes.namespace
        for_each(
            lambda cluster: objects.remove(
                mesh, kubes[cluster], namespace, "Service", services[cluster]
            ),
            services,
        )
