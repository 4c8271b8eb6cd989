"""Trials: raw connections between clusters that must get through, or must not.

They go past the client's sidecar. A twin must get through, so that the refusal of others proves
something.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

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
    """For every ordered pair of clusters, a handshake with the mesh certificate.

    A request to the STRICT port goes inside it.
    """

    def attempt(pair: tuple[str, str]) -> Trial:
        way = path(traffic.mesh, gateways, *pair, manifests.STRICT)
        return Trial(*pair, way, twins=_with_mesh_certificate(traffic, way) if way else ())

    return tuple(traffic.from_each(_pairs(traffic.mesh), attempt))


def plaintext(traffic: Traffic, gateways: Sequence[GatewayAddress]) -> tuple[Trial, ...]:
    """Between all clusters, and within each, what a STRICT port must refuse.

    - Plaintext, and TLS without a certificate.
    - Between networks plaintext has no way to a workload: it goes to the gateway, and TLS without
      a certificate through the gateway to the workload.
    - Within a network the twin is plaintext to the PERMISSIVE port: the client can send it.
    """
    service = traffic.host(traffic.probes.service)

    def attempt(pair: tuple[str, str]) -> Trial:
        way = path(traffic.mesh, gateways, *pair, manifests.STRICT)
        if way is None:
            return Trial(*pair, None)
        twins: tuple[TlsHandshake | Plaintext, ...] = _with_mesh_certificate(traffic, way)
        if way.gateway is None:
            # with another twin the refusal of plaintext would prove nothing
            twins = (traffic.plaintext(way.source, way.address, manifests.PERMISSIVE, service),)
        forbidden = (
            traffic.plaintext(way.source, way.address, way.port, service),
            _handshake(traffic, way, ClientCertificate.NONE),
        )
        return Trial(*pair, way, forbidden, twins)

    return tuple(traffic.from_each(_pairs(traffic.mesh, within=True), attempt))


def foreign_certificate(traffic: Traffic, gateways: Sequence[GatewayAddress]) -> tuple[Trial, ...]:
    """Between all clusters, and within each, a client certificate of a foreign root.

    It has the right name.
    """

    def attempt(pair: tuple[str, str]) -> Trial:
        way = path(traffic.mesh, gateways, *pair, manifests.STRICT)
        if way is None:
            return Trial(*pair, None)
        twins = _with_mesh_certificate(traffic, way)
        foreign = foreign_identity(traffic.mesh, way.source)
        forbidden = _handshake(traffic, way, ClientCertificate.FOREIGN, foreign)
        return Trial(*pair, way, (forbidden,), twins)

    return tuple(traffic.from_each(_pairs(traffic.mesh, within=True), attempt))


def unknown_names(traffic: Traffic, gateways: Sequence[GatewayAddress]) -> tuple[Trial, ...]:
    """To every gateway from every other network, names that it must not know.

    - Also no name, and plaintext.
    - The twin is a name that it must know.
    """
    service, host = traffic.probes.service, traffic.host(traffic.probes.service)

    def attempt(crossing: tuple[str, GatewayAddress]) -> Trial:
        source, gateway = crossing
        way = Path(source, gateway.cluster, gateway.address, gateway.port, gateway)
        names = (
            traffic.sni(source, "absent", manifests.HTTP),
            "outbound_.443_._.istio-mc.example",
            traffic.sni(source, service, 1),
            traffic.full_name(source, service),
            "",
        )
        twins = _with_mesh_certificate(traffic, way)
        ask = partial(traffic.tls, source, way.address, way.port, host=host)
        refused = [ask(sni=name) for name in names]
        plain = traffic.plaintext(source, way.address, way.port, host)
        return Trial(source, gateway.cluster, way, (*refused, plain), twins)

    return tuple(traffic.from_each(list(crossings(traffic.mesh.spec, gateways)), attempt))


def past_the_gateway(traffic: Traffic) -> tuple[Trial, ...]:
    """For every ordered pair of clusters, plaintext straight to a pod's PERMISSIVE port.

    - Within one network it must get through: it is a twin.
    - Between networks it must not. The twin is the same from the target's own client.
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
        twin = traffic.plaintext(target, pod.ip, manifests.PERMISSIVE, host)
        return Trial(source, target, way, (straight,), (twin,))

    return tuple(traffic.from_each(_pairs(traffic.mesh), attempt))


def named_calls(traffic: Traffic, gateways: Sequence[GatewayAddress]) -> tuple[NamedCall, ...]:
    """To every gateway from other networks, calls by the sidecars' names.

    - Of the probe services, their ports and subsets.
    - Subsets that have no pod behind a gateway are asked for, too.
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
        sni, host = traffic.sni(source, name, port, subset), traffic.host(name)
        handshake = traffic.tls(source, gateway.address, gateway.port, sni=sni, host=host)
        return NamedCall(gateway, name, port, subset, handshake)

    ways = list(crossings(traffic.mesh.spec, gateways))
    return tuple(traffic.from_each([(way, want) for way in ways for want in wanted], call))


def gateway_connections(
    traffic: Traffic, gateways: Sequence[GatewayAddress]
) -> tuple[Connection, ...]:
    """A TCP connection to every gateway address from every other network."""

    def connect(way: tuple[str, GatewayAddress]) -> Connection:
        source, gateway = way
        return traffic.connect(source, gateway.address, gateway.port)

    return tuple(traffic.from_each(list(crossings(traffic.mesh.spec, gateways)), connect))


def foreign_identity(mesh: Mesh, cluster: str) -> dict[str, str]:
    """A certificate and key in a client's name, from an unknown root."""
    probes, domain = mesh.require_probes(), mesh.spec.trust_domain_of(mesh.spec.cluster(cluster))
    account = probes.client(cluster).service_account
    authority = make_intermediate(make_root("foreign root"), "foreign intermediate")
    leaf = make_leaf(authority, spiffe_id=f"spiffe://{domain}/ns/{probes.namespace}/sa/{account}")
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
    sni, host = traffic.sni(way.source, service, manifests.STRICT), traffic.host(service)
    shake = partial(traffic.tls, way.source, way.address, way.port, sni=sni, host=host)
    return shake(certificate=certificate, foreign=foreign)


def _with_mesh_certificate(traffic: Traffic, way: Path) -> tuple[TlsHandshake, ...]:
    """Handshakes with the mesh certificate, until the target cluster answers.

    Others of its network may be behind the same gateway.
    """
    network = traffic.mesh.spec.cluster(way.target).network
    there = [one for one in traffic.mesh.spec.data_planes if one.network == network]
    attempts: list[TlsHandshake] = []
    for _ in range(sample_size(len(there) if way.gateway else 1)):
        attempts.append(_handshake(traffic, way, ClientCertificate.MESH))
        answer = attempts[-1].answer
        if answer is None or answer.cluster == way.target:
            break
    return tuple(attempts)
