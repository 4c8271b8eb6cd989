"""Judge of localities: nodes are labelled, proxies know their own and each endpoint's."""

from __future__ import annotations

from collections.abc import Iterator

from ... import shell
from ...errors import ObservationError
from ...istio_names import LOCALITY_LABELS
from ...recorded import IstiodFacts, ProxyFacts
from ...shell import Remedy
from ...snapshot import ClusterSnapshot, Object, Snapshot, labels_of, locality_of, name_of
from ...spec import ClusterSpec, Feature
from ...verdicts import Finding, Verdict, not_applicable
from ..catalogue import check
from ..judging import Found, Gap, each, names, verdict_from
from ..oracle import (
    expected_endpoints,
    gateway_addresses,
    held_for,
    localities_held,
    misplaced,
    ready_instances,
    service_ports,
)
from ..remedies import Commands
from .facts import declared_over

LOCALITY = "https://istio.io/latest/docs/tasks/traffic-management/locality-load-balancing/"


@check(
    "MC-LOCALITY-001",
    "Nodes are labelled with where they are, and proxies know their own and each endpoint's "
    "region, zone and subzone.",
    spec_url=LOCALITY + "before-you-begin/",
    requires=(Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES),
    explained_by=("MC-CONTROL-002", "MC-CONTROL-005"),
)
def localities_known(snapshot: Snapshot) -> Verdict:
    """A label that is changed later reaches neither old endpoints nor old proxies.

    Istio takes an endpoint's locality from the node when it learns of it, a proxy's when this
    connects; only new Services get the new labels.
    """
    clusters = snapshot.spec.data_planes
    nodes = [(cluster, node) for cluster in clusters for node in _listed(snapshot, cluster)]
    declared = any(cluster.locality.region for cluster in clusters)
    if nodes and not declared and not any(locality_of(node).region for _, node in nodes):
        return not_applicable(
            "no node has a region, and the mesh spec declares none, so that all instances are "
            f"equally near; label the nodes with {LOCALITY_LABELS[0]} and {LOCALITY_LABELS[1]} "
            "to have Istio prefer the nearest"
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
        found += each(proxies, lambda cell: _endpoints(snapshot, *cell))
    known = sum(_own(snapshot, cluster, proxy) is not None for cluster, proxy in proxies)
    told = (
        "the endpoints that proxies hold are where their nodes are "
        "(where istiod takes the proxies to be was not recorded)"
    )
    if known:
        told = (
            f"{known} of {len(proxies)} proxies are taken to be where their nodes are, "
            "and so are the endpoints that they hold"
        )
    listed = names(dict.fromkeys(str(locality_of(node)) for _, node in nodes))
    passed = f"{len(nodes)} nodes are in {listed}; {told}"
    return verdict_from(found, passed, pairs=[cluster.name for cluster in clusters])


def _listed(snapshot: Snapshot, cluster: ClusterSpec) -> tuple[Object, ...]:
    try:
        return snapshot.clusters[cluster.name].listed("Node")
    except ObservationError:
        return ()  # _unlisted says so


def _unlisted(snapshot: Snapshot, cluster: ClusterSpec) -> Iterator[Found]:
    snapshot.clusters[cluster.name].listed("Node")
    yield from ()


def _node(snapshot: Snapshot, cluster: ClusterSpec, node: Object) -> Iterator[Found]:
    """The labels against what the spec declares.

    Without that, a region is wanted where other nodes of the mesh have one.
    """
    has, labels, commands = locality_of(node), labels_of(node), Commands(snapshot)
    expected = declared_over(cluster, has)
    if has == expected and has.region:
        return
    parts = zip(LOCALITY_LABELS, (expected.region, expected.zone, expected.subzone), strict=True)
    wanted = {label: value for label, value in parts if value}
    wrong = {label: value for label, value in wanted.items() if labels.get(label, "") != value}
    missing = [label for label in wrong if label not in labels]
    if not has.region and not wrong:
        missing = [LOCALITY_LABELS[0]]
    assigned = [f"{label}={value}" for label, value in wrong.items()]
    relabel = ("label", f"node/{name_of(node)}", "--overwrite")
    if wrong:
        remedy: Remedy = shell.then(
            commands.kubectl(cluster.name, *relabel, *assigned),
            commands.restart_workloads(cluster.name),
        )
    else:
        placed = commands.kubectl(cluster.name, *relabel, f"{LOCALITY_LABELS[0]}=REGION")
        remedy = shell.with_note(placed, "the region that this node is in")
    fault = f"is labelled as in {has}, which is not where {cluster.name} is"
    if missing:
        fault = f"has no label {names(missing)}"
    seen = [f"{label}={labels[label]}" for label in labels if label in LOCALITY_LABELS]
    yield Finding(
        f"node {name_of(node)} of {cluster.name} {fault}",
        (cluster.name,),
        expected=", ".join(f"{label}={value}" for label, value in wanted.items())
        or "a region, as nodes of other clusters have",
        seen=", ".join(seen) or "none of these labels",
        remedy=remedy,
        fault="loc-node-labels" if missing else "loc-node-wrong",
    )


def _istiods(snapshot: Snapshot, cluster: ClusterSpec) -> tuple[IstiodFacts, ...]:
    """Those that serve the proxies of a cluster."""
    return snapshot.clusters[snapshot.spec.control_plane_of(cluster.name).name].istiods


def _own(snapshot: Snapshot, cluster: ClusterSpec, proxy: ProxyFacts) -> str | None:
    """Where the control plane takes a proxy to be; None if not recorded."""
    for istiod in _istiods(snapshot, cluster):
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
    labelled = locality_of(node)
    wanted = declared_over(cluster, labelled)
    if own != str(wanted):
        stale = f", though its node is labelled {labelled or 'nothing'}"
        yield Finding(
            f"istiod takes proxy {proxy.pod} of {cluster.name} to be in {own or 'no locality'}"
            + (stale if own != str(labelled) else ""),
            (cluster.name,),
            expected=str(wanted) or "no locality",
            seen=f"{own or 'no locality'}, as it was when the proxy connected",
            remedy=Commands(snapshot).restart_pod(cluster.name, proxy.pod, proxy.namespace),
            fault="loc-proxy",
        )


def _unread(snapshot: Snapshot, cluster: ClusterSpec, proxy: ProxyFacts) -> Iterator[Gap]:
    """A gap where an istiod was asked for its clients and did not say.

    A snapshot that has no such thing is none.
    """
    for istiod in _istiods(snapshot, cluster):
        for failure in istiod.failures:
            if failure.what == "adsz":
                what = f"where istiod {istiod.pod} takes proxy {proxy.pod} of {cluster.name} to be"
                yield Gap(f"{what}: {failure.error}")


def _node_of(cluster: ClusterSnapshot, proxy: ProxyFacts) -> Object | None:
    pod = cluster.found("Pod", proxy.pod, proxy.namespace)
    name = (pod or {}).get("spec", {}).get("nodeName", "")
    return next((node for node in cluster.listed("Node") if name_of(node) == name), None)


def _endpoints(snapshot: Snapshot, cluster: ClusterSpec, proxy: ProxyFacts) -> Iterator[Found]:
    """A finding for the first port with endpoints in wrong localities."""
    proxy.require_dump()
    gateways = gateway_addresses(snapshot, cluster.name)
    for number, name in service_ports(snapshot):
        instances = {
            target.name: ready_instances(snapshot, snapshot.clusters[target.name], name)
            for target in snapshot.spec.data_planes
        }
        wanted = expected_endpoints(snapshot.spec, cluster, instances, gateways)
        held = held_for(proxy, f"outbound|{number}||", snapshot) or ()
        wrong = misplaced(wanted, held)
        if not wrong:
            continue
        expected = [f"{one} in {one.locality or '(none)'}" for one in wrong]
        targets = tuple(dict.fromkeys(target for one in wrong for target in one.targets))
        plane = snapshot.spec.control_plane_of(cluster.name)
        yield Finding(
            f"proxy {proxy.pod} of {cluster.name} takes endpoints of {names(targets)} "
            "to be where they are not",
            tuple(dict.fromkeys((cluster.name, *targets))),
            expected=", ".join(expected),
            seen=localities_held(wrong, held),
            remedy=Commands(snapshot).restart_istiod(plane.name),
            fault="loc-wrong",
        )
        return
