"""Trials: raw connections between clusters, past the client's sidecar, that must get through or must not."""

from __future__ import annotations

from collections.abc import Sequence

from ..certificates import make_intermediate, make_leaf, make_root
from ..mesh import Mesh
from ..observations import (
    ClientCertificate,
    Connection,
    GatewayAddress,
    NamedCall,
    Path,
    Plaintext,
    TlsHandshake,
    Trial,
)
from ..statistics import sample_size
from . import manifests
from .paths import crossings, path
from .traffic import Traffic


def mutual_tls(traffic: Traffic, gateways: Sequence[GatewayAddress]) -> tuple[Trial, ...]:
    """For every ordered pair of clusters, a handshake with the mesh certificate and a request to the STRICT port inside it."""

    def attempt(pair: tuple[str, str]) -> Trial:
        way = path(traffic.mesh, gateways, *pair, manifests.STRICT)
        return Trial(*pair, way, twins=_with_mesh_certificate(traffic, way) if way else ())

    return tuple(traffic.from_each(_pairs(traffic.mesh), attempt))


def plaintext(traffic: Traffic, gateways: Sequence[GatewayAddress]) -> tuple[Trial, ...]:
    """For every ordered pair of clusters, and within each, plaintext and TLS without a certificate to a STRICT port.

    Between networks there is no plain way to a workload; there the plaintext goes to the gateway, and TLS without a certificate
    through it to the workload. Within a cluster, plaintext to the PERMISSIVE port is a second twin: the client can send it.
    """
    service = traffic.host(traffic.probes.service)

    def attempt(pair: tuple[str, str]) -> Trial:
        way = path(traffic.mesh, gateways, *pair, manifests.STRICT)
        if way is None:
            return Trial(*pair, None)
        twins: tuple[TlsHandshake | Plaintext, ...] = _with_mesh_certificate(traffic, way)
        if way.gateway is None:
            # first in line: it must be the plaintext twin that got through, or the refusal of plaintext proves nothing
            twins = (traffic.plaintext(way.source, way.address, manifests.PERMISSIVE, service),)
        forbidden = (
            traffic.plaintext(way.source, way.address, way.port, service),
            _handshake(traffic, way, ClientCertificate.NONE),
        )
        return Trial(*pair, way, forbidden, twins)

    return tuple(traffic.from_each(_pairs(traffic.mesh, within=True), attempt))


def foreign_certificate(traffic: Traffic, gateways: Sequence[GatewayAddress]) -> tuple[Trial, ...]:
    """For every ordered pair of clusters, and within each, a client certificate of the right name from a root that is not the mesh's."""

    def attempt(pair: tuple[str, str]) -> Trial:
        way = path(traffic.mesh, gateways, *pair, manifests.STRICT)
        if way is None:
            return Trial(*pair, None)
        twins = _with_mesh_certificate(traffic, way)
        foreign = foreign_identity(traffic.mesh, way.source)
        return Trial(
            *pair, way, (_handshake(traffic, way, ClientCertificate.FOREIGN, foreign),), twins
        )

    return tuple(traffic.from_each(_pairs(traffic.mesh, within=True), attempt))


def unknown_names(traffic: Traffic, gateways: Sequence[GatewayAddress]) -> tuple[Trial, ...]:
    """To every gateway from every other network: names that it must not know, no name, and plaintext, beside a name that it must."""
    service = traffic.host(traffic.probes.service)

    def attempt(crossing: tuple[str, GatewayAddress]) -> Trial:
        source, gateway = crossing
        way = Path(source, gateway.cluster, gateway.address, gateway.port, gateway)
        names = (
            traffic.sni(source, "absent", manifests.HTTP),
            "outbound_.443_._.istio-mc.example",
            traffic.sni(source, traffic.probes.service, 1),
            traffic.sni(source, traffic.probes.service, manifests.HTTP).split("_._.")[-1],
            "",
        )
        twins = _with_mesh_certificate(traffic, way)
        refused: list[TlsHandshake | Plaintext] = [
            traffic.tls(source, way.address, way.port, sni=name, host=service) for name in names
        ]
        refused.append(traffic.plaintext(source, way.address, way.port, service))
        return Trial(source, gateway.cluster, way, tuple(refused), twins)

    return tuple(traffic.from_each(list(crossings(traffic.mesh.spec, gateways)), attempt))


def past_the_gateway(traffic: Traffic) -> tuple[Trial, ...]:
    """For every ordered pair of clusters, plaintext straight to a pod's PERMISSIVE port.

    Within one network it must get through (it is a twin); between networks it must not, while the target's own client, sending the
    same to the same pod, is the twin.
    """
    spec, host = traffic.mesh.spec, traffic.host(traffic.probes.service)

    def attempt(pair: tuple[str, str]) -> Trial:
        source, target = pair
        pod = next(iter(traffic.probes.servers(target)), None)
        if pod is None:
            return Trial(source, target, None)
        way = Path(source, target, pod.ip, manifests.PERMISSIVE)
        straight = traffic.plaintext(source, pod.ip, manifests.PERMISSIVE, host)
        if spec.cluster(source).network == spec.cluster(target).network:
            return Trial(source, target, way, twins=(straight,))
        return Trial(
            source,
            target,
            way,
            (straight,),
            (traffic.plaintext(target, pod.ip, manifests.PERMISSIVE, host),),
        )

    return tuple(traffic.from_each(_pairs(traffic.mesh), attempt))


def named_calls(traffic: Traffic, gateways: Sequence[GatewayAddress]) -> tuple[NamedCall, ...]:
    """To every gateway from every other network: the probe services, their ports and subsets, each by the name that sidecars use.

    Every subset is asked for, those too that have no pod behind this gateway.
    """
    service = traffic.probes.service
    subsets = [f"v{place}" for place, _ in enumerate(traffic.mesh.spec, 1)]
    wanted = [
        (service, manifests.HTTP, ""),
        (service, manifests.STRICT, ""),
        (manifests.CLIENT, manifests.HTTP, ""),
    ]
    wanted += [(manifests.SUBSETS, manifests.HTTP, subset) for subset in subsets]

    def call(one: tuple[tuple[str, GatewayAddress], tuple[str, int, str]]) -> NamedCall:
        (source, gateway), (name, port, subset) = one
        sni = traffic.sni(source, name, port, subset)
        return NamedCall(
            gateway,
            name,
            port,
            subset,
            traffic.tls(source, gateway.address, gateway.port, sni=sni, host=traffic.host(name)),
        )

    ways = list(crossings(traffic.mesh.spec, gateways))
    return tuple(traffic.from_each([(way, want) for way in ways for want in wanted], call))


def gateway_connections(
    traffic: Traffic, gateways: Sequence[GatewayAddress]
) -> tuple[Connection, ...]:
    """A TCP connection to every gateway address from every other network."""
    ways = list(crossings(traffic.mesh.spec, gateways))
    return tuple(
        traffic.from_each(ways, lambda way: traffic.connect(way[0], way[1].address, way[1].port))
    )


def foreign_identity(mesh: Mesh, cluster: str) -> dict[str, str]:
    """A certificate and key that say what the client's of ``cluster`` say, from a root that nobody knows."""
    assert mesh.probes is not None
    account = mesh.probes.client(cluster).service_account
    name = f"spiffe://{mesh.spec.trust_domain_of(mesh.spec.cluster(cluster))}/ns/{mesh.probes.namespace}/sa/{account}"
    leaf = make_leaf(
        make_intermediate(make_root("foreign root"), "foreign intermediate"), spiffe_id=name
    )
    return {"cert_pem": leaf.chain, "key_pem": leaf.key}


def _pairs(mesh: Mesh, within: bool = False) -> list[tuple[str, str]]:
    pairs = [(source.name, target.name) for source, target in mesh.spec.pairs]
    return pairs + [(cluster.name, cluster.name) for cluster in mesh.spec.data_planes if within]


def _handshake(
    traffic: Traffic,
    way: Path,
    certificate: ClientCertificate,
    foreign: dict[str, str] | None = None,
) -> TlsHandshake:
    """A handshake over ``way`` for the STRICT port, with a request inside."""
    service = traffic.probes.service
    sni = traffic.sni(way.source, service, manifests.STRICT)
    host = traffic.host(service)
    return traffic.tls(
        way.source,
        way.address,
        way.port,
        sni=sni,
        certificate=certificate,
        foreign=foreign,
        host=host,
    )


def _with_mesh_certificate(traffic: Traffic, way: Path) -> tuple[TlsHandshake, ...]:
    """Handshakes with the mesh certificate, until the target cluster answers: others of its network may be behind the same gateway."""
    network = traffic.mesh.spec.cluster(way.target).network
    neighbours = (
        sum(cluster.network == network for cluster in traffic.mesh.spec.data_planes)
        if way.gateway
        else 1
    )
    attempts: list[TlsHandshake] = []
    for _ in range(sample_size(neighbours)):
        attempts.append(_handshake(traffic, way, ClientCertificate.MESH))
        answer = attempts[-1].answer
        if answer is None or answer.cluster == way.target:
            break
    return tuple(attempts)
