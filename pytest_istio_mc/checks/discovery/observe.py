"""Observes headless services and services that exist in one cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import NotInTime
from ...eventually import Converged, eventually
from ...mesh import ProbePod
from ...observations import Protocol
from ...probes import manifests
from ...probes.traffic import Traffic
from ...together import for_each
from .facts import Elsewhere, HeadlessCall, HeadlessName
from .observe_changes import growing_patience, has_endpoints

if TYPE_CHECKING:
    from ...kube import Kube


SERVICE = "headless"


Cell = tuple[str, ProbePod]


def headless_calls(
    traffic: Traffic, kubes: Mapping[str, Kube]
) -> tuple[tuple[HeadlessName, ...], Converged[Any] | None]:
    """A headless service with the servers of every cluster, the same in all of them; requests to every instance on the client's own
    network, until all answer, and then what the name resolves to.

    The second value is how long that took, None where it did not come about within ``endpoint_propagation``. It is gone at the end.
    """
    mesh, probes = traffic.mesh, traffic.probes
    clusters = [cluster.name for cluster in mesh.spec.data_planes]
    networks = {cluster.name: cluster.network for cluster in mesh.spec.data_planes}
    budget = traffic.timeouts.endpoint_propagation
    cells = [
        (source, pod)
        for source in clusters
        for target in clusters
        if networks[source] == networks[target]
        for pod in probes.servers(target)
    ]

    def observe(timeout_seconds: float | None = None) -> tuple[HeadlessCall, ...]:
        return tuple(traffic.from_each(cells, lambda cell: _call(traffic, *cell, timeout_seconds)))

    def settled(calls: tuple[HeadlessCall, ...]) -> bool:
        # a sidecar that does not know the service yet passes requests on without mutual TLS: who answers then does not know the caller
        answers = [(call, call.http.answer, call.tcp.answer) for call in calls]
        return all(
            http and http.caller and http.pod == call.pod and tcp and tcp.pod == call.pod
            for call, http, tcp in answers
        )

    def install(cluster: str) -> None:
        kubes[cluster].apply(
            manifests.headless_service(SERVICE, probes.service), namespace=probes.namespace
        )
        eventually(
            lambda: has_endpoints(kubes[cluster], SERVICE, probes.namespace),
            bool,
            within_seconds=budget,
            what=f'cluster "{cluster}": EndpointSlice of {SERVICE}',
            every_seconds=0.02,
        )

    def name(source: str) -> HeadlessName:
        # asked for last: a cluster's DNS server remembers for seconds that a name had no address
        addresses = traffic.resolve(source, traffic.host(SERVICE))
        mine = tuple(call for call in calls if call.source == source)
        return HeadlessName(
            source,
            traffic.host(SERVICE),
            addresses,
            _captured(traffic, kubes[source], source),
            mine,
        )

    try:
        for_each(install, clusters)
        patiences = growing_patience(traffic)
        converged: Converged[Any] | None
        try:
            converged = eventually(
                lambda: observe(next(patiences)),
                settled,
                within_seconds=budget,
                what="a headless service's instances to answer",
            )
            calls = converged.value
        except NotInTime:
            converged, calls = None, observe()
        return tuple(for_each(name, clusters)), converged
    finally:
        for_each(
            lambda cluster: kubes[cluster].delete("Service", SERVICE, probes.namespace), clusters
        )


def _call(
    traffic: Traffic, source: str, pod: ProbePod, timeout_seconds: float | None
) -> HeadlessCall:
    host = traffic.host(SERVICE)
    http = traffic.requests(
        source, host, manifests.HTTP, address=pod.ip, timeout_seconds=timeout_seconds
    )[0]
    tcp = traffic.requests(
        source, host, manifests.TCP, Protocol.TCP, address=pod.ip, timeout_seconds=timeout_seconds
    )[0]
    return HeadlessCall(source, pod.cluster, pod.name, pod.ip, http, tcp)


def _captured(traffic: Traffic, kube: Kube, source: str) -> bool:
    pod = kube.read("Pod", traffic.probes.client(source).name, traffic.probes.namespace) or {
        "spec": {}
    }
    containers = [*pod["spec"].get("initContainers", ()), *pod["spec"].get("containers", ())]
    settings = {
        entry["name"]: entry.get("value", "")
        for container in containers
        for entry in container.get("env", ())
    }
    return str(settings.get("ISTIO_META_DNS_CAPTURE", "")).lower() == "true"


def services_elsewhere(
    traffic: Traffic, kubes: Mapping[str, Kube]
) -> tuple[tuple[Elsewhere, ...], Converged[Any] | None]:
    """In every cluster a Service of its own, that leads to its servers and exists nowhere else; a request for each from all others.

    They are asked for until all answer. The second value is how long that took, None where it did not come about within
    ``endpoint_propagation``. The Services are gone at the end.
    """
    mesh, probes = traffic.mesh, traffic.probes
    clusters = [cluster.name for cluster in mesh.spec.data_planes]
    pairs = [(source.name, target.name) for source, target in mesh.spec.pairs]

    def observe() -> tuple[Elsewhere, ...]:
        return tuple(traffic.from_each(pairs, lambda pair: _ask_elsewhere(traffic, *pair)))

    try:
        for_each(
            lambda cluster: kubes[cluster].apply(
                manifests.extra_service(_name(cluster), probes.service), namespace=probes.namespace
            ),
            clusters,
        )
        try:
            converged = eventually(
                observe,
                lambda calls: all(map(_answered_there, calls)),
                within_seconds=traffic.timeouts.endpoint_propagation,
                what="services of other clusters answer",
            )
        except NotInTime:
            return observe(), None
        return converged.value, converged
    finally:
        for_each(
            lambda cluster: kubes[cluster].delete("Service", _name(cluster), probes.namespace),
            clusters,
        )


def _answered_there(call: Elsewhere) -> bool:
    """Answered by the only cluster that has the service: until its sidecar knows the name, a client gets to whoever has the address."""
    answer = call.request.answer
    return call.request.succeeded and answer is not None and answer.cluster == call.target


def _name(cluster: str) -> str:
    return f"only-in-{cluster}"


def _ask_elsewhere(traffic: Traffic, source: str, target: str) -> Elsewhere:
    host = traffic.host(_name(target))
    addresses = traffic.resolve(source, host)
    # a sidecar looks at the name in the request: any address that leads through it will do
    detour = (
        ""
        if addresses
        else next(iter(traffic.resolve(source, traffic.host(traffic.probes.service))), "")
    )
    return Elsewhere(
        source,
        target,
        host,
        addresses,
        traffic.requests(source, host, manifests.HTTP, address=detour)[0],
    )
