"""Judges of control planes: injection, and whose configuration is in force where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ... import shell
from ...spec import ClusterSpec, Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, Gap, verdict_from
from ..remedies import Commands
from ..site import Here
from .facts import INJECTOR, ConfigInForce, Injection, read_for
from .observe import config_in_force, injections, revisions


@check(
    "MC-CONTROL-004",
    "Sidecar injection works in every cluster and gives pods the right cluster id, network, mesh "
    "id and revision.",
    spec_url="https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/",
    explained_by=("MC-CONTROL-001", "MC-CONTROL-002", "MC-CONTROL-003", "MC-CONTROL-007"),
    sees=(injections, revisions),
)
def injection(
    here: Here, seen: Sequence[Injection], revisions_of: Mapping[str, Sequence[str]]
) -> Verdict:
    """Sidecars are given what they should be; pods that opt out get none.

    ``revisions_of`` has those of the istiods, by the cluster in which they run.
    """
    found: list[Found] = []
    spec = here.mesh.spec
    for cluster in spec.data_planes:
        ours = [one for one in seen if one.cluster == cluster.name]
        if {one.way for one in ours} != {"admitted", "opted-out", "running"}:
            found.append(Gap(f"{cluster.name}: not all ways of injection were observed"))
        known = revisions_of.get(spec.control_plane_of(cluster.name).name, ())
        for one in ours:
            found += _injected(here, cluster, one, known)
    clusters = len(spec.data_planes)
    passed = f"{len(seen)} pods in {clusters} clusters admitted or running as they should"
    return verdict_from(found, passed)


def _injected(
    here: Here, cluster: ClusterSpec, seen: Injection, revisions_known: Sequence[str]
) -> Iterator[Found]:
    spec, name, commands = here.mesh.spec, cluster.name, Commands(here.snapshot)
    webhooks = commands.kubectl(
        name, "get mutatingwebhookconfigurations -l app=sidecar-injector -o yaml"
    )
    if seen.error and INJECTOR not in seen.error:
        yield Gap(
            f"{name}: a pod for a dry run could not be created because the cluster's admission "
            f"refuses it, not the injection ({seen.error}); give pods what it demands with "
            "--mesh-probe-patch=FILE"
        )
        return
    if seen.error:
        yield Finding(
            f"{name}: pods are refused: {seen.error}",
            clusters=(name,),
            expected="the pod is admitted with a sidecar",
            seen=seen.error,
            remedy=webhooks,
            fault="injection-refused",
        )
        return
    if seen.injected != (seen.way != "opted-out"):
        namespace = here.mesh.require_probes().namespace
        labels = commands.kubectl(name, "get", f"namespace/{namespace}", "--show-labels")
        what = "gets a sidecar although it opts out" if seen.injected else "gets no sidecar"
        yield Finding(
            f"{name}: {seen.way} pod {seen.pod} {what}",
            clusters=(name,),
            expected="no sidecar" if seen.injected else "a container istio-proxy",
            seen="a container istio-proxy" if seen.injected else "none",
            remedy=shell.then(labels, webhooks),
            fault="injection-ignores-opt-out" if seen.injected else "sidecar-missing",
        )
        return
    if not seen.injected:
        return
    unnamed = set() if Feature.MULTI_NETWORK in spec.features else {""}
    expectations: list[tuple[str, str, set[str], str]] = [
        ("cluster id", seen.cluster_id, {name}, "injected-cluster-id-wrong"),
        ("network", seen.network, {cluster.network, *unnamed}, "injected-network-wrong"),
        ("mesh id", seen.mesh_id, {spec.mesh_id_of(cluster)}, "injected-mesh-id-wrong"),
    ]
    if revisions_known:
        known = set(revisions_known)
        expectations.append(("revision", seen.revision, known, "injected-revision-wrong"))
    settings = commands.istio(name, "get configmaps,mutatingwebhookconfigurations -o yaml")
    values = "global.multiCluster.clusterName, global.network, global.meshID, injectionPath"
    for what, value, allowed, fault in expectations:
        if value not in allowed:
            expected = " or ".join(repr(entry) for entry in sorted(allowed, reverse=True))
            yield Finding(
                f"{name}: {seen.way} pod {seen.pod} is given {what} {value!r}, not {expected}",
                clusters=(name,),
                expected=expected,
                seen=repr(value),
                remedy=shell.with_note(settings, values),
                fault=fault,
            )


@check(
    "MC-CONTROL-009",
    "Configuration comes into force for the proxies of the control plane that reads it, and for no "
    "others.",
    spec_url="https://istio.io/latest/docs/ops/deployment/deployment-models/#control-plane-models",
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=("MC-CONTROL-005", "MC-ACCESS-008"),
    sees=config_in_force,
)
def configuration_source(
    here: Here, observed: tuple[Sequence[ConfigInForce], float | None]
) -> Verdict:
    """Every route is in force in the proxies that it is for, and in no others.

    ``observed``: what was seen, and the seconds until it was right; None where it never was.
    """
    found: list[Found] = []
    seen, seconds = observed
    clusters = len(here.mesh.spec.data_planes)
    for cell in seen:
        expected = read_for(here.mesh.spec, cell.source) == cell.config_cluster
        if cell.in_force is None:
            place = f"configuration of {cell.config_cluster} in {cell.source}"
            found.append(Gap(f"{place}: the client could not tell ({cell.seen})"))
        elif cell.in_force != expected:
            found.append(_misplaced(here, cell))
    if len(seen) < clusters**2:
        found.append(Gap("not every cluster's configuration was looked for in every cluster"))
    passed = f"{len(seen)} combinations of {clusters} clusters are as they should be"
    waited = "configuration in force in the proxies that it is for"
    return verdict_from(found, passed).with_convergence(waited, seconds)


def _misplaced(here: Here, cell: ConfigInForce) -> Finding:
    commands = Commands(here.snapshot)
    pod = here.mesh.require_probes().client_pod(cell.source)
    reads = read_for(here.mesh.spec, cell.source)
    if cell.in_force:
        return Finding(
            f"configuration in {cell.config_cluster} is in force in {cell.source}, "
            f"whose control plane should read {reads}",
            clusters=(cell.source, cell.config_cluster),
            expected="not in force",
            seen="in force",
            remedy=commands.proxy_config(cell.source, "routes", pod, "-o", "yaml"),
            fault="config-read-from-elsewhere",
        )
    return Finding(
        f"configuration in {cell.config_cluster} is not in force in {cell.source}, "
        "whose control plane should read it",
        clusters=(cell.source, cell.config_cluster),
        expected="in force",
        seen=f"not in force: {cell.seen}",
        remedy=commands.istioctl(reads, "proxy-status", *shell.operand(pod)),
        fault="config-not-read",
    )
