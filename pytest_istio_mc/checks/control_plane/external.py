"""External control plane: MC-CONTROL-010, which proves where the istiod of a cluster runs and where it reads its configuration."""

from __future__ import annotations

from collections.abc import Iterator

from ...snapshot import Snapshot, labels_of, name_of, namespace_of
from ...spec import ClusterSpec, Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, Gap, each, names, verdict_from
from ..remedies import Commands

GUIDE = "https://istio.io/latest/docs/setup/install/external-controlplane/"
CONFIG_ACCESS = "istio-kubeconfig"


@check(
    "MC-CONTROL-010",
    "An external control plane's istiod runs outside of every cluster that it serves, and reads its configuration in its config cluster.",
    spec_url=GUIDE,
    requires=(Feature.EXTERNAL_CONTROL_PLANE,),
    explained_by=("MC-CONTROL-002",),
)
def istiod_is_outside(snapshot: Snapshot) -> Verdict:
    """Looks for istiods and what leads to them in the served clusters, and at whom the external istiod's own state names."""
    planes = [plane for plane in snapshot.spec.control_planes if not plane.runs_workloads]
    served = [cluster.name for plane in planes for cluster in snapshot.spec.served_by(plane)]

    def everything() -> Iterator[Found]:
        yield from each(planes, lambda plane: _not_outside(snapshot, plane))
        yield from each(
            [cluster for plane in planes for cluster in snapshot.spec.served_by(plane)],
            lambda one: _inside(snapshot, one),
        )

    connected = sum(
        len(istiod.debug.get("syncz") or ())
        for plane in planes
        for istiod in snapshot.clusters[plane.name].istiods
    )
    return verdict_from(
        everything(),
        f"istiod runs in {names(plane.name for plane in planes)} only; {connected} proxies of {names(served)} are connected to it",
        pairs=(f"{cluster}-by-{plane.name}" for plane in planes for cluster in served),
    )


def _not_outside(snapshot: Snapshot, plane: ClusterSpec) -> Iterator[Found]:
    home = snapshot.clusters[plane.name]
    config = snapshot.spec.config_cluster(plane).name
    commands = Commands(snapshot)
    if not home.istiods:
        yield Gap(
            f'cluster "{plane.name}": no istiod runs that could be asked where it reads its configuration'
        )
        return
    create = (
        f"istioctl create-remote-secret --type=config --context={commands.context(config)} --namespace={snapshot.spec.istio_namespace} "
        f"--service-account=istiod --create-service-account=false | {commands.kubectl(plane.name, 'apply -f -')} && "
        + commands.restart_istiod(plane.name)
    )
    if home.secret(snapshot.spec.istio_namespace, CONFIG_ACCESS) is None:
        yield Finding(
            f"the istiod in {plane.name} has no access to {config}, so it reads its configuration in its own cluster",
            (plane.name, config),
            expected=f"the Secret {CONFIG_ACCESS} beside istiod",
            seen="no such Secret",
            remedy=create,
            fault="xc-config-secret-missing",
        )
    yield from _without_rights(snapshot, plane)
    for istiod in home.istiods:
        if istiod.environment.get("LOCAL_CLUSTER_SECRET_WATCHER", "").lower() == "true":
            yield Finding(
                f"istiod {istiod.pod} in {plane.name} reads remote secrets beside itself, and takes its access to {config} for one of them",
                (plane.name, config),
                expected=f"remote secrets read in {config}",
                seen="LOCAL_CLUSTER_SECRET_WATCHER=true; it watches "
                + names(sorted(istiod.clusters) or ["nothing else"]),
                remedy=commands.istio(
                    plane.name, "set env deployment -l app=istiod LOCAL_CLUSTER_SECRET_WATCHER-"
                )
                + f" && {commands.istio(plane.name, 'rollout status deployment -l app=istiod --timeout=3m')}",
                fault="xc-local-secrets",
            )
        if istiod.own_cluster and istiod.own_cluster != config:
            yield Finding(
                f"istiod {istiod.pod} in {plane.name} calls its configuration cluster {istiod.own_cluster}; it is {config}",
                (plane.name, config),
                expected=f"CLUSTER_ID={config}",
                seen=istiod.own_cluster,
                remedy=f"istioctl install --context={commands.context(plane.name)} --set values.global.multiCluster.clusterName={config}"
                "  # with the other settings of this installation",
                fault="xc-cluster-id",
            )
        strangers = {row.get("cluster_id", "") for row in istiod.debugged("syncz")} & {plane.name}
        if strangers:
            yield Finding(
                f"proxies of {plane.name} itself are connected to the external istiod {istiod.pod}",
                (plane.name,),
                expected="proxies of the clusters that it serves",
                seen=f"cluster id {plane.name} in its syncz",
                remedy=commands.kubectl(
                    plane.name, "get pods --all-namespaces -l security.istio.io/tlsMode=istio"
                ),
                fault="xc-serves-itself",
            )


def _without_rights(snapshot: Snapshot, plane: ClusterSpec) -> Iterator[Found]:
    """The account with which istiod reads its config cluster must be bound to what the installation there made for it."""
    namespace = snapshot.spec.istio_namespace
    config = snapshot.spec.config_cluster(plane).name
    secret = snapshot.clusters[plane.name].secret(namespace, CONFIG_ACCESS)
    tokens = (
        [one.token.subject for one in secret.kubeconfigs.values() if one.token] if secret else []
    )
    roles = [
        name_of(item)
        for item in snapshot.clusters[config].listed("ClusterRole")
        if name_of(item).startswith("istiod-")
    ]
    for subject in tokens:
        # system:serviceaccount:NAMESPACE:NAME
        account = tuple(subject.split(":")[2:])
        bound = {
            item["roleRef"]["name"]
            for item in snapshot.clusters[config].listed("ClusterRoleBinding")
            if account
            in {(one.get("namespace"), one.get("name")) for one in item.get("subjects") or ()}
        }
        if len(account) == 2 and roles and not bound & set(roles):
            commands = Commands(snapshot)
            bind = [
                commands.kubectl(
                    config,
                    f"create clusterrolebinding {role} --clusterrole={role} --serviceaccount={':'.join(account)}",
                )
                for role in roles
            ]
            yield Finding(
                f"the account {'/'.join(account)} of {config}, with which istiod in {plane.name} reads its configuration, has no rights",
                (plane.name, config),
                expected=f"bound to {names(roles)}",
                seen=f"bound to {names(sorted(bound))}",
                remedy=" && ".join([*bind, commands.restart_istiod(plane.name)]),
                fault="xc-config-rights",
            )


def _inside(snapshot: Snapshot, cluster: ClusterSpec) -> Iterator[Found]:
    """An istiod in a served cluster, or a Service istiod that leads to pods there."""
    found = snapshot.clusters[cluster.name]
    namespace = snapshot.spec.istio_namespace
    commands = Commands(snapshot)
    pods = [
        name_of(item)
        for item in found.listed("Pod", namespace)
        if labels_of(item).get("app") == "istiod"
    ]
    local = [
        endpoint["target"]
        for item in found.listed("EndpointSlice", namespace)
        if labels_of(item).get("kubernetes.io/service-name", "").partition("-")[0] == "istiod"
        for endpoint in item["endpoints"]
        if endpoint.get("target")
    ]
    selecting = [
        name_of(item)
        for item in found.listed("Service")
        if namespace_of(item) == namespace
        and name_of(item).partition("-")[0] == "istiod"
        and item["spec"].get("selector")
    ]
    if pods or local:
        inside = sorted({*pods, *local})
        yield Finding(
            f"an istiod runs in {cluster.name}, which {cluster.control_plane} should serve from outside",
            (cluster.name, cluster.control_plane),
            expected=f"no istiod in {cluster.name}",
            seen=names(inside),
            remedy=commands.istio(cluster.name, "delete deployment -l app=istiod"),
            fault="xc-istiod-inside",
        )
    elif selecting:
        yield Finding(
            f"the Service {names(selecting)} of {cluster.name} selects pods there, and so does not lead to the control plane outside",
            (cluster.name, cluster.control_plane),
            expected="a Service without a selector, with the address of the external istiod",
            seen=f"{names(selecting)} with a selector",
            remedy=f"istioctl install --context={commands.context(cluster.name)} --set profile=remote"
            "  # with the other settings of this installation",
            fault="xc-service-selects",
        )
