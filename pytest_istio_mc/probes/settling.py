"""Settling: waiting for a mesh to spread new endpoints, before checks judge it."""

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
    """Wait until every client reaches every cluster, and note how that ended.

    - Clusters count as reached where their servers would answer if nearer ones did not come first.
    - Where meshes share no services, so that no request goes through a gateway, the gateways of
      the other meshes must know their own.
    - Nothing is raised: the checks judge.
    """
    shared = Feature.SHARED_SERVICES in mesh.spec.features
    clusters = [cluster.name for cluster in mesh.spec.data_planes]
    wanted = {name: set(clusters) if shared else {name} for name in clusters}

    def settled(seen: tuple[tuple[Request, ...], bool]) -> bool:
        requests, gateways_know = seen
        if not gateways_know or not all(request.succeeded for request in requests):
            return False
        answers = [(request.source, request.answer) for request in requests if request.answer]
        for source, targets in wanted.items():
            missing = targets - {answer.cluster for whose, answer in answers if whose == source}
            if missing and not missing <= held_back(mesh, kubes[source], source):
                return False
        return True

    reached = "every client reaches the servers of every cluster"
    try:
        with open_traffic(mesh, kubes, timeouts) as traffic:
            gateways = () if shared else gateway_addresses(mesh.spec, kubes)
            ways = tuple(crossings(mesh.spec, gateways))
            converged = eventually(
                lambda: (
                    traffic.reach_instances(timeout_seconds=1.0),
                    _known_at(traffic, ways, traffic.probes.service),
                ),
                settled,
                within_seconds=timeouts.endpoint_propagation,
                what="every client to reach the servers of every cluster",
            )
            progress.note(f"{reached}, {converged.first_seconds:.1f} s after the pods were ready")
    except MeshError as error:
        progress.note(f"not {reached} ({type(error).__name__}); the checks will say why")


def await_service(
    traffic: Traffic,
    kubes: Mapping[str, Kube],
    source: str,
    service: str,
    targets: Sequence[str],
    *,
    address: str,
) -> None:
    """Wait until the client in ``source`` can use a new Service.

    - A server answers under the Service's name at ``address``, and every gateway on the way to
      ``targets`` knows the name: a client that is sent to a gateway before that ejects it.
    - Nothing is raised where this does not come about in time: what follows will show it.
    """
    spec, host = traffic.mesh.spec, traffic.host(service)
    networks = {spec.cluster(target).network for target in targets} - {spec.cluster(source).network}
    gateways = gateway_addresses(spec, kubes) if networks else ()
    crossed = [(source, gateway) for gateway in gateways if gateway.network in networks]

    def known() -> bool:
        sent = traffic.requests(source, host, manifests.HTTP, count=3, address=address)
        return all(map(answered_in, sent)) and _known_at(traffic, crossed, service)

    seconds, what = traffic.timeouts.endpoint_propagation, f"{source}: {host} to be known"
    try:
        eventually(known, bool, within_seconds=seconds, what=what, times=2, every_seconds=0.03)
    except NotInTime:
        return


def _known_at(traffic: Traffic, ways: Sequence[tuple[str, GatewayAddress]], service: str) -> bool:
    """Whether each gateway leads its client to a server, by the sidecars' name."""
    host = traffic.host(service)

    def call(way: tuple[str, GatewayAddress]) -> TlsHandshake:
        source, gateway = way
        sni = traffic.sni(source, service, manifests.HTTP)
        return traffic.tls(source, gateway.address, gateway.port, sni=sni, host=host)

    return all(handshake.answer is not None for handshake in traffic.from_each(ways, call))


def held_back(mesh: Mesh, kube: Kube, source: str) -> set[str]:
    """The clusters that locality load balancing keeps for later.

    - In the proxy of the client in ``source`` their endpoints are healthy, but of a lower priority
      than others.
    - None where it cannot be asked, or does not say whose its endpoints are.
    """
    probes = mesh.require_probes()
    host = f"{probes.service}.{probes.namespace}.svc."
    name = f"outbound|{manifests.HTTP}||{host}"
    try:
        found = endpoints(dumped(mesh, kube, source, ENDPOINTS, host), host)
    except ObservationError:
        return set()
    held = next((ones for cluster, ones in found.items() if cluster.startswith(name)), ())
    healthy = [one for one in held if one.health == "HEALTHY"]
    first = min((one.priority for one in healthy), default=0)
    return {one.cluster for one in healthy if one.priority > first}
