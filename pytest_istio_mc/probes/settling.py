"""Settling: the time that a mesh may take to spread new endpoints, given to it so that no check judges one that is still on its way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import MeshError, NotInTime, ObservationError
from ..eventually import Timeouts, eventually
from ..mesh import Mesh
from ..observations import GatewayAddress, Request, TlsHandshake
from ..progress import Progress
from ..spec import Feature
from ..timelines import answered_in
from . import manifests
from .client_proxy import ENDPOINTS, dumped, endpoints
from .paths import crossings, gateway_addresses
from .traffic import Traffic, open_traffic

if TYPE_CHECKING:
    from ..kube import Kube


def settle(mesh: Mesh, kubes: Mapping[str, Kube], timeouts: Timeouts, progress: Progress) -> None:
    """Wait until every client reaches the servers of every cluster, or would if nearer ones did not come first. Where meshes share no
    services, so that no request goes through a gateway, those of the other meshes must know their own.

    Whatever the end, it is only noted: the checks judge.
    """
    shared = Feature.SHARED_SERVICES in mesh.spec.features
    clusters = [cluster.name for cluster in mesh.spec.data_planes]
    wanted = {
        (source, target) for source in clusters for target in clusters if shared or source == target
    }

    def settled(seen: tuple[tuple[Request, ...], bool]) -> bool:
        requests, gateways_know = seen
        missing = wanted - {
            (request.source, request.answer.cluster) for request in requests if request.answer
        }
        if not gateways_know or not all(request.succeeded for request in requests):
            return False
        return all(
            missing_from <= held_back(mesh, kubes[source], source)
            for source, missing_from in _by_source(missing).items()
        )

    try:
        with open_traffic(mesh, kubes, timeouts) as traffic:
            ways = (
                () if shared else tuple(crossings(mesh.spec, gateway_addresses(mesh.spec, kubes)))
            )
            converged = eventually(
                lambda: (
                    traffic.reach_instances(timeout_seconds=1.0),
                    _known_at(traffic, ways, traffic.probes.service),
                ),
                settled,
                within_seconds=timeouts.endpoint_propagation,
                what="every client to reach the servers of every cluster",
            )
            progress.note(
                f"every client reaches the servers of every cluster, {converged.first_seconds:.1f} s after the pods were ready"
            )
    except MeshError as error:
        progress.note(
            f"not every client reaches the servers of every cluster ({type(error).__name__}); the checks will say why"
        )


def await_service(
    traffic: Traffic,
    kubes: Mapping[str, Kube],
    source: str,
    service: str,
    targets: Sequence[str],
    *,
    address: str,
) -> None:
    """Wait until a server answers the client in ``source`` under the name of a new Service, asked for at ``address``, and every gateway
    on its way to ``targets`` knows the name. A client that is sent to a gateway before that ejects it. Where it does not come about,
    what follows will show it.
    """
    spec, host = traffic.mesh.spec, traffic.host(service)
    networks = {spec.cluster(target).network for target in targets} - {spec.cluster(source).network}
    crossed = (
        [
            (source, gateway)
            for gateway in gateway_addresses(spec, kubes)
            if gateway.network in networks
        ]
        if networks
        else []
    )

    def known() -> bool:
        sent = traffic.requests(source, host, manifests.HTTP, count=3, address=address)
        return all(answered_in(request) for request in sent) and _known_at(
            traffic, crossed, service
        )

    try:
        eventually(
            known,
            bool,
            within_seconds=traffic.timeouts.endpoint_propagation,
            what=f"{source}: {host} to be known",
            times=2,
            every_seconds=0.03,
        )
    except NotInTime:
        return


def _known_at(traffic: Traffic, ways: Sequence[tuple[str, GatewayAddress]], service: str) -> bool:
    """Whether every gateway leads the client in that cluster to a server, by the name that sidecars have for the service."""

    def call(way: tuple[str, GatewayAddress]) -> TlsHandshake:
        source, gateway = way
        sni = traffic.sni(source, service, manifests.HTTP)
        return traffic.tls(
            source, gateway.address, gateway.port, sni=sni, host=traffic.host(service)
        )

    return all(handshake.answer is not None for handshake in traffic.from_each(ways, call))


def held_back(mesh: Mesh, kube: Kube, source: str) -> set[str]:
    """The clusters whose healthy endpoints the client's proxy in ``source`` has, but of a lower priority than others: locality load
    balancing keeps them for later. None where the proxy cannot be asked, or does not say whose its endpoints are."""
    assert mesh.probes is not None
    host = f"{mesh.probes.service}.{mesh.probes.namespace}.svc."
    name = f"outbound|{manifests.HTTP}||{host}"
    try:
        found = endpoints(dumped(mesh, kube, source, ENDPOINTS, host), host)
    except ObservationError:
        return set()
    held = next((ones for cluster, ones in found.items() if cluster.startswith(name)), ())
    healthy = [one for one in held if one.health == "HEALTHY"]
    first = min((one.priority for one in healthy), default=0)
    return {one.cluster for one in healthy if one.priority > first}


def _by_source(pairs: set[tuple[str, str]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for source, target in pairs:
        found.setdefault(source, set()).add(target)
    return found
