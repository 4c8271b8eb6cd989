"""Instances: MC-SERVICE-002, services find their pods, with ports, sidecars and networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ... import shell
from ...istio_names import NETWORK_LABEL
from ...snapshot import Snapshot
from ...verdicts import Finding, Verdict, Weight
from ..catalogue import check
from ..judging import Found, names
from ..oracle import gateways_of, networks_of
from ..remedies import Commands, replacing
from .blame import judge
from .pods import Pod
from .routes import leads
from .view import ROUTE, Service, View


@check(
    "MC-SERVICE-002",
    "Every service of your own finds its pods: its selector, its named target ports, and the "
    "sidecars and networks of the pods fit.",
    spec_url="https://istio.io/latest/docs/ops/deployment/application-requirements/",
    explained_by=tuple(f"MC-CONTROL-00{number}" for number in range(2, 8)),
)
def services_find_their_pods(snapshot: Snapshot) -> Verdict:
    """A service in one cluster alone is healthy, one scaled to none is, too.

    Broken is what contradicts itself: a selector beside pods that the same service of another
    cluster chooses, a port without endpoints beside ports that have some, pods on a network that
    their cluster is not on.
    """
    count = 0

    def look(view: View) -> Iterator[Found]:
        nonlocal count
        routed = {
            lead.host for item in view.users(ROUTE) for lead in leads(view, item) if lead.weight
        }
        gateways = _networks_with_gateways(view)
        for service in view.of_users:
            count += 1
            yield from _selector(view, service, service.host in routed)
            for cluster in service.copies:
                if cluster in view.served:
                    yield from _target_ports(view, service, cluster)
                    yield from _sidecars(view, service, cluster)
        for cluster in view.served:
            yield from _networks(view, cluster, gateways)

    return judge(snapshot, look, lambda: f"{count} services find the pods that they have")


def _selector(view: View, service: Service, routed: bool) -> Iterator[Finding]:
    selectors = {name: service.selector(name) for name in service.copies}
    if not all(selectors.values()):
        return  # somebody else makes its endpoints, or it is a name for another one
    if view.has_workload_entries(service):
        return
    chosen = {name: view.pods_of(service, name) for name in selectors}
    commands = Commands(view.snapshot)
    for name, selector in selectors.items():
        if chosen[name] or name not in view.served:
            continue
        for other, theirs in selectors.items():
            there = view.pods(name).selected(service.namespace, theirs)
            if theirs != selector and chosen[other] and there:
                change = replacing("/spec/selector", dict(selector), dict(theirs))
                show = commands.show(name, "services", service.copies[name])
                patch = commands.patch(name, "services", service.name, change, service.namespace)
                elsewhere = _runs_anywhere(view, service, selector)
                yield Finding(
                    f"Service {service} of {name} selects no pod, and with the selector that it "
                    f"has in {other} it would select {len(there)}",
                    (name,),
                    expected=f"spec.selector as in {other}: {_labels(theirs)}",
                    seen=f"spec.selector: {_labels(selector)}",
                    remedy=shell.then(show, patch),
                    fault="svc-selector",
                    # what runs elsewhere may be on its way here
                    weight=Weight.RISK if elsewhere else Weight.BROKEN,
                )
                return
    if any(chosen.values()):
        return
    where = names(service.copies)
    first = next(iter(service.copies))
    selector = selectors[first]
    near = _nearly(view, service, first, selector)
    hint = f"; pods there have {near}" if near else ""
    remedy = commands.show(first, "services", service.copies[first])
    yield Finding(
        f"Service {service} selects no pod in {where}"
        + (", and a VirtualService leads requests to it" if routed else ""),
        tuple(service.copies),
        expected=f"pods with {_labels(selector)}",
        seen=f"spec.selector: {_labels(selector)}; no such pod{hint}",
        remedy=shell.with_note(remedy, "correct the selector, or let such pods run"),
        fault="svc-no-pods",
        weight=Weight.RISK if routed or near else Weight.NOTE,
    )


def _runs_anywhere(view: View, service: Service, selector: Mapping[str, str]) -> bool:
    clusters = service.copies
    return any(view.pods(name).selected(service.namespace, selector) for name in clusters)


def _nearly(view: View, service: Service, cluster: str, selector: Mapping[str, str]) -> str:
    """Labels of pods that differ from a selector in one value that is written alike."""
    from difflib import get_close_matches

    for pod in view.pods(cluster).by_namespace.get(service.namespace, ()):
        wrong = [key for key, value in selector.items() if pod.labels.get(key) != value]
        if len(wrong) == 1 and wrong[0] in pod.labels:
            value = pod.labels[wrong[0]]
            if get_close_matches(value, [selector[wrong[0]]], 1, 0.7):
                return f"{wrong[0]}={value}"
    return ""


def _labels(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels.items())


def _target_ports(view: View, service: Service, cluster: str) -> Iterator[Finding]:
    """A named target port that no container has: Kubernetes makes no endpoints for it."""
    held = view.groups(service, cluster)
    pods = view.pods_of(service, cluster)
    if held is None or not pods:
        return
    with_endpoints = {one.name for one in held}
    for place, port in enumerate(service.copies[cluster]["spec"].get("ports") or ()):
        target = port.get("targetPort")
        named = isinstance(target, str) and not target.isdigit()
        if not named or port.get("protocol", "TCP") != "TCP":
            continue
        if port.get("name", "") in with_endpoints:
            continue
        commands = Commands(view.snapshot)
        show = commands.show(cluster, "services", service.copies[cluster])
        todo = f"give a container a port of the name {target}, or write the number as targetPort"
        sure = bool(with_endpoints)
        yield Finding(
            f"port {port['port']} of Service {service} in {cluster} has no endpoint, though "
            f"{len(pods)} pods are selected"
            + (f": no container has a port {target}" if sure else ""),
            (cluster,),
            expected=f"a container port of the name {target}",
            seen=f"spec.ports[{place}].targetPort: {target}"
            + ("" if sure else "; or none of the pods is ready"),
            remedy=shell.with_note(show, todo),
            fault="svc-target-port",
            weight=Weight.BROKEN if sure else Weight.RISK,
        )


def _sidecars(view: View, service: Service, cluster: str) -> Iterator[Finding]:
    """Pods without sidecar in a namespace where pods get one."""
    if service.namespace not in view.injected(cluster):
        return
    pods = [one for one in view.pods_of(service, cluster) if not one.has_sidecar]
    without = [one for one in pods if not one.declines]
    if not without:
        return
    some = any(one.has_sidecar for name in service.copies for one in view.pods_of(service, name))
    networks = {one.network for one in view.snapshot.spec.data_planes}
    effect = (
        "clusters on other networks do not reach them" if len(networks) > 1 else "no mutual TLS"
    )
    commands = Commands(view.snapshot)
    look = commands.kubectl(
        cluster, "get pods --show-labels", "-l", _pairs(service, cluster),
        namespace=service.namespace,
    )  # fmt: skip
    yield Finding(
        f"{len(without)} pods of Service {service} in {cluster} have no sidecar, though the "
        f"namespace is injected: {effect}",
        (cluster,),
        expected="a sidecar in each pod of an injected namespace",
        seen=f"without: {names(one.name for one in without[:3])}",
        remedy=shell.with_note(
            look, "restart their workload, so that they are injected; on the host network none is"
        ),
        fault="pod-no-sidecar",
        # where none of its pods has one anywhere, that may be meant
        weight=Weight.RISK if some else Weight.NOTE,
    )


def _pairs(service: Service, cluster: str) -> str:
    return ",".join(f"{key}={value}" for key, value in service.selector(cluster).items())


def _networks_with_gateways(view: View) -> Mapping[str, frozenset[str]] | None:
    """The networks to which gateways lead, by cluster; None where networks are told otherwise."""
    if networks_of(view.snapshot, view.plane):
        return None
    found: dict[str, set[str]] = {}
    for gateway in gateways_of(view.snapshot, view.plane):
        found.setdefault(gateway.cluster, set()).add(gateway.network)
    return {cluster: frozenset(networks) for cluster, networks in found.items()}


def _networks(
    view: View, cluster: str, gateways: Mapping[str, frozenset[str]] | None
) -> Iterator[Finding]:
    """Pods whose label names a network that their cluster is not on."""
    if gateways is None:
        return
    spec = view.snapshot.spec
    own = spec.cluster(cluster).network
    elsewhere = frozenset().union(*(found for name, found in gateways.items() if name != cluster))
    wrong: dict[tuple[str, str], list[Pod]] = {}
    for pod in view.pods(cluster).all:
        known = (own, "", *gateways.get(cluster, ()))
        if pod.has_sidecar and pod.network not in known:
            wrong.setdefault((pod.namespace, pod.network), []).append(pod)
    for (namespace, network), pods in wrong.items():
        sure = network in elsewhere or len(spec.networks) > 1
        first = f"pod/{pods[0].name}"
        look = Commands(view.snapshot).kubectl(
            cluster, "get", first, "-o", "yaml", namespace=namespace
        )
        todo = "take the label out of the workload, and restart it: injection writes the right one"
        yield Finding(
            f"{len(pods)} pods of {namespace} in {cluster} are labelled as on {network}, and "
            f"{cluster} is on {own}: requests for them go elsewhere",
            (cluster,),
            expected=f"label {NETWORK_LABEL}: {own}, or none",
            seen=f"{NETWORK_LABEL}: {network} on {names(one.name for one in pods[:3])}",
            remedy=shell.with_note(look, todo),
            fault="pod-network",
            weight=Weight.BROKEN if sure else Weight.RISK,
        )
