"""Control plane: clusters, proxies and secrets agree on names and networks, and proxies hold what istiod wants them to hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ...istio_names import NETWORK_LABEL
from ...snapshot import ClusterSnapshot, Snapshot, labels_of, name_of, namespace_of
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import Profile, check
from ..judging import Found, Gap, each, names, verdict_from
from ..links import links
from ..remedies import Commands

MULTICLUSTER = "https://istio.io/latest/docs/setup/install/multicluster/"
MULTI_NETWORK = MULTICLUSTER + "multi-primary_multi-network/"


def injected(cluster: ClusterSnapshot) -> dict[str, dict[str, str]]:
    """What each injector ConfigMap of a cluster gives to new pods: ``meshID``, ``network``, ``clusterName``, by ConfigMap name."""
    return {
        name_of(item): item["data"]["values"]
        for item in cluster.listed("ConfigMap")
        if name_of(item).startswith("istio-sidecar-injector") and item["data"].get("values")
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
    clusters = [snapshot.clusters[cluster.name] for cluster in snapshot.spec.data_planes]
    return verdict_from(
        each(clusters, lambda cluster: _other_mesh(snapshot, cluster)),
        f"{len(clusters)} clusters carry the mesh id {names(dict.fromkeys(map(snapshot.spec.mesh_id_of, snapshot.spec.data_planes)))}",
    )


def _other_mesh(snapshot: Snapshot, cluster: ClusterSnapshot) -> Iterator[Found]:
    expected = snapshot.spec.mesh_id_of(snapshot.spec.cluster(cluster.name))
    sources = {
        f"ConfigMap {name}": values["meshID"]
        for name, values in injected(cluster).items()
        if values.get("meshID")
    }
    sources |= {
        f"proxy {proxy.pod}": str(proxy.metadata["MESH_ID"])
        for proxy in cluster.proxies
        if proxy.metadata.get("MESH_ID")
    }
    if not sources:
        yield Gap(
            f'cluster "{cluster.name}": neither an injector ConfigMap nor a proxy says which mesh it is in'
        )
    wrong = {source: value for source, value in sources.items() if value != expected}
    if wrong:
        yield Finding(
            f"{cluster.name} carries the mesh id {names(sorted(set(wrong.values())))}, the mesh is {expected}: its telemetry is split",
            (cluster.name,),
            expected=f"meshID {expected}",
            seen="; ".join(f"{source}: {value}" for source, value in wrong.items()),
            remedy=f"istioctl install --context={Commands(snapshot).context(cluster.name)} --set values.global.meshID={expected} && "
            + Commands(snapshot).restart_workloads(cluster.name)
            + "  # with the other settings of this installation",
            fault="cp-mesh-id-mismatch",
        )


@check(
    "MC-CONTROL-002",
    "Cluster names are unique, and the same in istiod, in its proxies and in the remote secrets of the others.",
    spec_url=MULTICLUSTER,
    requires=(Feature.CROSS_CLUSTER,),
    probed=True,
)
def cluster_names(snapshot: Snapshot) -> Verdict:
    """A name used twice makes istiod ignore the other cluster; one that differs makes subsets and locality miss it."""
    clusters = list(snapshot)

    def everything() -> Iterator[Found]:
        yield from each([clusters], lambda found: _same_name(snapshot, found))
        yield from each(clusters, lambda cluster: _other_name(snapshot, cluster))
        yield from each(clusters, lambda cluster: _secret_under_other_name(snapshot, cluster))

    return verdict_from(
        everything(),
        f"{len(clusters)} clusters are called {names(cluster.name for cluster in clusters)} everywhere",
    )


def _own_name(snapshot: Snapshot, cluster: ClusterSnapshot) -> dict[str, str]:
    """What a cluster calls itself, by who says so. What an external istiod's own cluster says is about its config cluster."""
    if not snapshot.spec.cluster(cluster.name).runs_workloads:
        return {}
    said = {
        f"ConfigMap {name}": values["clusterName"]
        for name, values in injected(cluster).items()
        if values.get("clusterName")
    }
    said |= {
        f"istiod {istiod.pod}": istiod.own_cluster
        for istiod in cluster.istiods
        if istiod.own_cluster
    }
    said |= {
        f"proxy {proxy.pod}": str(proxy.metadata["CLUSTER_ID"])
        for proxy in cluster.proxies
        if proxy.metadata.get("CLUSTER_ID")
    }
    return said


def _same_name(snapshot: Snapshot, clusters: list[ClusterSnapshot]) -> Iterator[Found]:
    users: dict[str, list[str]] = defaultdict(list)
    for cluster in clusters:
        for name in dict.fromkeys(_own_name(snapshot, cluster).values()):
            users[name].append(cluster.name)
    for name, used_by in users.items():
        if len(used_by) > 1:
            odd = [cluster for cluster in used_by if cluster != name]
            context = Commands(snapshot).context(odd[0])
            yield Finding(
                f"{names(used_by)} call themselves {name}: each istiod ignores the other cluster",
                tuple(used_by),
                expected="a clusterName of its own in each cluster",
                seen="; ".join(f"{cluster}: {name}" for cluster in used_by),
                remedy=f"istioctl install --context={context} --set values.global.multiCluster.clusterName={odd[0]} && "
                + Commands(snapshot).restart_workloads(odd[0])
                + "  # with the other settings of this installation",
                fault="cp-cluster-name-duplicate",
            )


def _other_name(snapshot: Snapshot, cluster: ClusterSnapshot) -> Iterator[Found]:
    said = _own_name(snapshot, cluster)
    if not said:
        if snapshot.spec.cluster(cluster.name).runs_workloads:
            yield Gap(f'cluster "{cluster.name}": nothing says what it calls itself')
        return
    wrong = {source: name for source, name in said.items() if name != cluster.name}
    if not wrong or any(name in snapshot.clusters for name in wrong.values()):
        # another member's name is the finding above
        return
    commands = Commands(snapshot)
    stale = all(source.startswith("proxy") for source in wrong)
    yield Finding(
        f"the mesh calls it {cluster.name}, {names(sorted(wrong))} in it {'calls' if len(wrong) == 1 else 'call'} it "
        f"{names(sorted(set(wrong.values())))}",
        (cluster.name,),
        expected=cluster.name,
        seen="; ".join(f"{source}: {name}" for source, name in sorted(wrong.items())),
        remedy=commands.restart_workloads(cluster.name)
        if stale
        else f"istioctl install --context={commands.context(cluster.name)} --set values.global.multiCluster.clusterName={cluster.name} && "
        + commands.restart_workloads(cluster.name)
        + "  # with the other settings of this installation",
        fault="cp-cluster-id-differs",
    )


def _secret_under_other_name(snapshot: Snapshot, cluster: ClusterSnapshot) -> Iterator[Found]:
    """A remote secret that leads to a member under a name that is not that member's."""
    holders = {link.holder for link in links(snapshot)}
    for access in cluster.access:
        if cluster.name not in holders or not access.cluster_uid or access.key in snapshot.clusters:
            continue
        target = next(
            (
                other.name
                for other in snapshot
                if other.uid == access.cluster_uid and other.name != cluster.name
            ),
            "",
        )
        if not target or any(one.key == target for one in cluster.access):
            continue
        commands = Commands(snapshot)
        yield Finding(
            f"the remote secret {access.secret} in {cluster.name} calls the cluster {access.key}; it calls itself {target}",
            (cluster.name, target),
            expected=f"data key {target}",
            seen=f"data key {access.key}, server {access.server}",
            remedy=commands.istio(cluster.name, f"delete secret {access.secret}")
            + f" && {commands.create_remote_secret(cluster.name, target)}",
            fault="cp-cluster-id-vs-secret",
        )


@check(
    "MC-CONTROL-003",
    "The network label of the system namespace, the injector, the proxies and the gateway name each cluster's own network.",
    spec_url=MULTI_NETWORK + "#set-the-default-network-for-cluster1",
    requires=(Feature.CROSS_CLUSTER,),
)
def networks(snapshot: Snapshot) -> Verdict:
    """Istiod decides by these names whether an endpoint is reached directly or through a gateway. Where all clusters are on one network,
    they need no name for it, but what name there is must be the same."""
    clusters = [snapshot.clusters[cluster.name] for cluster in snapshot.spec.data_planes]
    return verdict_from(
        each(clusters, lambda cluster: _other_network(snapshot, cluster)),
        f"{len(clusters)} clusters name their networks: "
        + ", ".join(f"{one.name} {one.network}" for one in snapshot.spec.data_planes),
    )


def _other_network(snapshot: Snapshot, cluster: ClusterSnapshot) -> Iterator[Found]:
    expected = snapshot.spec.cluster(cluster.name).network
    namespace = snapshot.spec.istio_namespace
    commands = Commands(snapshot)
    item = cluster.found("Namespace", namespace)
    label = labels_of(item).get(NETWORK_LABEL, "") if item else ""
    command = commands.kubectl(
        cluster.name, f"label namespace {namespace} {NETWORK_LABEL}={expected} --overwrite"
    )
    if not label and Feature.MULTI_NETWORK in snapshot.spec.features:
        yield Finding(
            f"namespace {namespace} of {cluster.name} has no network label, so endpoints without a sidecar belong to no network",
            (cluster.name,),
            expected=f"{NETWORK_LABEL}={expected}",
            seen="no such label",
            remedy=command,
            fault="cp-ns-network-missing",
        )
    elif label not in ("", expected) and Feature.MULTI_NETWORK not in snapshot.spec.features:
        others = [one.name for one in snapshot.spec.data_planes if one.name != cluster.name]
        yield Finding(
            f"{cluster.name} calls its network {label}, although it shares one with {names(others)}: the first gateway comes between them",
            (*others, cluster.name),
            expected=f"{NETWORK_LABEL}={expected}",
            seen=f"{NETWORK_LABEL}={label}",
            remedy=" && ".join(
                [
                    command,
                    *_inject_network(snapshot, cluster, expected),
                    commands.restart_workloads(cluster.name),
                ]
            )
            + f"  # and values.global.network={expected} in the settings of this installation",
            fault="cp-network-split",
        )
    elif label not in ("", expected):
        sharing = [
            one.name
            for one in snapshot.spec.data_planes
            if one.network == label and one.name != cluster.name
        ]
        yield Finding(
            f"{names([*sharing, cluster.name])} say that they share {label}, but pods of {names(sharing)} and {cluster.name} "
            "cannot reach each other"
            if sharing
            else f"namespace {namespace} of {cluster.name} says network {label}; it is {expected}",
            (*sharing, cluster.name),
            expected=f"{NETWORK_LABEL}={expected}",
            seen=f"{NETWORK_LABEL}={label}",
            remedy=f"{command} && {commands.restart_workloads(cluster.name)}",
            fault="cp-network-same-name" if sharing else "cp-ns-network-wrong",
        )
    yield from _injected_network(snapshot, cluster, expected, label)
    for service in cluster.east_west_services():
        seen = labels_of(service).get(NETWORK_LABEL, "")
        # an absent label is MC-EASTWEST-002's
        if seen and seen != expected:
            yield Finding(
                f"the east-west gateway {name_of(service)} of {cluster.name} says that it leads to {seen}; it leads to {expected}",
                (cluster.name,),
                expected=f"{NETWORK_LABEL}={expected}",
                seen=f"{NETWORK_LABEL}={seen}",
                remedy=commands.kubectl(
                    cluster.name,
                    f"label service {name_of(service)} {NETWORK_LABEL}={expected} --overwrite",
                    namespace_of(service),
                ),
                fault="ew-svc-label-wrong",
            )


def _inject_network(snapshot: Snapshot, cluster: ClusterSnapshot, network: str) -> Iterator[str]:
    """The commands that give new pods a network, where an injector gives them another one."""
    commands = Commands(snapshot)
    for name, values in injected(cluster).items():
        if values.get("network") not in ("", network):
            change = f"""sed -E 's/("network": *)"{values["network"]}"/\\1"{network}"/'"""
            get, put = (
                commands.istio(cluster.name, f"get configmap {name} -o yaml"),
                commands.istio(cluster.name, "replace -f -"),
            )
            yield f"{get} | {change} | {put}"


def _injected_network(
    snapshot: Snapshot, cluster: ClusterSnapshot, expected: str, label: str
) -> Iterator[Found]:
    said = {
        f"ConfigMap {name}": values.get("network", "") for name, values in injected(cluster).items()
    }
    said |= {
        f"proxy {proxy.pod}": str(proxy.metadata.get("NETWORK", ""))
        for proxy in cluster.proxies
        if not proxy.failures
    }
    allowed = {expected} if Feature.MULTI_NETWORK in snapshot.spec.features else {expected, ""}
    wrong = {source: network for source, network in said.items() if network not in allowed}
    if not wrong or set(wrong.values()) == {label}:
        # a whole cluster under one wrong name is the finding on its namespace
        return
    context = Commands(snapshot).context(cluster.name)
    stale = all(source.startswith("proxy") for source in wrong)
    shown = sorted({network or '""' for network in wrong.values()})
    yield Finding(
        f"new pods of {cluster.name} get the network {names(shown)}, its namespace says {label or expected}"
        if not stale
        else f"{len(wrong)} proxies of {cluster.name} are in the network {names(shown)}, their cluster is in {expected}",
        (cluster.name,),
        expected=f"network {expected}",
        seen="; ".join(
            f"{source}: {network or '(none)'}" for source, network in sorted(wrong.items())
        ),
        remedy=Commands(snapshot).restart_workloads(cluster.name)
        if stale
        else f"istioctl install --context={context} --set values.global.network={expected} && "
        + Commands(snapshot).restart_workloads(cluster.name)
        + "  # with the other settings of this installation",
        fault="cp-network-injector-differs",
    )
