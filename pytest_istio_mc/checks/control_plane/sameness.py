"""Namespace sameness: MC-CONTROL-008, a service of one name is one service everywhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ... import shell
from ...errors import ObservationError
from ...istio_names import DATAPLANE_LABEL, EXPORT_TO, KUBE_SYSTEM
from ...shell import Remedy
from ...snapshot import (
    Object,
    Snapshot,
    annotations_of,
    is_east_west_service,
    is_injected,
    labels_of,
    name_of,
    namespace_of,
)
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, Gap, names, verdict_from
from ..remedies import Commands

Ports = Mapping[int, Mapping[str, Any]]

IGNORED_NAMESPACES = (KUBE_SYSTEM, "kube-public", "kube-node-lease")
"""Namespaces of Kubernetes itself, or whose services Istio keeps within a cluster by default."""

_PROTOCOLS = (
    "grpc-web", "https", "http2", "mongo", "mysql", "redis", "http", "grpc", "tcp", "tls", "udp",
)  # fmt: skip
"""Longer names before their own beginnings."""


@check(
    "MC-CONTROL-008",
    "A service that exists in several clusters has the same ports, protocols and headlessness in "
    "all of them.",
    spec_url="https://istio.io/latest/docs/ops/deployment/deployment-models/#namespace-tenancy",
    requires=(Feature.SHARED_SERVICES,),
)
def namespace_sameness(snapshot: Snapshot) -> Verdict:
    """Ports are compared by number, name and protocol; node and target ports may differ."""
    copies: dict[tuple[str, str], dict[str, Object]] = defaultdict(dict)
    found: list[Found] = []
    try:
        injected, local = _shared_namespaces(snapshot), _kept_local(snapshot)
    except ObservationError as error:
        return verdict_from([Gap(str(error))], "")
    for cluster in snapshot:
        try:
            for service in cluster.listed("Service"):
                host = f"{name_of(service)}.{namespace_of(service)}.svc."
                if (
                    namespace_of(service) in injected
                    and _compared(snapshot, service)
                    and not any(_covers(pattern, host) for pattern in local)
                ):
                    copies[(namespace_of(service), name_of(service))][cluster.name] = service
        except ObservationError as error:
            found.append(Gap(str(error)))
    shared = {key: services for key, services in copies.items() if len(services) > 1}
    for (namespace, name), services in sorted(shared.items()):
        reference, *others = services.items()
        for other in others:
            found += _differences(snapshot, f"{name}.{namespace}", reference, other)
    passed = f"{len(shared)} services exist in several clusters, and are the same in all of them"
    return verdict_from(found, passed)


def _shared_namespaces(snapshot: Snapshot) -> set[str]:
    """The namespaces with workloads of the mesh, in any cluster.

    - Elsewhere (monitoring, operators) every cluster has its own, which nobody shares.
    - ``ObservationError`` where they could not be read.
    """
    return {
        name_of(item)
        for cluster in snapshot
        for item in cluster.listed("Namespace")
        if is_injected(item) or labels_of(item).get(DATAPLANE_LABEL) == "ambient"
    }


def _kept_local(snapshot: Snapshot) -> set[str]:
    """The host patterns that all control planes keep within their clusters.

    ``ObservationError`` where an istiod does not tell its mesh configuration.
    """
    kept: list[set[str]] = []
    for plane in snapshot.spec.control_planes:
        istiods = snapshot.clusters[plane.name].istiods
        settings = istiods[0].debugged("mesh").get("serviceSettings") or () if istiods else ()
        kept.append(
            {
                host
                for one in settings
                if (one.get("settings") or {}).get("clusterLocal")
                for host in one.get("hosts") or ()
            }
        )
    return set.intersection(*kept) if kept else set()


def _covers(pattern: str, host: str) -> bool:
    """Whether a pattern of ``serviceSettings`` is about a host, given without its domain."""
    full = host + pattern.rpartition("svc.")[2]
    return full.endswith(pattern[1:]) if pattern.startswith("*") else full == pattern


def _compared(snapshot: Snapshot, service: Object) -> bool:
    namespace = namespace_of(service)
    return (
        annotations_of(service).get(EXPORT_TO, "*").strip() != "~"
        and namespace not in (*IGNORED_NAMESPACES, snapshot.spec.istio_namespace)
        and (namespace, name_of(service)) != ("default", "kubernetes")
        and not is_east_west_service(service)
    )


def protocol_of(port: Mapping[str, Any]) -> str:
    """The protocol of a Service port as Istio selects it.

    ``appProtocol``, else the part of the port's name before the first hyphen.
    """
    if port.get("protocol", "TCP") != "TCP":
        return str(port["protocol"]).lower()
    named = str(port.get("appProtocol") or port.get("name") or "").lower()
    for protocol in _PROTOCOLS:
        if named == protocol or named.startswith(protocol + "-"):
            return protocol
    return {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http"}.get(named, "auto")


_ASPECTS: tuple[tuple[str, Callable[[Ports], object], str], ...] = (
    ("port numbers", sorted, "svc-port-number"),
    ("protocols", lambda ports: {n: protocol_of(ports[n]) for n in ports}, "svc-protocol"),
    # istiod merges endpoints of several clusters by the name of the port
    ("port names", lambda ports: {n: ports[n].get("name", "") for n in ports}, "svc-port-name"),
)
"""What must be the same of a service's ports, with the fault where it is not."""


def _differences(
    snapshot: Snapshot, service: str, first: tuple[str, Object], second: tuple[str, Object]
) -> Iterator[Found]:
    (reference, right), (other, wrong) = first, second
    name, namespace = name_of(wrong), namespace_of(wrong)
    commands = Commands(snapshot)
    show = commands.show(other, "service", wrong)

    def finding(what: str, expected: object, seen: object, remedy: Remedy, fault: str) -> Finding:
        return Finding(
            f"service {service} has {what} in {reference} and {other}",
            (reference, other),
            expected=f"as in {reference}: {expected}",
            seen=f"{other}: {seen}",
            remedy=remedy,
            fault=fault,
        )

    headless, headless_there = (
        "headless" if item["spec"].get("clusterIP") == "None" else "with a cluster IP"
        for item in (right, wrong)
    )
    if headless != headless_there:
        # a Service can neither be given a cluster IP nor lose it
        remedy = shell.left_to_people(
            shell.then(commands.show(reference, "service", right), show),
            f"whoever owns it decides which is right; in {other} it is then made anew, {headless}",
            commands.delete(other, "service", wrong),
        )
        what = "a cluster IP in only one"
        yield finding(what, headless, headless_there, remedy, "svc-headless-mixed")
    expected, seen = (
        {port["port"]: port for port in item["spec"].get("ports") or ()} for item in (right, wrong)
    )
    change, besides = _adjusting(right["spec"].get("ports") or (), wrong["spec"].get("ports") or ())
    patch = shell.then(show, commands.patch(other, "service", name, change, namespace))
    advice = f"or change the one in {reference}, if this one is right"
    if besides:
        advice += f"; {other} keeps {names(map(str, besides))}, which only its owner can take away"
    remedy = shell.with_note(patch, advice)
    for what, look, fault in _ASPECTS:
        if look(expected) != look(seen):
            yield finding(f"different {what}", look(expected), look(seen), remedy, fault)
            return


def _adjusting(
    right: Sequence[Object], wrong: Sequence[Object]
) -> tuple[list[dict[str, Any]], list[int]]:
    """The JSON patch operations that make ports alike, field by field.

    - A port is that of the same number, or else of the same name.
    - What lacks is added. What there is besides stays, as somebody may use it: its port numbers.
    """
    operations: list[dict[str, Any]] = []
    left = dict(enumerate(wrong))
    for port in right:
        same = [number for number, one in left.items() if one["port"] == port["port"]]
        named = [
            number for number, one in left.items() if one.get("name", "") == port.get("name", "")
        ]
        if not same and not (
            named and left[named[0]]["port"] not in {one["port"] for one in right}
        ):
            added = {key: value for key, value in port.items() if key != "nodePort"}
            operations.append({"op": "add", "path": "/spec/ports/-", "value": added})
            continue
        place = (same or named)[0]
        was, path = left.pop(place), f"/spec/ports/{place}"
        operations.append({"op": "test", "path": f"{path}/port", "value": was["port"]})
        for key in ("port", "name", "protocol", "appProtocol"):
            if port.get(key) == was.get(key):
                continue
            if key in port:
                change = {"op": "add", "path": f"{path}/{key}", "value": port[key]}
            else:
                change = {"op": "remove", "path": f"{path}/{key}"}
            operations.append(change)
    return operations, [one["port"] for one in left.values()]
