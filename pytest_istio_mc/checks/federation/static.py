"""Separate meshes share a root and services by name, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ... import shell
from ...recorded import IstiodFacts
from ...snapshot import Snapshot
from ...spec import ClusterSpec, Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, Gap, each, names, verdict_from
from ..links import active
from ..remedies import Commands


@check(
    "MC-FEDERATION-002",
    "Federated meshes share no configuration: no control plane has access to, knows of, or serves "
    "another mesh's cluster.",
    spec_url="https://istio.io/latest/docs/ops/deployment/deployment-models/#multiple-meshes",
    requires=(Feature.FEDERATED,),
    explained_by=("MC-CONTROL-002",),
)
def nothing_shared(snapshot: Snapshot) -> Verdict:
    """No remote secrets, and every istiod replica watches and serves its own cluster only."""
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
            f"{plane.name} holds remote secrets for {names(known)}; federated meshes keep their "
            "API servers to themselves",
            _scope(snapshot, plane, known),
            expected="no remote secret",
            seen=", ".join(secrets),
            remedy=shell.with_note(
                commands.hide_remote_secrets(plane.name, secrets),
                "if these are to be separate meshes; with the label again, istiod reads them again",
            ),
            fault="fed-remote-secret",
        )
        return
    istiods = snapshot.clusters[plane.name].istiods
    if not istiods:
        yield Gap(f'cluster "{plane.name}": no istiod runs that could be asked what it knows')
    yield from each(istiods, lambda istiod: _knows_others(snapshot, plane, istiod))


def _scope(snapshot: Snapshot, plane: ClusterSpec, others: Iterable[str]) -> tuple[str, ...]:
    members = (name for name in others if name in snapshot.clusters)
    return tuple(dict.fromkeys((plane.name, *members)))


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
                f"istiod {istiod.pod} of {plane.name} {what} {names(others)}, which is not of its "
                "mesh",
                _scope(snapshot, plane, others),
                expected=f"{plane.name} only",
                seen=names(sorted(clusters)),
                remedy=Commands(snapshot).restart_istiod(plane.name),
                fault="fed-shared-control-plane",
            )
            return
