"""Synced: what every istiod replica says about the remote clusters, against what is true now and what the other replicas say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import ObservationError
from ...snapshot import ClusterSnapshot, IstiodFacts, Snapshot
from ...spec import Feature
from ...verdicts import Finding, Verdict, not_applicable
from ..catalogue import check
from ..judging import Found, Gap, each, verdict_from
from ..links import Link, accessed, held, links
from ..remedies import Commands

DEBUGGING = "https://istio.io/latest/docs/ops/diagnostic-tools/multicluster/"

_BELOW = ("MC-ACCESS-001", "MC-ACCESS-002", "MC-ACCESS-003", "MC-ACCESS-004", "MC-ACCESS-005")


@check(
    "MC-ACCESS-006",
    "Every istiod replica reports every remote cluster as synced, and the cluster answers its credential at this moment.",
    spec_url=DEBUGGING,
    requires=(Feature.SHARED_SERVICES,),
    explained_by=(*_BELOW, "MC-CONTROL-002", "MC-CONTROL-010"),
    probed=True,
)
def synced_now(snapshot: Snapshot) -> Verdict:
    """``clusterz`` says that a cluster synced once; the request made with the same credential says that it still can."""
    needed = links(snapshot)
    replicas = sum(
        len(snapshot.clusters[plane.name].istiods) for plane in snapshot.spec.control_planes
    )
    return verdict_from(
        each(needed, lambda link: _not_synced(snapshot, link)),
        f"{replicas} istiod replicas are synced with {len(needed)} remote clusters, which answer now",
        pairs=map(str, needed),
    )


def _not_synced(snapshot: Snapshot, link: Link) -> Iterator[Found]:
    istiods = snapshot.clusters[link.plane].istiods
    if not istiods:
        yield Gap(f'cluster "{link.plane}": no istiod runs that could be asked for {link.target}')
    yield from each(istiods, lambda istiod: _replica_not_synced(snapshot, link, istiod))
    access = accessed(snapshot, link)
    if access is None:
        if held(snapshot, link):
            yield Gap(f"access from {link.holder} to {link.target} was not tried")
        return
    if access.unprobed:
        yield Gap(f"whether {link.target} answers {link.plane} now is not known: {access.unprobed}")
    elif access.status != 200:
        seen = access.connect_error or access.tls_error or f"HTTP {access.status}: {access.message}"
        yield Finding(
            f"{link.plane} cannot read {link.target} now, whatever its istiod says: its endpoints freeze when open watches end",
            link.scope,
            expected=f"HTTP 200 from {access.server}",
            seen=seen,
            remedy=Commands(snapshot).create_remote_secret(link.holder, link.target),
            fault="rs-frozen",
        )


def _replica_not_synced(snapshot: Snapshot, link: Link, istiod: IstiodFacts) -> Iterator[Found]:
    status = istiod.clusters.get(link.target)
    if status == "synced":
        return
    yield Finding(
        f"istiod {istiod.pod} of {link.plane} "
        + (
            f"does not know the cluster {link.target}"
            if status is None
            else f"says {status} of {link.target}"
        ),
        link.scope,
        expected="synced",
        seen=status or "known are " + (", ".join(istiod.clusters) or "no remote clusters"),
        remedy=Commands(snapshot).istio(link.plane, f"logs {istiod.pod} --tail=200")
        + f" | grep -i {link.target}; {Commands(snapshot).restart_istiod(link.plane)}",
        fault="rs-not-registered" if status is None else "rs-not-synced",
    )


@check(
    "MC-ACCESS-007",
    "All replicas of a control plane hold the same remote clusters, network gateways and endpoints.",
    spec_url=DEBUGGING,
    requires=(Feature.SHARED_SERVICES,),
    explained_by=_BELOW,
)
def replicas_agree(snapshot: Snapshot) -> Verdict:
    """Compares ``clusterz``, ``networkz`` and ``endpointShardz`` of the replicas; those that differ were read again before."""
    planes = [snapshot.clusters[plane.name] for plane in snapshot.spec.control_planes]
    several = [plane for plane in planes if len(plane.istiods) > 1]
    if not several:
        return not_applicable(
            "every control plane has one istiod replica; with two or more this is checked"
        )
    replicas = sum(len(plane.istiods) for plane in several)
    return verdict_from(
        each(several, lambda plane: _disagreement(snapshot, plane)),
        f"{replicas} istiod replicas agree",
    )


def _disagreement(snapshot: Snapshot, plane: ClusterSnapshot) -> Iterator[Found]:
    first = plane.istiods[0]
    for other in plane.istiods[1:]:
        try:
            yield from _differences(snapshot, plane, first, other)
        except ObservationError as error:
            yield Gap(str(error))


def _differences(
    snapshot: Snapshot, plane: ClusterSnapshot, first: IstiodFacts, other: IstiodFacts
) -> Iterator[Found]:
    commands = Commands(snapshot)
    for cluster in sorted({*first.clusters, *other.clusters}):
        seen = {istiod.pod: istiod.clusters.get(cluster, "unknown") for istiod in (first, other)}
        counts = {
            istiod.pod: count_endpoints(istiod.debugged("endpointShardz"), cluster)
            for istiod in (first, other)
        }
        same = shards_of(first.debugged("endpointShardz"), cluster) == shards_of(
            other.debugged("endpointShardz"), cluster
        )
        if same and len(set(seen.values())) == 1:
            continue
        lacking = min(
            (first, other), key=lambda istiod: (seen[istiod.pod] == "synced", counts[istiod.pod])
        )
        yield Finding(
            f"istiod replicas of {plane.name} disagree about {cluster}",
            tuple(
                dict.fromkeys((plane.name, *((cluster,) if cluster in snapshot.clusters else ())))
            ),
            expected="the same status and endpoints in every replica",
            seen="; ".join(f"{pod}: {seen[pod]}, {counts[pod]} endpoints" for pod in seen),
            remedy=commands.istio(plane.name, f"delete pod {lacking.pod}"),
            fault="res-replicas-disagree",
        )
    gateways = [
        sorted((row.get("Network", ""), row.get("Addr", "")) for row in istiod.debugged("networkz"))
        for istiod in (first, other)
    ]
    if gateways[0] != gateways[1]:
        yield Finding(
            f"istiod replicas of {plane.name} know different network gateways",
            (plane.name,),
            expected=f"{first.pod}: {gateways[0]}",
            seen=f"{other.pod}: {gateways[1]}",
            remedy=commands.istio(
                plane.name,
                f"delete pod {(first if len(gateways[0]) < len(gateways[1]) else other).pod}",
            ),
            fault="res-replicas-disagree",
        )


def shards_of(document: Any, cluster: str) -> dict[tuple[str, str], Any]:
    """The shards of one cluster in ``endpointShardz``, by host and namespace; empty ones are left out, as replicas may do."""
    return {
        (host, namespace): endpoints
        for host, by_namespace in document.items()
        for namespace, shards in by_namespace.items()
        for shard, endpoints in shards.items()
        if shard.partition("/")[2] == cluster
        and endpoints
        and not (isinstance(endpoints, dict) and endpoints["count"] == 0)
    }


def count_endpoints(document: Any, cluster: str) -> int:
    """How many endpoints of one cluster ``endpointShardz`` holds."""
    return sum(
        entry["count"] if isinstance(entry, dict) else len(entry)
        for entry in shards_of(document, cluster).values()
    )
