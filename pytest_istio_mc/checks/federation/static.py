"""Federation: separate meshes share a root and services by name, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from ...snapshot import IstiodFacts, Snapshot
from ...spec import ClusterSpec, Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, Gap, each, names, verdict_from
from ..links import active
from ..remedies import Commands

MESHES = "https://istio.io/latest/docs/ops/deployment/deployment-models/#multiple-meshes"


@check(
    "MC-FEDERATION-002",
    "Federated meshes share no configuration: no control plane has access to, knows of, or serves another mesh's cluster.",
    spec_url=MESHES,
    requires=(Feature.FEDERATED,),
    explained_by=("MC-CONTROL-002",),
)
def nothing_shared(snapshot: Snapshot) -> Verdict:
    """Remote secrets, and what every istiod replica says of the clusters that it watches and of the proxies that it serves."""
    planes = snapshot.spec.control_planes
    replicas = sum(len(snapshot.clusters[plane.name].istiods) for plane in planes)
    return verdict_from(
        each(planes, lambda plane: _shared(snapshot, plane)),
        f"{replicas} istiods of {len(planes)} meshes know their own cluster only",
        pairs=(f"{source.name}-apart-from-{target.name}" for source, target in snapshot.spec.pairs),
    )


def _shared(snapshot: Snapshot, plane: ClusterSpec) -> Iterator[Found]:
    commands = Commands(snapshot)
    secrets = {secret.name: tuple(secret.kubeconfigs) for secret in active(snapshot, plane.name)}
    if secrets:
        known = [key for keys in secrets.values() for key in keys]
        yield Finding(
            f"{plane.name} holds remote secrets for {names(known)}; federated meshes keep their API servers to themselves",
            tuple(dict.fromkeys((plane.name, *(key for key in known if key in snapshot.clusters)))),
            expected="no remote secret",
            seen=", ".join(secrets),
            remedy=commands.istio(plane.name, f"delete secret {' '.join(secrets)}"),
            fault="fed-remote-secret",
        )
        return
    istiods = snapshot.clusters[plane.name].istiods
    if not istiods:
        yield Gap(f'cluster "{plane.name}": no istiod runs that could be asked what it knows')
    yield from each(istiods, lambda istiod: _knows_others(snapshot, plane, istiod))


def _knows_others(snapshot: Snapshot, plane: ClusterSpec, istiod: IstiodFacts) -> Iterator[Found]:
    facts = {
        "watches": set(istiod.clusters),
        "serves proxies of": {str(row.get("cluster_id", "")) for row in istiod.debugged("syncz")},
        "holds endpoints of": {
            shard.partition("/")[2]
            for namespaces in istiod.debugged("endpointShardz").values()
            for shards in namespaces.values()
            for shard in shards
        },
    }
    for what, clusters in facts.items():
        others = sorted(clusters - {plane.name, ""})
        if others:
            yield Finding(
                f"istiod {istiod.pod} of {plane.name} {what} {names(others)}, which is not of its mesh",
                tuple(
                    dict.fromkeys(
                        (plane.name, *(name for name in others if name in snapshot.clusters))
                    )
                ),
                expected=f"{plane.name} only",
                seen=names(sorted(clusters)),
                remedy=Commands(snapshot).restart_istiod(plane.name),
                fault="fed-shared-control-plane",
            )
            return
