"""Namespace sameness: MC-CONTROL-008, a service of one name is one service, with the same ports, in every cluster that has it."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import ObservationError
from ...snapshot import Object, Snapshot, is_east_west_service, name_of, namespace_of
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, Gap, verdict_from
from ..remedies import Commands

IGNORED_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease")
"""Namespaces whose services Istio keeps within a cluster by default, or that belong to Kubernetes itself."""


@check(
    "MC-CONTROL-008",
    "A service that exists in several clusters has the same ports, protocols and headlessness in all of them.",
    spec_url="https://istio.io/latest/docs/ops/deployment/deployment-models/#namespace-tenancy",
    requires=(Feature.SHARED_SERVICES,),
)
def namespace_sameness(snapshot: Snapshot) -> Verdict:
    """Ports are compared by number, name and protocol; node ports, target ports and addresses may differ."""
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

    return verdict_from(
        everything(),
        f"{len(shared)} services exist in several clusters, and are the same in all of them",
    )


def _compared(snapshot: Snapshot, service: Object) -> bool:
    namespace = namespace_of(service)
    if namespace in IGNORED_NAMESPACES or namespace == snapshot.spec.istio_namespace:
        return False
    return (namespace, name_of(service)) != ("default", "kubernetes") and not is_east_west_service(
        service
    )


def protocol_of(port: Mapping[str, Any]) -> str:
    """The protocol of a Service port as Istio selects it: appProtocol, else the part of its name before the first hyphen."""
    if port.get("protocol", "TCP") != "TCP":
        return str(port["protocol"]).lower()
    known = (
        "http",
        "http2",
        "https",
        "grpc",
        "grpc-web",
        "tcp",
        "tls",
        "mongo",
        "mysql",
        "redis",
        "udp",
    )
    named = str(port.get("appProtocol") or port.get("name") or "").lower()
    for protocol in sorted(known, key=len, reverse=True):
        if named == protocol or named.startswith(protocol + "-"):
            return protocol
    return {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http"}.get(named, "auto")


def _differences(
    snapshot: Snapshot, namespace: str, name: str, found: Mapping[str, Object]
) -> Iterator[Found]:
    reference, *others = found
    for other in others:
        yield from _pair(
            snapshot, f"{name}.{namespace}", (reference, found[reference]), (other, found[other])
        )


def _pair(
    snapshot: Snapshot, service: str, first: tuple[str, Object], second: tuple[str, Object]
) -> Iterator[Found]:
    (reference, right), (other, left) = first, second
    name, _, namespace = service.partition(".")
    commands = Commands(snapshot)

    def finding(what: str, expected: object, seen: object, remedy: str, fault: str) -> Finding:
        return Finding(
            f"service {service} has {what} in {reference} and {other}",
            (reference, other),
            expected=f"as in {reference}: {expected}",
            seen=f"{other}: {seen}",
            remedy=remedy,
            fault=fault,
        )

    headless = [item["spec"].get("clusterIP") == "None" for item in (right, left)]
    if headless[0] != headless[1]:
        words = ["headless" if one else "with a cluster IP" for one in headless]
        delete = commands.kubectl(other, f"delete service {name}", namespace)
        yield finding(
            "a cluster IP in only one",
            words[0],
            words[1],
            f"{delete}  # and create it {words[0]} again",
            "svc-headless-mixed",
        )
    ports = [
        {port["port"]: port for port in item["spec"].get("ports") or ()} for item in (right, left)
    ]
    wanted = [
        {key: value for key, value in port.items() if key != "nodePort"}
        for port in right["spec"].get("ports") or ()
    ]
    change = json.dumps(
        [{"op": "replace", "path": "/spec/ports", "value": wanted}], separators=(",", ":")
    )
    patch = commands.kubectl(
        other, f"patch service {name} --type=json -p {shlex.quote(change)}", namespace
    )
    protocols = [
        {number: protocol_of(port) for number, port in by_number.items()} for by_number in ports
    ]
    titles = [
        {number: port.get("name", "") for number, port in by_number.items()} for by_number in ports
    ]
    if ports[0].keys() != ports[1].keys():
        yield finding(
            "different port numbers", sorted(ports[0]), sorted(ports[1]), patch, "svc-port-number"
        )
    elif protocols[0] != protocols[1]:
        yield finding("different protocols", protocols[0], protocols[1], patch, "svc-protocol")
    elif titles[0] != titles[1]:
        # istiod merges endpoints of several clusters by the name of the port
        yield finding("different port names", titles[0], titles[1], patch, "svc-port-name")
