"""External control planes: MC-CONTROL-010, where their istiods run and read configuration."""

from __future__ import annotations

from collections.abc import Iterator

from ... import shell
from ...istio_names import ISTIOD_PODS, SERVICE_LABEL
from ...recorded import IstiodFacts
from ...snapshot import Snapshot, labels_of, name_of, namespace_of
from ...spec import ClusterSpec, Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, Gap, each, names, verdict_from
from ..remedies import Commands
from .facts import is_istiod
from .remedies import reinstall, set_istiod_variable

CONFIG_ACCESS = "istio-kubeconfig"


@check(
    "MC-CONTROL-010",
    "An external control plane's istiod runs outside of every cluster that it serves, and reads "
    "its configuration in its config cluster.",
    spec_url="https://istio.io/latest/docs/setup/install/external-controlplane/",
    requires=(Feature.EXTERNAL_CONTROL_PLANE,),
    explained_by=("MC-CONTROL-002",),
)
def istiod_is_outside(snapshot: Snapshot) -> Verdict:
    """No istiod is in a served cluster, and the external one reads its config cluster."""
    spec = snapshot.spec
    planes = [plane for plane in spec.control_planes if not plane.runs_workloads]
    served = [(plane, cluster) for plane in planes for cluster in spec.served_by(plane)]

    def everything() -> Iterator[Found]:
        yield from each(planes, lambda plane: _not_outside(snapshot, plane))
        yield from each(served, lambda one: _inside(snapshot, one[1]))

    connected = sum(
        len(istiod.debug.get("syncz") or ())
        for plane in planes
        for istiod in snapshot.clusters[plane.name].istiods
    )
    return verdict_from(
        everything(),
        f"istiod runs in {names(plane.name for plane in planes)} only; {connected} proxies of "
        f"{names(cluster.name for _, cluster in served)} are connected to it",
        pairs=(f"{cluster.name}-by-{plane.name}" for plane, cluster in served),
    )


def _not_outside(snapshot: Snapshot, plane: ClusterSpec) -> Iterator[Found]:
    spec, home, commands = snapshot.spec, snapshot.clusters[plane.name], Commands(snapshot)
    config = spec.config_cluster(plane).name
    if not home.istiods:
        yield Gap(
            f'cluster "{plane.name}": no istiod runs that could be asked where it reads its '
            "configuration"
        )
        return
    if home.secret(spec.istio_namespace, CONFIG_ACCESS) is None:
        yield Finding(
            f"the istiod in {plane.name} has no access to {config}, so it reads its configuration "
            "in its own cluster",
            (plane.name, config),
            expected=f"the Secret {CONFIG_ACCESS} beside istiod",
            seen="no such Secret",
            remedy=shell.then(
                shell.piped(
                    commands.istioctl(
                        config,
                        "create-remote-secret --type=config --service-account=istiod "
                        "--create-service-account=false",
                        f"--namespace={spec.istio_namespace}",
                    ),
                    commands.kubectl(plane.name, "apply -f -"),
                ),
                commands.restart_istiod(plane.name),
            ),
            fault="xc-config-secret-missing",
        )
    yield from _without_rights(snapshot, plane)
    for istiod in home.istiods:
        yield from _misled(commands, plane.name, config, istiod)


def _misled(commands: Commands, plane: str, config: str, istiod: IstiodFacts) -> Iterator[Found]:
    """Settings by which an external istiod mistakes whom it serves."""
    if istiod.environment.get("LOCAL_CLUSTER_SECRET_WATCHER", "").lower() == "true":
        watched = names(sorted(istiod.clusters) or ["nothing else"])
        yield Finding(
            f"istiod {istiod.pod} in {plane} reads remote secrets beside itself, and takes its "
            f"access to {config} for one of them",
            (plane, config),
            expected=f"remote secrets read in {config}",
            seen=f"LOCAL_CLUSTER_SECRET_WATCHER=true; it watches {watched}",
            remedy=set_istiod_variable(commands, plane, "LOCAL_CLUSTER_SECRET_WATCHER-"),
            fault="xc-local-secrets",
        )
    if istiod.own_cluster and istiod.own_cluster != config:
        setting = f"values.global.multiCluster.clusterName={config}"
        yield Finding(
            f"istiod {istiod.pod} in {plane} calls its configuration cluster {istiod.own_cluster}; "
            f"it is {config}",
            (plane, config),
            expected=f"CLUSTER_ID={config}",
            seen=istiod.own_cluster,
            remedy=reinstall(commands, plane, setting),
            fault="xc-cluster-id",
        )
    if any(row.get("cluster_id") == plane for row in istiod.debugged("syncz")):
        yield Finding(
            f"proxies of {plane} itself are connected to the external istiod {istiod.pod}",
            (plane,),
            expected="proxies of the clusters that it serves",
            seen=f"cluster id {plane} in its syncz",
            remedy=commands.kubectl(
                plane, "get pods --all-namespaces -l security.istio.io/tlsMode=istio"
            ),
            fault="xc-serves-itself",
        )


def _without_rights(snapshot: Snapshot, plane: ClusterSpec) -> Iterator[Found]:
    """The account of istiod has none of its roles in the config cluster."""
    config = snapshot.spec.config_cluster(plane).name
    secret = snapshot.clusters[plane.name].secret(snapshot.spec.istio_namespace, CONFIG_ACCESS)
    kubeconfigs = secret.kubeconfigs.values() if secret else ()
    found = snapshot.clusters[config]
    roles = [
        name_of(item) for item in found.listed("ClusterRole") if name_of(item).startswith("istiod-")
    ]
    for token in [one.token for one in kubeconfigs if one.token]:
        # system:serviceaccount:NAMESPACE:NAME
        account = tuple(token.subject.split(":")[2:])
        bound = {
            item["roleRef"]["name"]
            for item in found.listed("ClusterRoleBinding")
            for subject in item.get("subjects") or ()
            if account == (subject.get("namespace"), subject.get("name"))
        }
        if len(account) == 2 and roles and not bound & set(roles):
            commands, user = Commands(snapshot), ":".join(account)
            bind = [
                commands.kubectl(
                    config,
                    "create clusterrolebinding",
                    role,
                    f"--clusterrole={role}",
                    f"--serviceaccount={user}",
                )
                for role in roles
            ]
            yield Finding(
                f"the account {'/'.join(account)} of {config}, with which istiod in {plane.name} "
                "reads its configuration, has no rights",
                (plane.name, config),
                expected=f"bound to {names(roles)}",
                seen=f"bound to {names(sorted(bound))}",
                remedy=shell.then(*bind, commands.restart_istiod(plane.name)),
                fault="xc-config-rights",
            )


def _inside(snapshot: Snapshot, cluster: ClusterSpec) -> Iterator[Found]:
    """An istiod in a served cluster, or a Service that leads to one there."""
    found, commands = snapshot.clusters[cluster.name], Commands(snapshot)
    namespace = snapshot.spec.istio_namespace
    pods = [
        name_of(item)
        for item in found.listed("Pod", namespace)
        if labels_of(item).get("app") == "istiod"
    ]
    local = [
        endpoint["target"]
        for item in found.listed("EndpointSlice", namespace)
        if is_istiod(labels_of(item).get(SERVICE_LABEL, ""))
        for endpoint in item["endpoints"]
        if endpoint.get("target")
    ]
    selecting = [
        name_of(item)
        for item in found.listed("Service")
        if namespace_of(item) == namespace
        and is_istiod(name_of(item))
        and item["spec"].get("selector")
    ]
    if pods or local:
        yield Finding(
            f"an istiod runs in {cluster.name}, which {cluster.control_plane} should serve from "
            "outside",
            (cluster.name, cluster.control_plane),
            expected=f"no istiod in {cluster.name}",
            seen=names(sorted({*pods, *local})),
            remedy=shell.with_note(
                commands.istio(cluster.name, "scale deployment --replicas=0 -l", ISTIOD_PODS),
                "scaled up again, it is back; uninstall it once nothing needs it",
            ),
            fault="xc-istiod-inside",
        )
    elif selecting:
        yield Finding(
            f"the Service {names(selecting)} of {cluster.name} selects pods there, and so does not "
            "lead to the control plane outside",
            (cluster.name, cluster.control_plane),
            expected="a Service without a selector, with the address of the external istiod",
            seen=f"{names(selecting)} with a selector",
            remedy=reinstall(commands, cluster.name, "profile=remote"),
            fault="xc-service-selects",
        )
