"""Names and networks: clusters, proxies, secrets and gateways agree on them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from ... import shell
from ...istio_names import NETWORK_LABEL
from ...shell import Command, Remedy
from ...snapshot import ClusterSnapshot, Snapshot, labels_of, name_of, namespace_of
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import Profile, check
from ..judging import Found, Gap, each, names, verdict_from
from ..links import links
from ..oracle import networks_of
from ..remedies import Commands
from .remedies import reinstall

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")

MULTICLUSTER = "https://istio.io/latest/docs/setup/install/multicluster/"


def _injected(cluster: ClusterSnapshot, value: str) -> dict[str, str]:
    """A value that injectors give to new pods, by ConfigMap; empty where one has none.

    ``value``: ``meshID``, ``network`` or ``clusterName``.
    """
    return {
        f"ConfigMap {name_of(item)}": item["data"]["values"].get(value, "")
        for item in cluster.listed("ConfigMap")
        if name_of(item).startswith("istio-sidecar-injector") and item["data"].get("values")
    }


def _metadata(cluster: ClusterSnapshot, key: str) -> dict[str, str]:
    """A value that proxies carry, by proxy; empty where one has none."""
    return {
        f"proxy {proxy.pod}": str(proxy.metadata.get(key) or "")
        for proxy in cluster.proxies
        if not proxy.failures
    }


@check(
    "MC-CONTROL-001",
    "Every cluster's injector and proxies carry the mesh id of the mesh.",
    spec_url=MULTICLUSTER,
    profile=Profile.EXTENDED,
    requires=(Feature.CROSS_CLUSTER,),
)
def one_mesh_id(snapshot: Snapshot) -> Verdict:
    """Differing ids break no call, they split telemetry: an extended check."""
    spec = snapshot.spec
    clusters = [snapshot.clusters[cluster.name] for cluster in spec.data_planes]
    ids = dict.fromkeys(map(spec.mesh_id_of, spec.data_planes))
    return verdict_from(
        each(clusters, lambda cluster: _other_mesh(snapshot, cluster)),
        f"{len(clusters)} clusters carry the mesh id {names(ids)}",
    )


def _other_mesh(snapshot: Snapshot, cluster: ClusterSnapshot) -> Iterator[Found]:
    expected = snapshot.spec.mesh_id_of(snapshot.spec.cluster(cluster.name))
    said = _injected(cluster, "meshID")
    said |= _metadata(cluster, "MESH_ID")
    said = {source: value for source, value in said.items() if value}
    if not said:
        yield Gap(
            f'cluster "{cluster.name}": neither an injector ConfigMap nor a proxy says which mesh '
            "it is in"
        )
    wrong = {source: value for source, value in said.items() if value != expected}
    if wrong:
        setting = f"values.global.meshID={expected}"
        yield Finding(
            f"{cluster.name} carries the mesh id {names(sorted(set(wrong.values())))}, the mesh is "
            f"{expected}: its telemetry is split",
            (cluster.name,),
            expected=f"meshID {expected}",
            seen="; ".join(f"{source}: {value}" for source, value in wrong.items()),
            remedy=reinstall(Commands(snapshot), cluster.name, setting, restart=True),
            fault="cp-mesh-id-mismatch",
        )


@check(
    "MC-CONTROL-002",
    "Cluster names are unique, and the same in istiod, in its proxies and in the remote secrets of "
    "the others.",
    spec_url=MULTICLUSTER,
    requires=(Feature.CROSS_CLUSTER,),
    probed=True,
)
def cluster_names(snapshot: Snapshot) -> Verdict:
    """Every cluster has a name of its own, and is called by it everywhere.

    - A name used twice makes istiod ignore the other cluster.
    - A name that differs makes subsets and locality miss the cluster.
    """
    clusters = list(snapshot)

    def everything() -> Iterator[Found]:
        yield from each([clusters], lambda found: _same_name(snapshot, found))
        yield from each(clusters, lambda cluster: _other_name(snapshot, cluster))
        yield from each(clusters, lambda cluster: _secret_under_other_name(snapshot, cluster))

    called = names(cluster.name for cluster in clusters)
    return verdict_from(everything(), f"{len(clusters)} clusters are called {called} everywhere")


def _names_of(snapshot: Snapshot, cluster: ClusterSnapshot) -> dict[str, str]:
    """What a cluster calls itself, by who says so.

    Nothing for an external istiod's own cluster: what is said there is about its config cluster.
    """
    if not snapshot.spec.cluster(cluster.name).runs_workloads:
        return {}
    said = _injected(cluster, "clusterName")
    said |= {f"istiod {istiod.pod}": istiod.own_cluster for istiod in cluster.istiods}
    said |= _metadata(cluster, "CLUSTER_ID")
    return {source: name for source, name in said.items() if name}


def _same_name(snapshot: Snapshot, clusters: list[ClusterSnapshot]) -> Iterator[Found]:
    users: dict[str, list[str]] = defaultdict(list)
    for cluster in clusters:
        for name in dict.fromkeys(_names_of(snapshot, cluster).values()):
            users[name].append(cluster.name)
    for name, used_by in users.items():
        if len(used_by) > 1:
            odd = next(cluster for cluster in used_by if cluster != name)
            yield Finding(
                f"{names(used_by)} call themselves {name}: each istiod ignores the other cluster",
                tuple(used_by),
                expected="a clusterName of its own in each cluster",
                seen="; ".join(f"{cluster}: {name}" for cluster in used_by),
                remedy=_rename(snapshot, odd),
                fault="cp-cluster-name-duplicate",
            )


def _rename(snapshot: Snapshot, cluster: str) -> Remedy:
    setting = f"values.global.multiCluster.clusterName={cluster}"
    return reinstall(Commands(snapshot), cluster, setting, restart=True)


def _other_name(snapshot: Snapshot, cluster: ClusterSnapshot) -> Iterator[Found]:
    said = _names_of(snapshot, cluster)
    if not said:
        if snapshot.spec.cluster(cluster.name).runs_workloads:
            yield Gap(f'cluster "{cluster.name}": nothing says what it calls itself')
        return
    wrong = {source: name for source, name in said.items() if name != cluster.name}
    if not wrong or any(name in snapshot.clusters for name in wrong.values()):
        # another member's name is the finding above
        return
    stale = all(source.startswith("proxy") for source in wrong)
    restart = Commands(snapshot).restart_workloads(cluster.name)
    yield Finding(
        f"the mesh calls it {cluster.name}, {names(sorted(wrong))} in it "
        f"{'calls' if len(wrong) == 1 else 'call'} it {names(sorted(set(wrong.values())))}",
        (cluster.name,),
        expected=cluster.name,
        seen="; ".join(f"{source}: {name}" for source, name in sorted(wrong.items())),
        remedy=restart if stale else _rename(snapshot, cluster.name),
        fault="cp-cluster-id-differs",
    )


def _secret_under_other_name(snapshot: Snapshot, cluster: ClusterSnapshot) -> Iterator[Found]:
    """A remote secret that leads to a member under another name."""
    if cluster.name not in {link.holder for link in links(snapshot)}:
        return
    keys = {access.key for access in cluster.access}
    others = [other for other in snapshot if other.name != cluster.name]
    for access in cluster.access:
        if not access.cluster_uid or access.key in snapshot.clusters:
            continue
        reached = [other.name for other in others if other.uid == access.cluster_uid]
        if not reached or reached[0] in keys:
            continue
        target, commands = reached[0], Commands(snapshot)
        hide = commands.hide_remote_secrets(cluster.name, [access.secret])
        yield Finding(
            f"the remote secret {access.secret} in {cluster.name} calls the cluster {access.key}; "
            f"it calls itself {target}",
            (cluster.name, target),
            expected=f"data key {target}",
            seen=f"data key {access.key}, server {access.server}",
            remedy=shell.then(commands.create_remote_secret(cluster.name, target), hide),
            fault="cp-cluster-id-vs-secret",
        )


@check(
    "MC-CONTROL-003",
    "The network label of the system namespace, the injector, the proxies and the gateway name "
    "each cluster's own network.",
    spec_url=MULTICLUSTER + "multi-primary_multi-network/#set-the-default-network-for-cluster1",
    requires=(Feature.CROSS_CLUSTER,),
)
def networks(snapshot: Snapshot) -> Verdict:
    """Istiod decides by these names which endpoints are reached through a gateway.

    On one network no cluster needs a name for it, but the names that there are must be the same.
    """
    spec = snapshot.spec
    clusters = [snapshot.clusters[cluster.name] for cluster in spec.data_planes]
    named = ", ".join(f"{one.name} {one.network}" for one in spec.data_planes)
    return verdict_from(
        each(clusters, lambda cluster: _other_network(snapshot, cluster)),
        f"{len(clusters)} clusters name their networks: {named}",
    )


def _other_network(snapshot: Snapshot, cluster: ClusterSnapshot) -> Iterator[Found]:
    expected, commands = snapshot.spec.cluster(cluster.name).network, Commands(snapshot)
    item = cluster.found("Namespace", snapshot.spec.istio_namespace)
    label = labels_of(item).get(NETWORK_LABEL, "") if item else ""
    yield from _mislabelled(snapshot, cluster, expected, label)
    yield from _injected_network(snapshot, cluster, expected, label)
    for service in cluster.east_west_services():
        seen = labels_of(service).get(NETWORK_LABEL, "")
        # an absent label is MC-EASTWEST-002's
        if seen and seen != expected:
            name, namespace = name_of(service), namespace_of(service)
            label = f"{NETWORK_LABEL}={expected}"
            change = ("label", f"service/{name}", label, "--overwrite")
            yield Finding(
                f"the east-west gateway {name} of {cluster.name} says that it leads to {seen}; it "
                f"leads to {expected}",
                (cluster.name,),
                expected=f"{NETWORK_LABEL}={expected}",
                seen=f"{NETWORK_LABEL}={seen}",
                remedy=commands.kubectl(cluster.name, *change, namespace=namespace),
                fault="ew-svc-label-wrong",
            )


def _mislabelled(
    snapshot: Snapshot, cluster: ClusterSnapshot, expected: str, label: str
) -> Iterator[Found]:
    """The system namespace names another network than the cluster's, or none where it must."""
    spec, commands = snapshot.spec, Commands(snapshot)
    several = Feature.MULTI_NETWORK in spec.features
    if label == expected or not (label or several):
        return
    if not label and (said := _by_mesh_networks(snapshot, cluster)):
        # istiod asks meshNetworks where there is no label
        for plane, network in said.items():
            if network != expected:
                yield _put_elsewhere(snapshot, cluster.name, plane, network or "no network")
        return
    namespace, name = spec.istio_namespace, cluster.name
    others = [one for one in spec.data_planes if one.name != name]
    sharing = [one.name for one in others if one.network == label]
    change = (f"namespace/{namespace}", f"{NETWORK_LABEL}={expected}", "--overwrite")
    relabel = commands.kubectl(name, "label", *change)
    remedy: Remedy = relabel
    restart = commands.restart_workloads(name)
    if not label:
        what = (
            f"namespace {namespace} of {name} has no network label, so endpoints without a sidecar "
            "belong to no network"
        )
        fault = "cp-ns-network-missing"
    elif not several:
        sharing = [one.name for one in others]
        what = (
            f"{name} calls its network {label}, although it shares one with {names(sharing)}: the "
            "first gateway comes between them"
        )
        fault = "cp-network-split"
        settings = f"values.global.network={expected} in the settings of this installation"
        inject = _inject_network(snapshot, cluster, expected)
        remedy = shell.with_note(shell.then(relabel, *inject, restart), f"and {settings}")
    elif sharing:
        what = (
            f"{names([*sharing, name])} say that they share {label}, but pods of {names(sharing)} "
            f"and {name} cannot reach each other"
        )
        fault, remedy = "cp-network-same-name", shell.then(relabel, restart)
    else:
        what = f"namespace {namespace} of {name} says network {label}; it is {expected}"
        fault, remedy = "cp-ns-network-wrong", shell.then(relabel, restart)
    yield Finding(
        what,
        (*sharing, name),
        expected=f"{NETWORK_LABEL}={expected}",
        seen=f"{NETWORK_LABEL}={label}" if label else "no such label",
        remedy=remedy,
        fault=fault,
    )


def _inject_network(
    snapshot: Snapshot, cluster: ClusterSnapshot, network: str
) -> Iterator[Command]:
    """Give new pods a network, where an injector gives them another one.

    Only where both names are such as networks have, without a meaning of their own for ``sed``.
    """
    commands = Commands(snapshot)
    for source, given in _injected(cluster, "network").items():
        named = _LABEL_VALUE.fullmatch(given) and _LABEL_VALUE.fullmatch(network)
        if given != network and named:
            thing = f"configmap/{source.partition(' ')[2]}"
            pattern = given.replace(".", "\\.")
            change = f's/("network": *)"{pattern}"/\\1"{network}"/'
            yield shell.piped(
                commands.istio(cluster.name, "get", thing, "-o", "yaml"),
                shell.command("sed -E", change),
                commands.istio(cluster.name, "replace -f -"),
            )


def _by_mesh_networks(snapshot: Snapshot, cluster: ClusterSnapshot) -> dict[str, str]:
    """The network in which the ``meshNetworks`` of control planes put a cluster, by plane.

    Empty where none of those that have its endpoints says anything about it.
    """
    spec, found = snapshot.spec, {}
    pods = cluster.listed("Pod")
    addresses = [
        str(pod["status"]["podIP"])
        for pod in pods
        if pod["status"].get("podIP") and not pod["spec"].get("hostNetwork")
    ]
    for plane in spec.control_planes:
        watched = (*spec.served_by(plane), *spec.watched_by(plane))
        if cluster.name in {one.name for one in watched}:
            networks = networks_of(snapshot, plane)
            having = (name for name, one in networks.items() if one.has(cluster.name, addresses))
            found[plane.name] = next(having, "")
    return found if any(found.values()) else {}


def _put_elsewhere(snapshot: Snapshot, cluster: str, plane: str, network: str) -> Finding:
    expected, commands = snapshot.spec.cluster(cluster).network, Commands(snapshot)
    namespace = snapshot.spec.istio_namespace
    label = (f"namespace/{namespace}", f"{NETWORK_LABEL}={expected}")
    return Finding(
        f"meshNetworks of {plane} put {cluster} into {network}, and its namespace {namespace} has "
        "no network label that would decide",
        tuple(dict.fromkeys((cluster, plane))),
        expected=f"network {expected}, by fromRegistry {cluster} or by its pods' addresses",
        seen=network,
        remedy=commands.kubectl(cluster, "label", *label),
        fault="cp-mesh-networks",
    )


def _injected_network(
    snapshot: Snapshot, cluster: ClusterSnapshot, expected: str, label: str
) -> Iterator[Found]:
    name, commands = cluster.name, Commands(snapshot)
    said = _injected(cluster, "network") | _metadata(cluster, "NETWORK")
    allowed = {expected} if Feature.MULTI_NETWORK in snapshot.spec.features else {expected, ""}
    wrong = {source: network for source, network in said.items() if network not in allowed}
    if not wrong or set(wrong.values()) == {label}:
        # a whole cluster under one wrong name is the finding on its namespace
        return
    shown = names(sorted({network or '""' for network in wrong.values()}))
    if all(source.startswith("proxy") for source in wrong):
        what = (
            f"{len(wrong)} proxies of {name} are in the network {shown}, "
            f"their cluster is in {expected}"
        )
        remedy: Remedy = commands.restart_workloads(name)
    else:
        what = f"new pods of {name} get the network {shown}, its namespace says {label or expected}"
        setting = f"values.global.network={expected}"
        remedy = reinstall(commands, name, setting, restart=True)
    yield Finding(
        what,
        (name,),
        expected=f"network {expected}",
        seen="; ".join(f"{source}: {wrong[source] or '(none)'}" for source in sorted(wrong)),
        remedy=remedy,
        fault="cp-network-injector-differs",
    )
