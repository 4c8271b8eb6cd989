"""Namespace sameness: MC-CONTROL-008, a service of one name is one service, with the same ports, in every cluster that has it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ObservationError
from ..snapshot import Object, Snapshot, is_east_west_service, name_of, namespace_of
from ..spec import Feature
from ..verdicts import Finding, Verdict
from .catalogue import check
from .judging import Commands, Found, Gap, names, settle

IGNORED_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease")
"""Namespaces whose services Istio keeps within a cluster by default, or that belong to Kubernetes itself."""


@check(
    "MC-CONTROL-008",
    "A service that exists in several clusters has the same ports, protocols and headlessness in all of them.",
    spec_url="https://istio.io/latest/docs/ops/deployment/deployment-models/#namespace-tenancy",
    requires=(Feature.SHARED_SERVICES,),
)
def namespace_sameness(snapshot: Snapshot) -> Verdict:
    """Ports are compared by number, name's protocol and appProtocol; node ports, target ports and addresses may differ."""
    copies: dict[tuple[str, str], dict[str, Object]] = defaultdict(dict)
    gaps: list[Found] = []
    for cluster in snapshot:
        try:
            for service in cluster.listed("Service"):
                if _compared(snapshot, service):
                    copies[(namespace_of(service), name_of(service))][cluster.name] = service
        except ObservationError as error:
            gaps.append(Gap(str(error)))
    shared = {key: found for key, found in copies.items() if len(found) > 1}

    def everything() -> Iterator[Found]:
        yield from gaps
        for (namespace, name), found in sorted(shared.items()):
            yield from _differences(snapshot, namespace, name, found)

    return settle(everything(), f"{len(shared)} services exist in several clusters, and are the same in all of them")


def _compared(snapshot: Snapshot, service: Object) -> bool:
    namespace = namespace_of(service)
    if namespace in IGNORED_NAMESPACES or namespace == snapshot.spec.istio_namespace:
        return False
    return (namespace, name_of(service)) != ("default", "kubernetes") and not is_east_west_service(service)


def protocol_of(port: Mapping[str, Any]) -> str:
    """The protocol of a Service port as Istio selects it: appProtocol, else the part of its name before the first hyphen."""
    if port.get("protocol", "TCP") != "TCP":
        return str(port["protocol"]).lower()
    known = ("http", "http2", "https", "grpc", "grpc-web", "tcp", "tls", "mongo", "mysql", "redis", "udp")
    named = str(port.get("appProtocol") or port.get("name") or "").lower()
    for protocol in sorted(known, key=len, reverse=True):
        if named == protocol or named.startswith(protocol + "-"):
            return protocol
    return {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http"}.get(named, "auto")


def _differences(snapshot: Snapshot, namespace: str, name: str, found: Mapping[str, Object]) -> Iterator[Found]:
    reference, *others = found
    commands = Commands(snapshot)
    for other in others:
        pair = (reference, other)
        ports = [{port["port"]: protocol_of(port) for port in found[cluster]["spec"].get("ports") or ()} for cluster in pair]
        headless = [found[cluster]["spec"].get("clusterIP") == "None" for cluster in pair]
        remedy = (
            commands.kubectl(reference, f"get service {name} -o yaml", namespace)
            + f" > {name}.yaml; take clusterIP, clusterIPs, nodePort, uid and resourceVersion out of it; "
            + commands.kubectl(other, f"apply -f {name}.yaml", namespace)
        )

        def finding(
            what: str, values: tuple[object, object], fault: str, other: str = other, pair: tuple[str, str] = pair, remedy: str = remedy
        ) -> Finding:
            return Finding(
                f"service {name}.{namespace} has {what} in {names(pair)}",
                pair,
                expected=f"as in {reference}: {values[0]}",
                seen=f"{other}: {values[1]}",
                remedy=remedy,
                fault=fault,
            )

        if headless[0] != headless[1]:
            shown = ["headless" if one else "with a cluster IP" for one in headless]
            yield finding("a cluster IP in one and none in the other", (shown[0], shown[1]), "svc-headless-mixed")
        if ports[0].keys() != ports[1].keys():
            yield finding("different port numbers", (sorted(ports[0]), sorted(ports[1])), "svc-port-number")
        elif ports[0] != ports[1]:
            yield finding("different protocols", (ports[0], ports[1]), "svc-protocol")
