"""Control plane, live: what injection gives to pods, and whose configuration is in force where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...mesh import Mesh
from ...spec import ClusterSpec, Feature
from ...verdicts import Finding, Verdict
from ..catalogue import Kind, check
from ..judging import Found, Gap, verdict_from
from ..remedies import istioctl, kubectl
from ..replies import probes_of
from .facts import ConfigInForce, Injection


@check(
    "MC-CONTROL-004",
    "Sidecar injection works in every cluster and gives pods the right cluster id, network, mesh id and revision.",
    kind=Kind.LIVE,
    spec_url="https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/",
    explained_by=("MC-CONTROL-001", "MC-CONTROL-002", "MC-CONTROL-003", "MC-CONTROL-007"),
)
def injection(
    mesh: Mesh, injections: Sequence[Injection], revisions: Mapping[str, Sequence[str]]
) -> Verdict:
    """``revisions`` are those of the istiods, by the cluster in which they run."""
    found: list[Found] = []
    for cluster in mesh.spec.data_planes:
        here = [seen for seen in injections if seen.cluster == cluster.name]
        if {seen.way for seen in here} != {"admitted", "opted-out", "running"}:
            found.append(Gap(f"{cluster.name}: not all ways of injection were observed"))
        for seen in here:
            found += _injected(
                mesh, cluster, seen, revisions.get(cluster.control_plane or cluster.name, ())
            )
    clusters = len(mesh.spec.data_planes)
    return verdict_from(
        found, f"{len(injections)} pods in {clusters} clusters admitted or running as they should"
    )


def _injected(
    mesh: Mesh, cluster: ClusterSpec, seen: Injection, revisions: Sequence[str]
) -> Iterator[Found]:
    namespace = probes_of(mesh).namespace
    webhooks = kubectl(
        mesh, cluster.name, "get mutatingwebhookconfigurations -l app=sidecar-injector -o yaml"
    )
    if seen.error:
        yield Finding(
            f"{cluster.name}: pods are refused: {seen.error}",
            clusters=(cluster.name,),
            expected="the pod is admitted with a sidecar",
            seen=seen.error,
            remedy=webhooks,
            fault="injection-refused",
        )
        return
    if seen.injected != (seen.way != "opted-out"):
        what = "gets no sidecar" if not seen.injected else "gets a sidecar although it opts out"
        yield Finding(
            f"{cluster.name}: {seen.way} pod {seen.pod} {what}",
            clusters=(cluster.name,),
            expected="no sidecar" if seen.injected else "a container istio-proxy",
            seen="a container istio-proxy" if seen.injected else "none",
            remedy=kubectl(mesh, cluster.name, f"get namespace {namespace} --show-labels")
            + " && "
            + webhooks,
            fault="sidecar-missing" if not seen.injected else "injection-ignores-opt-out",
        )
        return
    if not seen.injected:
        return
    networks = (
        {cluster.network} if Feature.MULTI_NETWORK in mesh.spec.features else {cluster.network, ""}
    )
    expectations: list[tuple[str, str, set[str], str]] = [
        ("cluster id", seen.cluster_id, {cluster.name}, "injected-cluster-id-wrong"),
        ("network", seen.network, networks, "injected-network-wrong"),
        ("mesh id", seen.mesh_id, {mesh.spec.mesh_id_of(cluster)}, "injected-mesh-id-wrong"),
    ]
    if revisions:
        expectations.append(("revision", seen.revision, set(revisions), "injected-revision-wrong"))
    for what, value, allowed, fault in expectations:
        if value not in allowed:
            expected = " or ".join(repr(entry) for entry in sorted(allowed, reverse=True))
            yield Finding(
                f"{cluster.name}: {seen.way} pod {seen.pod} is given {what} {value!r}, not {expected}",
                clusters=(cluster.name,),
                expected=expected,
                seen=repr(value),
                remedy=kubectl(
                    mesh,
                    cluster.name,
                    f"-n {mesh.spec.istio_namespace} get configmaps,mutatingwebhookconfigurations -o yaml",
                )
                + "  # global.multiCluster.clusterName, global.network, global.meshID, injectionPath",
                fault=fault,
            )


@check(
    "MC-CONTROL-009",
    "Configuration comes into force for the proxies of the control plane that reads it, and for no others.",
    kind=Kind.LIVE,
    requires=(Feature.CROSS_CLUSTER,),
    spec_url="https://istio.io/latest/docs/ops/deployment/deployment-models/#control-plane-models",
    explained_by=("MC-CONTROL-005", "MC-ACCESS-008"),
)
def configuration_source(
    mesh: Mesh, seen: Sequence[ConfigInForce], reads_from: Mapping[str, str]
) -> Verdict:
    """``reads_from`` says for each cluster where the control plane of its proxies reads configuration."""
    found: list[Found] = []
    for cell in seen:
        expected = reads_from[cell.source] == cell.config_cluster
        if cell.in_force is None:
            found.append(
                Gap(
                    f"configuration of {cell.config_cluster} in {cell.source}: the client could not tell ({cell.seen})"
                )
            )
        elif cell.in_force != expected:
            found.append(_misplaced(mesh, cell, reads_from[cell.source]))
    if len(seen) < len(mesh.spec.data_planes) ** 2:
        found.append(Gap("not every cluster's configuration was looked for in every cluster"))
    return verdict_from(
        found,
        f"{len(seen)} combinations of {len(mesh.spec.data_planes)} clusters are as they should be",
    )


def _misplaced(mesh: Mesh, cell: ConfigInForce, reads_from: str) -> Finding:
    pod = f"{probes_of(mesh).client(cell.source).name}.{probes_of(mesh).namespace}"
    if cell.in_force:
        return Finding(
            f"configuration in {cell.config_cluster} is in force in {cell.source}, whose control plane should read {reads_from}",
            clusters=(cell.source, cell.config_cluster),
            expected="not in force",
            seen="in force",
            remedy=istioctl(mesh, cell.source, f"proxy-config routes {pod} -o yaml"),
            fault="config-read-from-elsewhere",
        )
    return Finding(
        f"configuration in {cell.config_cluster} is not in force in {cell.source}, whose control plane should read it",
        clusters=(cell.source, cell.config_cluster),
        expected="in force",
        seen=f"not in force: {cell.seen}",
        remedy=istioctl(mesh, reads_from, f"proxy-status {pod}"),
        fault="config-not-read",
    )
