"""Elsewhere: services that exist in one cluster only, asked for from the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import NotInTime
from ..eventually import Converged, eventually
from ..observations import Elsewhere
from . import manifests
from .traffic import Traffic
from .workloads import side_by_side

if TYPE_CHECKING:
    from ..kube import Kube


def services_elsewhere(traffic: Traffic, kubes: Mapping[str, Kube]) -> tuple[tuple[Elsewhere, ...], Converged[Any] | None]:
    """In every cluster a Service of its own, that leads to its servers and exists nowhere else; a request for each from all others.

    They are asked for until all answer. The second value is how long that took, None where it did not come about within
    ``endpoint_propagation``. The Services are gone at the end.
    """
    mesh, probes = traffic.mesh, traffic.probes
    clusters = [cluster.name for cluster in mesh.spec.data_planes]
    pairs = [(source.name, target.name) for source, target in mesh.spec.pairs]

    def observe() -> tuple[Elsewhere, ...]:
        return tuple(traffic.from_each(pairs, lambda pair: _ask(traffic, *pair)))

    try:
        side_by_side(
            lambda cluster: kubes[cluster].apply(manifests.extra_service(_name(cluster), probes.service), namespace=probes.namespace),
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
        side_by_side(lambda cluster: kubes[cluster].delete("Service", _name(cluster), probes.namespace), clusters)


def _answered_there(call: Elsewhere) -> bool:
    """Answered by the only cluster that has the service: until its sidecar knows the name, a client gets to whoever has the address."""
    answer = call.request.answer
    return call.request.succeeded and answer is not None and answer.cluster == call.target


def _name(cluster: str) -> str:
    return f"only-in-{cluster}"


def _ask(traffic: Traffic, source: str, target: str) -> Elsewhere:
    host = traffic.host(_name(target))
    addresses = traffic.resolve(source, host)
    # a sidecar looks at the name in the request: any address that leads through it will do
    detour = "" if addresses else next(iter(traffic.resolve(source, traffic.host(traffic.probes.service))), "")
    return Elsewhere(source, target, host, addresses, traffic.requests(source, host, manifests.HTTP, address=detour)[0])
