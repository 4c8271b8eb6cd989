"""Locality, from the snapshot: nodes are labelled, proxies know where they are and where each endpoint is."""

from __future__ import annotations

from collections.abc import Iterator

from ...errors import ObservationError
from ...snapshot import (
    LOCALITY_LABELS,
    ClusterSnapshot,
    Object,
    ProxyFacts,
    Snapshot,
    labels_of,
    locality_of,
    name_of,
)
from ...spec import ClusterSpec, Feature
from ...verdicts import Finding, Verdict, not_applicable
from ..catalogue import check
from ..judging import Found, Gap, each, names, verdict_from
from ..oracle import (
    Gateway,
    expected_endpoints,
    gateway_addresses,
    held_for,
    misplaced,
    ready_instances,
    service_ports,
)
from ..remedies import Commands
from ..trust.authority import serving
from .facts import declared_over

LOCALITY = "https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/"


@check(
    "MC-LOCALITY-001",
    "Nodes are labelled with where they are, and proxies know their own and each endpoint's region, zone and subzone.",
    spec_url=LOCALITY + "before-you-begin/",
    requires=(Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES),
    explained_by=("MC-CONTROL-002", "MC-CONTROL-005"),
)
def localities_known(snapshot: Snapshot) -> Verdict:
    """Istio takes the locality of an endpoint from the node's labels when it learns of it, that of a proxy when this connects: a label
    that is changed later reaches neither, but new Services."""
    clusters = snapshot.spec.data_planes
    nodes = [(cluster, node) for cluster in clusters for node in _listed(snapshot, cluster)]
    declared = [cluster for cluster in clusters if cluster.locality.region]
    if nodes and not declared and not any(locality_of(node).region for _, node in nodes):
        return not_applicable(
            "no node has a region, and the mesh spec declares none, so that all instances are equally near; label the nodes with "
            f"{LOCALITY_LABELS[0]} and {LOCALITY_LABELS[1]} to have Istio prefer the nearest"
        )
    found: list[Found] = []
    found += each(nodes, lambda cell: _node(snapshot, *cell))
    found += each(clusters, lambda cluster: _unlisted(snapshot, cluster))
    mislabelled = {name for item in found if isinstance(item, Finding) for name in item.clusters}
    proxies = [
        (cluster, proxy)
        for cluster in clusters
        for proxy in snapshot.clusters[cluster.name].proxies
        if proxy.kind in ("client", "server") and cluster.name not in mislabelled
    ]
    found += each(proxies, lambda cell: _proxy(snapshot, *cell))
    if not any(isinstance(item, Finding) for item in found):
        gateways = gateway_addresses(snapshot)
        found += each(proxies, lambda cell: _endpoints(snapshot, *cell, gateways))
    known = sum(_own(snapshot, cluster, proxy) is not None for cluster, proxy in proxies)
    places = dict.fromkeys(str(locality_of(node)) for _, node in nodes)
    otherwise = f"{len(nodes)} nodes are in {names(places)}; " + (
        f"{known} of {len(proxies)} proxies are taken to be where their nodes are, and so are the endpoints that they hold"
        if known
        else "the endpoints that proxies hold are where their nodes are (where istiod takes the proxies to be was not recorded)"
    )
    return verdict_from(found, otherwise, pairs=[cluster.name for cluster in clusters])


def _listed(snapshot: Snapshot, cluster: ClusterSpec) -> tuple[Object, ...]:
    try:
        return snapshot.clusters[cluster.name].listed("Node")
    except ObservationError:
        return ()  # _unlisted says so


def _unlisted(snapshot: Snapshot, cluster: ClusterSpec) -> Iterator[Found]:
    snapshot.clusters[cluster.name].listed("Node")
    yield from ()


def _node(snapshot: Snapshot, cluster: ClusterSpec, node: Object) -> Iterator[Found]:
    """The labels against what the spec declares; without that, a region where other nodes of the mesh have one."""
    has = locality_of(node)
    wanted = declared_over(cluster, has)
    if has == wanted and has.region:
        return
    labels = dict(zip(LOCALITY_LABELS, (wanted.region, wanted.zone, wanted.subzone), strict=True))
    wrong = {
        label: value
        for label, value in labels.items()
        if value and labels_of(node).get(label, "") != value
    }
    missing = [label for label in wrong if label not in labels_of(node)] or (
        [LOCALITY_LABELS[0]] if not has.region and not wrong else []
    )
    assigned = (
        " ".join(f"{label}={value}" for label, value in wrong.items())
        or f"{LOCALITY_LABELS[0]}=REGION  # the region that this node is in"
    )
    relabel = Commands(snapshot).kubectl(
        cluster.name, f"label node {name_of(node)} --overwrite {assigned}"
    )
    restart = Commands(snapshot).restart_workloads(cluster.name) if wrong else ""
    yield Finding(
        f"node {name_of(node)} of {cluster.name} "
        + (
            f"has no label {names(missing)}"
            if missing
            else f"is labelled as in {has}, which is not where {cluster.name} is"
        ),
        (cluster.name,),
        expected=", ".join(f"{label}={value}" for label, value in labels.items() if value)
        or "a region, as nodes of other clusters have",
        seen=", ".join(
            f"{label}={value}"
            for label, value in labels_of(node).items()
            if label in LOCALITY_LABELS
        )
        or "none of these labels",
        remedy=f"{relabel} && {restart}" if restart else relabel,
        fault="loc-node-labels" if missing else "loc-node-wrong",
    )


def _own(snapshot: Snapshot, cluster: ClusterSpec, proxy: ProxyFacts) -> str | None:
    """Where the control plane takes a proxy to be, None where that was not recorded."""
    plane = snapshot.clusters[serving(snapshot, cluster.name).name]
    for istiod in plane.istiods:
        for row in istiod.debug.get("adsz") or ():
            if row["proxy"] == f"{proxy.pod}.{proxy.namespace}":
                return str(row["locality"])
    return None


def _proxy(snapshot: Snapshot, cluster: ClusterSpec, proxy: ProxyFacts) -> Iterator[Found]:
    own, node = _own(snapshot, cluster, proxy), _node_of(snapshot.clusters[cluster.name], proxy)
    if own is None:
        yield from _unread(snapshot, cluster, proxy)
        return
    if node is None:
        return
    wanted = declared_over(cluster, locality_of(node))
    if own != str(wanted):
        restart = Commands(snapshot).kubectl(
            cluster.name, f"delete pod {proxy.pod}", proxy.namespace
        )
        stale = own != str(locality_of(node))
        yield Finding(
            f"istiod takes proxy {proxy.pod} of {cluster.name} to be in {own or 'no locality'}"
            + (f", though its node is labelled {locality_of(node) or 'nothing'}" if stale else ""),
            (cluster.name,),
            expected=str(wanted) or "no locality",
            seen=f"{own or 'no locality'}, as it was when the proxy connected",
            remedy=restart,
            fault="loc-proxy",
        )


def _unread(snapshot: Snapshot, cluster: ClusterSpec, proxy: ProxyFacts) -> Iterator[Gap]:
    """A gap where an istiod was asked for its clients and did not say; not one where a snapshot has no such thing."""
    for istiod in snapshot.clusters[serving(snapshot, cluster.name).name].istiods:
        for failure in istiod.failures:
            if failure.what == "adsz":
                yield Gap(
                    f"where istiod {istiod.pod} takes proxy {proxy.pod} of {cluster.name} to be: {failure.error}"
                )


def _node_of(cluster: ClusterSnapshot, proxy: ProxyFacts) -> Object | None:
    pod = cluster.found("Pod", proxy.pod, proxy.namespace)
    name = (pod or {}).get("spec", {}).get("nodeName", "")
    return next((node for node in cluster.listed("Node") if name_of(node) == name), None)


def _endpoints(
    snapshot: Snapshot, cluster: ClusterSpec, proxy: ProxyFacts, gateways: tuple[Gateway, ...]
) -> Iterator[Found]:
    proxy.require_dump()
    for number, name in service_ports(snapshot):
        instances = {
            target.name: ready_instances(snapshot, snapshot.clusters[target.name], name)
            for target in snapshot.spec.data_planes
        }
        wanted = expected_endpoints(snapshot.spec, cluster, instances, gateways)
        held = held_for(proxy, f"outbound|{number}||", snapshot) or ()
        wrong = misplaced(wanted, held)
        if wrong:
            seen = {(one.address, one.port): one.locality or "(none)" for one in held}
            targets = tuple(dict.fromkeys(target for one in wrong for target in one.targets))
            yield Finding(
                f"proxy {proxy.pod} of {cluster.name} takes endpoints of {names(targets)} to be where they are not",
                tuple(dict.fromkeys((cluster.name, *targets))),
                expected=", ".join(
                    f"{one.address}:{one.port} in {one.locality or '(none)'}" for one in wrong
                ),
                seen=", ".join(
                    f"{one.address}:{one.port} in {seen[(one.address, one.port)]}" for one in wrong
                ),
                remedy=Commands(snapshot).restart_istiod(serving(snapshot, cluster.name).name),
                fault="loc-wrong",
            )
            return
