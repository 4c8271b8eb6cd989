"""Routes: MC-SERVICE-001, rules lead to hosts, ports and subsets that there are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ...istio_names import CLUSTER_LABEL, NETWORK_LABEL
from ...shell import Remedy
from ...snapshot import Object, Snapshot, name_of, namespace_of
from ...verdicts import Finding, Verdict, Weight
from ..catalogue import check
from ..judging import Found, names
from ..remedies import replacing
from .blame import judge, patched, shown
from .hosts import export_of, exported, is_ip
from .view import GATEWAY, ROUTE, RULE, Service, View

REFERENCE = "https://istio.io/latest/docs/reference/config/networking/virtual-service/"
MESH = "mesh"
_BY_ISTIOD = ("topology.istio.io/", "topology.kubernetes.io/", "failure-domain.beta")
"""Labels that istiod gives to endpoints besides those of their pods."""


@dataclass(frozen=True)
class Lead:
    """One destination of a route, and where in its VirtualService it stands.

    - ``weight``: 0 leads nobody there; ``copies`` says that it gets copies of requests only.
    - ``host`` is the full name.
    """

    item: Object
    path: str
    host: str
    written: str
    subset: str
    port: int | None
    weight: int
    copies: bool = False

    @property
    def pointer(self) -> str:
        """The place of the destination as a JSON pointer (RFC 6901)."""
        return "/" + self.path.replace("[", "/").replace("]", "").replace(".", "/")


@check(
    "MC-SERVICE-001",
    "Every route of your VirtualServices leads to a host, port and subset that exist and that its "
    "callers are told of.",
    spec_url=REFERENCE + "#Destination",
    explained_by=tuple(f"MC-ACCESS-00{number}" for number in range(1, 8)),
)
def routes_lead_somewhere(snapshot: Snapshot) -> Verdict:
    """Requests that follow a route to nothing get 503.

    Envoy's flags are NC, and UH for a subset without pods.
    """
    count = 0

    def look(view: View) -> Iterator[Found]:
        nonlocal count
        for item in view.users(ROUTE):
            for lead in leads(view, item):
                count += 1
                yield from wrong_lead(view, lead)
            yield from _bound(view, item)
        yield from _conflicts(view)
        for item in view.users(RULE):
            yield from _unknown_host(view, item)

    return judge(snapshot, look, lambda: f"{count} routes lead to services that there are")


def leads(view: View, item: Object) -> Iterator[Lead]:
    """Every destination of a VirtualService."""
    spec = item["spec"]
    for protocol in ("http", "tls", "tcp"):
        for place, rule in enumerate(spec.get(protocol) or ()):
            routes = rule.get("route") or ()
            for number, route in enumerate(routes):
                path = f"spec.{protocol}[{place}].route[{number}].destination"
                # one destination alone gets everything, whatever its weight
                weight = route.get("weight", 0) if len(routes) > 1 else 1
                yield _lead(view, item, path, route.get("destination") or {}, weight)
            path = f"spec.{protocol}[{place}]"
            if rule.get("mirror"):
                yield _lead(view, item, f"{path}.mirror", rule["mirror"], 1, copies=True)
            for number, one in enumerate(rule.get("mirrors") or ()):
                there = f"{path}.mirrors[{number}].destination"
                yield _lead(view, item, there, one.get("destination") or {}, 1, copies=True)


def _lead(
    view: View,
    item: Object,
    path: str,
    destination: Mapping[str, Any],
    weight: int,
    *,
    copies: bool = False,
) -> Lead:
    written = str(destination.get("host", ""))
    host, port = view.resolved(written, item), (destination.get("port") or {}).get("number")
    return Lead(
        item, path, host, written, destination.get("subset", ""), port or None, weight, copies
    )


def wrong_lead(view: View, lead: Lead) -> Iterator[Finding]:
    """What is wrong with one destination; the first thing only."""
    if not lead.weight or not lead.host or is_ip(lead.host):
        return
    where = view.where(ROUTE, lead.item)

    def finding(
        fault: str,
        what: str,
        expected: str,
        seen: str,
        remedy: Remedy,
        weight: Weight = Weight.BROKEN,
    ) -> Finding:
        weight = Weight.RISK if lead.copies else weight
        effect = "copies of requests are lost" if lead.copies else "those requests fail"
        effect = effect if weight is Weight.BROKEN or lead.copies else "nothing answers there"
        return Finding(
            f"{where} leads to {what}: {effect}",
            view.served,
            expected=expected,
            seen=f"{lead.path}: {seen}",
            remedy=remedy,
            fault=fault,
            weight=weight,
        )

    if not view.knows(lead.host):
        fault, expected, remedy = _missing(view, lead)
        what = f"{lead.written}, which is no host that istiod of {view.plane.name} knows"
        yield finding(fault, what, expected, f"host {lead.written}", remedy)
        return
    service = view.services.get(lead.host)
    if service is None:
        return  # of a ServiceEntry; what it leads to is outside
    if (blind := _blind(view, lead, service)) is not None:
        todo = f"let its exportTo have {blind}, or move the route beside the service"
        expected = f"service {service} exported to {blind}"
        seen = f"host {lead.written}, whose annotation networking.istio.io/exportTo leaves it out"
        what = f"{service}, which proxies in {blind} are not told of"
        remedy = shown(view, ROUTE, lead.item, todo)
        yield finding("route-not-exported", what, expected, seen, remedy)
        return
    if lead.port is not None and lead.port not in service.ports:
        there = names(map(str, sorted(service.ports)))
        seen, what = f"port {lead.port}", f"port {lead.port} of {service}, which has only {there}"
        todo = f"write one of the ports {there}"
        remedy = shown(view, ROUTE, lead.item, todo)
        if len(service.ports) == 1:
            only = next(iter(service.ports))
            change = replacing(f"{lead.pointer}/port/number", lead.port, only)
            remedy = patched(view, ROUTE, lead.item, change)
        yield finding("route-port-missing", what, f"one of the ports {there}", seen, remedy)
        return
    if lead.subset:
        yield from _wrong_subset(view, lead, service, finding)


def _missing(view: View, lead: Lead) -> tuple[str, str, Remedy]:
    """Why a host is unknown: fault, what was expected, remedy."""
    path = f"{lead.pointer}/host"
    if lead.host in view.registered:
        selected = "a namespace that the discoverySelectors of the mesh configuration have"
        todo = "label the namespace as the discoverySelectors demand"
        return "route-not-discovered", selected, shown(view, ROUTE, lead.item, todo)
    longer = f"{lead.written}.svc.{view.domain}"
    if longer in view.services:
        change = replacing(path, lead.written, longer)
        expected = f"the full name {longer}: only names without a dot are completed"
        return "route-short-name", expected, patched(view, ROUTE, lead.item, change)
    namespace = lead.host.partition(".svc.")[0].partition(".")[2] or namespace_of(lead.item)
    near = {one.name: one for one in view.services.values() if one.namespace == namespace}
    alike = get_close_matches(lead.host.partition(".")[0], near, 1, 0.7)
    same = [one for one in view.of_users if one.name == lead.host.partition(".")[0]]
    if alike:
        meant = near[alike[0]].host
    elif len(same) == 1:
        meant = same[0].host
    else:
        todo = "make that Service, or name one that there is"
        return "route-host-missing", "a host that exists", shown(view, ROUTE, lead.item, todo)
    change = replacing(path, lead.written, meant)
    note = "if that is the one that was meant"
    remedy = patched(view, ROUTE, lead.item, change, note)
    return "route-host-missing", f"a host that exists, perhaps {meant}", remedy


def _blind(view: View, lead: Lead, service: Service) -> str | None:
    """A namespace with callers that follow the route and are not told of the service."""
    own = namespace_of(lead.item)
    gateways = lead.item["spec"].get("gateways") or (MESH,)
    if MESH not in gateways or view.sees(service, own):
        return None
    if not exported(export_of(lead.item), own, own):
        return None
    for cluster in view.served:
        if next(view.pods(cluster).with_sidecar(own), None) is not None:
            return own
    return None


def subsets_of(view: View, host: str) -> dict[str, list[tuple[Object, Mapping[str, Any]]]]:
    """The subsets of a host by name, each with the rules that define it."""
    found: dict[str, list[tuple[Object, Mapping[str, Any]]]] = defaultdict(list)
    for item in view.rules_for(host):
        for subset in item["spec"].get("subsets") or ():
            found[str(subset.get("name", ""))].append((item, subset))
    return found


def _wrong_subset(view: View, lead: Lead, service: Service, finding: Any) -> Iterator[Finding]:
    defined = subsets_of(view, lead.host)
    seen = f"host {lead.written}, subset {lead.subset}"
    what = f"subset {lead.subset} of {service}"
    if lead.subset not in defined:
        there = f"only {names(sorted(defined))}" if defined else "no subset"
        alike = get_close_matches(lead.subset, defined, 1, 0.6)
        todo = "define the subset in a DestinationRule, or lead to one that there is"
        remedy = shown(view, ROUTE, lead.item, todo)
        if alike and len(defined) == 1:
            change = replacing(f"{lead.pointer}/subset", lead.subset, alike[0])
            note = "if that is the one that was meant"
            remedy = patched(view, ROUTE, lead.item, change, note)
        expected = f"a DestinationRule for {lead.host} with the subset, there is {there}"
        no_rule = f"{what}, which no DestinationRule in {view.config.name} defines"
        yield finding("route-subset-missing", no_rule, expected, seen, remedy)
        return
    for rule, subset in defined[lead.subset]:
        labels = subset.get("labels") or {}
        if not labels or not _can_tell(labels) or view.unseen:
            return
        if view.has_workload_entries(service):
            return
        total = 0
        for cluster in service.copies:
            if not service.selector(cluster):
                return  # its endpoints are somebody's own
            chosen = view.pods_of(service, cluster)
            total += len(chosen)
            if any(_has(one.labels, labels, cluster, view) for one in chosen):
                return
        written = ", ".join(f"{key}={value}" for key, value in labels.items())
        if not total:
            return  # nothing runs at all: of the instances another check tells
        expected = f"a pod of {service} with {written}"
        empty = f"{what}, whose labels {written} no pod has"
        todo = "correct the labels of the subset, or let such a pod run"
        yield finding(
            "route-subset-empty",
            empty,
            expected,
            f"{seen}; {view.where(RULE, rule)}: labels {written}; none of {total} pods",
            shown(view, RULE, rule, todo),
        )
        return


def _can_tell(labels: Mapping[str, str]) -> bool:
    own = (CLUSTER_LABEL, NETWORK_LABEL)
    return not any(key.startswith(_BY_ISTIOD) and key not in own for key in labels)


def _has(found: Mapping[str, str], wanted: Mapping[str, str], cluster: str, view: View) -> bool:
    network = view.snapshot.spec.cluster(cluster).network
    own = {NETWORK_LABEL: network, **found, CLUSTER_LABEL: cluster}
    return wanted.items() <= own.items()


def _bound(view: View, item: Object) -> Iterator[Finding]:
    """Gateways that a VirtualService names and no cluster has; delegates that there are not."""
    own = namespace_of(item)
    for name in item["spec"].get("gateways") or ():
        if name == MESH or "autogenerated" in name:
            continue
        namespace, _, bare = name.rpartition("/")
        if not _exists(view, GATEWAY, namespace or own, bare):
            yield Finding(
                f"{view.where(ROUTE, item)} is for the Gateway {namespace or own}/{bare}, which no "
                "cluster has: nothing follows its routes there",
                view.served,
                expected="a Gateway of that name, or mesh",
                seen=f"spec.gateways: {name}",
                remedy=shown(view, ROUTE, item, "name a Gateway that there is"),
                fault="route-gateway-missing",
            )
    for place, rule in enumerate(item["spec"].get("http") or ()):
        if delegate := rule.get("delegate"):
            where = delegate.get("namespace") or own, str(delegate.get("name", ""))
            if not _exists(view, ROUTE, *where):
                yield Finding(
                    f"{view.where(ROUTE, item)} delegates to {where[0]}/{where[1]}, which there is "
                    "not: those requests fail",
                    view.served,
                    expected="a VirtualService of that name without hosts",
                    seen=f"spec.http[{place}].delegate: {where[0]}/{where[1]}",
                    remedy=shown(view, ROUTE, item, "name a VirtualService that there is"),
                    fault="route-delegate-missing",
                )


def _exists(view: View, kind: str, namespace: str, name: str) -> bool:
    # a Gateway may be in another cluster on purpose, where only the rules are everywhere
    spec = view.snapshot.spec
    everywhere = spec.config_clusters if kind == GATEWAY else (view.config.name,)
    kinds = (kind, "Gateway.gateway.networking.k8s.io") if kind == GATEWAY else (kind,)
    return any(
        (namespace_of(one), name_of(one)) == (namespace, name)
        for cluster in everywhere
        for listed in kinds
        for one in view.snapshot.clusters[cluster].listed(listed)
    )


def _conflicts(view: View) -> Iterator[Finding]:
    """Two VirtualServices for one host in the mesh, of which sidecars follow one only."""
    by_host: dict[str, list[Object]] = defaultdict(list)
    for item in view.users(ROUTE):
        if MESH in (item["spec"].get("gateways") or (MESH,)):
            for host in item["spec"].get("hosts") or ():
                by_host[view.resolved(host, item)].append(item)
    for host, items in by_host.items():
        for number, one in enumerate(items[1:], 1):
            first = items[number - 1]
            own, other = namespace_of(one), namespace_of(first)
            both = exported(export_of(first), other, own) and exported(export_of(one), own, own)
            if both and host in view.services:
                yield Finding(
                    f"{view.where(ROUTE, one)} and {view.where(ROUTE, first)} are both for {host}: "
                    "sidecars follow one of them only",
                    view.served,
                    expected="one VirtualService for each host in the mesh",
                    seen=f"spec.hosts of both have {host}",
                    remedy=shown(view, ROUTE, one, "join the routes of both in one of them"),
                    fault="route-conflict",
                    weight=Weight.RISK,
                )


def _unknown_host(view: View, item: Object) -> Iterator[Finding]:
    """A DestinationRule for a host that nobody knows: it does nothing."""
    written = str(item["spec"].get("host", ""))
    host = view.resolved(written, item)
    if not host or "*" in host or is_ip(host) or view.knows(host) or host in view.registered:
        return
    longer = f"{written}.svc.{view.domain}"
    remedy = shown(view, RULE, item, "name a host that there is")
    expected = "a host that istiod knows"
    if longer in view.services:
        remedy = patched(view, RULE, item, replacing("/spec/host", written, longer))
        expected = f"the full name {longer}: only names without a dot are completed"
    yield Finding(
        f"{view.where(RULE, item)} is for {written}, which is no host that istiod of "
        f"{view.plane.name} knows: it does nothing",
        view.served,
        expected=expected,
        seen=f"spec.host: {written}",
        remedy=remedy,
        fault="rule-host-missing",
        weight=Weight.RISK,
    )
