"""Observes services of other meshes: imported by ServiceEntry, or not exported by their mesh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ...eventually import awaited
from ...istio_names import EXPORT_TO, NETWORKING_API
from ...observations import Path, Plaintext, TlsHandshake, Trial
from ...probes import manifests, objects, workloads
from ...probes.paths import path
from ...probes.traffic import Traffic
from ...rights import ENTRIES, RULES, SERVICES, uses
from ..site import Site
from .facts import Imported

T = TypeVar("T")

EXPORTED, KEPT = "exported", "kept-to-its-namespace"


@uses(ENTRIES, RULES)
def imported_calls(site: Site) -> tuple[tuple[Imported, ...], float | None]:
    """Every mesh imports the others' probe service and asks for it until all answer.

    - One call for each ordered pair of meshes of which the target has a gateway address.
    - The seconds that it took; None where not all answered within ``config_propagation``.
    """
    traffic, kubes, gateways = site.traffic(), site.kubes(), site.gateways()
    mesh = traffic.mesh
    ways = [
        way
        for source, target in mesh.spec.pairs
        if (way := path(mesh, gateways, source.name, target.name, manifests.HTTP)) is not None
    ]

    def ask(way: Path) -> Imported:
        host = _imported_name(traffic, way.target)
        addresses = traffic.resolve(way.source, host)
        request = traffic.requests(way.source, host, manifests.HTTP)[0]
        return Imported(way.source, way.target, host, addresses, request)

    def observe() -> tuple[Imported, ...]:
        return tuple(traffic.from_each(ways, ask))

    def all_answered(calls: Sequence[Imported]) -> bool:
        # the name may have come to be known between the two questions
        return all(call.addresses and call.request.succeeded for call in calls)

    made: dict[str, list[manifests.Manifest]] = {}
    for way in ways:
        made.setdefault(way.source, []).extend(_import(traffic, way))
    with (
        workloads.own_namespace(mesh, kubes, traffic.timeouts, "imports") as namespace,
        objects.present(mesh, kubes, namespace, made),
    ):
        within, what = traffic.timeouts.config_propagation, "answers across meshes"
        return awaited(observe, all_answered, within_seconds=within, what=what)


@uses(SERVICES, RULES)
def not_exported(site: Site) -> tuple[Trial, ...]:
    """Handshakes with other meshes' gateways, for a service that is kept to its namespace.

    - The twin is an exported service beside it, made at the same time, with the same pods.
    - The twin is asked for first, until it answers: then the other one is refused for what it is,
      and not because the gateway has yet to hear of it.
    """
    traffic, gateways = site.traffic(), site.gateways()
    mesh, budget = traffic.mesh, traffic.timeouts.config_propagation
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
        known, _ = awaited(
            lambda: call(way, EXPORTED),
            lambda seen: seen.answer is not None,
            within_seconds=budget,
            what="an answer from an exported service",
        )
        refused: tuple[TlsHandshake | Plaintext, ...] = (call(way, KEPT),)
        return Trial(source, target, way, refused, (known,))

    service, keep = traffic.probes.service, {EXPORT_TO: "."}
    services = [
        manifests.extra_service(EXPORTED, service),
        manifests.extra_service(KEPT, service, keep),
    ]
    made = {cluster.name: services for cluster in mesh.spec.data_planes}
    with objects.present(mesh, site.kubes(), traffic.probes.namespace, made):
        return tuple(traffic.from_each(ways, attempt))


def _imported_name(traffic: Traffic, target: str) -> str:
    """The name under which other meshes import the probe service of ``target``."""
    return f"{traffic.host(traffic.probes.service)}.svc.{target}.local"


def _import(traffic: Traffic, way: Path) -> list[manifests.Manifest]:
    """Lead to another mesh's service, with mutual TLS through its gateway.

    The server name is the one that the other mesh has for its service; its workload must show the
    identity that it has there.
    """
    spec, probes = traffic.mesh.spec, traffic.probes
    host = _imported_name(traffic, way.target)
    domain = spec.trust_domain_of(spec.cluster(way.target))
    accounts = sorted({pod.service_account for pod in probes.servers(way.target)})
    is_address = way.address.replace(".", "").isdigit() or ":" in way.address
    entry = {
        "hosts": [host],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC" if is_address else "DNS",
        "ports": [{"number": manifests.HTTP, "name": "http", "protocol": "HTTP"}],
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
    name = f"{probes.service}-of-{way.target}"
    return [
        {"apiVersion": NETWORKING_API, "kind": kind, "metadata": {"name": name}, "spec": spec}
        for kind, spec in (("ServiceEntry", entry), ("DestinationRule", rule))
    ]
