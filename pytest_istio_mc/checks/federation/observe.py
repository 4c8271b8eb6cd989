"""Federation: services of other meshes, imported by ServiceEntry, and services that their mesh does not export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from ...errors import NotInTime
from ...eventually import Converged, eventually
from ...mesh import Mesh
from ...observations import GatewayAddress, Path, Plaintext, TlsHandshake, Trial
from ...probes import manifests
from ...probes.paths import path
from ...probes.traffic import Traffic
from ...together import for_each
from .facts import Imported

if TYPE_CHECKING:
    from ...kube import Kube

EXPORTED, KEPT = "exported", "kept-to-its-namespace"
_EXPORT_TO = "networking.istio.io/exportTo"


def imported_name(mesh: Mesh, target: str) -> str:
    """The name under which other meshes import the probe service of ``target``: ``<service>.<namespace>.svc.<cluster>.local``."""
    assert mesh.probes is not None
    return f"{mesh.probes.service}.{mesh.probes.namespace}.svc.{target}.local"


def imported_calls(
    traffic: Traffic, kubes: Mapping[str, Kube], gateways: Sequence[GatewayAddress], namespace: str
) -> tuple[tuple[Imported, ...], Converged[Any] | None]:
    """Import the probe service of every other mesh into each, in ``namespace``, and ask for it until all answer.

    One for each ordered pair of meshes of which the target has a gateway address. The second value is how long it took, None where not
    all answered within ``config_propagation``.
    """
    mesh = traffic.mesh
    ways = [
        way
        for source, target in mesh.spec.pairs
        if (way := path(mesh, gateways, source.name, target.name, manifests.HTTP)) is not None
    ]

    def install(source: str) -> None:
        for way in ways:
            if way.source == source:
                kubes[source].apply(*_import(traffic, way), namespace=namespace)

    for_each(install, [cluster.name for cluster in mesh.spec.data_planes])

    def ask(way: Path) -> Imported:
        host = imported_name(mesh, way.target)
        return Imported(
            way.source,
            way.target,
            host,
            traffic.resolve(way.source, host),
            traffic.requests(way.source, host, manifests.HTTP)[0],
        )

    def observe() -> tuple[Imported, ...]:
        return tuple(traffic.from_each(ways, ask))

    def answered(calls: Sequence[Imported]) -> bool:
        # the name may have come to be known between the two questions
        return all(call.addresses and call.request.succeeded for call in calls)

    return _until(observe, answered, traffic.timeouts.config_propagation)


def not_exported(
    traffic: Traffic, kubes: Mapping[str, Kube], gateways: Sequence[GatewayAddress]
) -> tuple[Trial, ...]:
    """For every ordered pair of meshes, a handshake with the target's gateway for a service that is kept to its namespace.

    The twin is a service beside it, made at the same time and leading to the same pods, that is exported; it is asked for first, until it
    answers, so that the other one is refused for what it is and not because the gateway has yet to hear of it.
    """
    mesh = traffic.mesh
    ways = [
        (source.name, target.name, path(mesh, gateways, source.name, target.name, manifests.HTTP))
        for source, target in mesh.spec.pairs
    ]

    def call(way: Path, service: str) -> TlsHandshake:
        sni = traffic.sni(way.target, service, manifests.HTTP)
        return traffic.tls(way.source, way.address, way.port, sni=sni, host=traffic.host(service))

    def attempt(one: tuple[str, str, Path | None]) -> Trial:
        source, target, way = one
        if way is None:
            return Trial(source, target, None)
        known, _ = _until(
            lambda: call(way, EXPORTED),
            lambda seen: seen.answer is not None,
            traffic.timeouts.config_propagation,
        )
        refused: tuple[TlsHandshake | Plaintext, ...] = (call(way, KEPT),)
        return Trial(source, target, way, refused, (known,))

    with _two_services(mesh, kubes):
        return tuple(traffic.from_each(ways, attempt))


def _until(observe: Any, good: Any, within_seconds: float) -> tuple[Any, Converged[Any] | None]:
    """What is seen once it is good, and how long that took; else what was seen last."""
    try:
        converged = eventually(
            observe, good, within_seconds=within_seconds, what="answers across meshes"
        )
    except NotInTime:
        return observe(), None
    return converged.value, converged


@contextmanager
def _two_services(mesh: Mesh, kubes: Mapping[str, Kube]) -> Iterator[None]:
    """The exported and the kept service in the probe namespace of every mesh, for as long as the context lasts."""
    assert mesh.probes is not None
    namespace, app = mesh.probes.namespace, mesh.probes.service
    clusters = [cluster.name for cluster in mesh.spec.data_planes]
    services = [
        manifests.extra_service(EXPORTED, app),
        manifests.extra_service(KEPT, app, {_EXPORT_TO: "."}),
    ]
    try:
        for_each(lambda cluster: kubes[cluster].apply(*services, namespace=namespace), clusters)
        yield
    finally:
        for name in (EXPORTED, KEPT):
            for_each(partial(_remove_service, kubes, name, namespace), clusters)


def _remove_service(kubes: Mapping[str, Kube], name: str, namespace: str, cluster: str) -> None:
    kubes[cluster].delete("Service", name, namespace)


def _import(traffic: Traffic, way: Path) -> list[manifests.Manifest]:
    """The ServiceEntry and DestinationRule that lead to the service of another mesh, through its gateway, with mutual TLS to its workload.

    The server name is the one that the other mesh has for its service, and its workload must show the identity that it has there.
    """
    mesh, probes = traffic.mesh, traffic.probes
    host = imported_name(mesh, way.target)
    name = f"{probes.service}-of-{way.target}"
    domain = mesh.spec.trust_domain_of(mesh.spec.cluster(way.target))
    accounts = sorted({pod.service_account for pod in probes.servers(way.target)})
    port = {"number": manifests.HTTP, "name": "http", "protocol": "HTTP"}
    entry = {
        "hosts": [host],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC"
        if way.address.replace(".", "").isdigit() or ":" in way.address
        else "DNS",
        "ports": [port],
        "endpoints": [{"address": way.address, "ports": {"http": way.port}}],
        "subjectAltNames": [
            f"spiffe://{domain}/ns/{probes.namespace}/sa/{account}" for account in accounts
        ],
        "exportTo": [probes.namespace],
    }
    sni = traffic.sni(way.target, probes.service, manifests.HTTP)
    rule = {
        "host": host,
        "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL", "sni": sni}},
        "exportTo": [probes.namespace],
    }
    return [
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        for kind, spec in (("ServiceEntry", entry), ("DestinationRule", rule))
    ]
