"""Synced: what istiod replicas say about remote clusters holds, and all say the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ... import shell
from ...recorded import IstiodFacts
from ...shell import Remedy
from ...snapshot import ClusterSnapshot, Snapshot
from ...spec import Feature
from ...verdicts import Finding, Verdict, not_applicable
from ..catalogue import check
from ..judging import Found, Gap, each, verdict_from
from ..links import Link, accessed, held, links, may_be_held
from ..remedies import Commands
from .static import DIAGNOSTICS

BELOW_SYNCED = tuple(f"MC-ACCESS-{number:03}" for number in range(1, 6))
"""Explain why a control plane does not know another cluster."""


@check(
    "MC-ACCESS-006",
    "Every istiod replica reports every remote cluster as synced, and the cluster answers its "
    "credential at this moment.",
    spec_url=DIAGNOSTICS,
    requires=(Feature.SHARED_SERVICES,),
    explained_by=(*BELOW_SYNCED, "MC-CONTROL-002", "MC-CONTROL-010"),
    probed=True,
)
def synced_now(snapshot: Snapshot) -> Verdict:
    """``clusterz`` says that a cluster synced once, and a request that it still can."""
    needed, spec = links(snapshot), snapshot.spec
    replicas = sum(len(snapshot.clusters[plane.name].istiods) for plane in spec.control_planes)
    return verdict_from(
        each(needed, lambda link: _not_synced(snapshot, link)),
        f"{replicas} istiod replicas are synced with {len(needed)} remote clusters, which answer "
        "now",
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
    elif access.unprobed:
        yield Gap(f"whether {link.target} answers {link.plane} now is not known: {access.unprobed}")
    elif not snapshot.clusters[link.target].unreachable and (
        held_back := may_be_held(snapshot, link, access)
    ):
        yield Gap(held_back)
    # 403: it reads what it may, and MC-ACCESS-005 says whether that is enough
    elif access.status not in (200, 403):
        error = access.connect_error or access.tls_error
        yield Finding(
            f"{link.plane} cannot read {link.target} now, whatever its istiod says: its endpoints "
            "freeze when open watches end",
            link.scope,
            expected=f"HTTP 200 from {access.server}",
            seen=error or f"HTTP {access.status}: {access.message}",
            remedy=Commands(snapshot).create_remote_secret(link.holder, link.target),
            fault="rs-frozen",
        )


def _replica_not_synced(snapshot: Snapshot, link: Link, istiod: IstiodFacts) -> Iterator[Found]:
    status = istiod.clusters.get(link.target)
    if status == "synced":
        return
    unknown = f"does not know the cluster {link.target}"
    commands = Commands(snapshot)
    logs = commands.istio(link.plane, "logs --tail=200", f"pod/{istiod.pod}")
    lines = shell.piped(logs, shell.command("grep -i -F -e", link.target))
    known = ", ".join(istiod.clusters) or "no remote clusters"
    yield Finding(
        f"istiod {istiod.pod} of {link.plane} "
        f"{unknown if status is None else f'says {status} of {link.target}'}",
        link.scope,
        expected="synced",
        seen=status or f"known are {known}",
        remedy=shell.beside(lines, commands.restart_istiod(link.plane)),
        fault="rs-not-registered" if status is None else "rs-not-synced",
    )


@check(
    "MC-ACCESS-007",
    "All replicas of a control plane hold the same remote clusters, network gateways and "
    "endpoints.",
    spec_url=DIAGNOSTICS,
    requires=(Feature.SHARED_SERVICES,),
    explained_by=BELOW_SYNCED,
)
def replicas_agree(snapshot: Snapshot) -> Verdict:
    """``clusterz``, ``networkz`` and ``endpointShardz`` of all replicas are the same.

    Those that differed were read again while the snapshot was made.
    """
    planes = [snapshot.clusters[plane.name] for plane in snapshot.spec.control_planes]
    several = [plane for plane in planes if len(plane.istiods) > 1]
    if not several:
        return not_applicable(
            "every control plane has one istiod replica; with two or more this is checked"
        )
    replicas = sum(len(plane.istiods) for plane in several)
    found = each(several, lambda plane: _disagreement(snapshot, plane))
    return verdict_from(found, f"{replicas} istiod replicas agree")


def _disagreement(snapshot: Snapshot, plane: ClusterSnapshot) -> Iterator[Found]:
    first, *others = plane.istiods
    yield from each(others, lambda other: _differences(snapshot, plane.name, first, other))


def _differences(
    snapshot: Snapshot, plane: str, first: IstiodFacts, other: IstiodFacts
) -> Iterator[Found]:
    commands, both = Commands(snapshot), (first, other)
    for cluster in sorted({*first.clusters, *other.clusters}):
        status = {istiod.pod: istiod.clusters.get(cluster, "unknown") for istiod in both}
        shards = {
            istiod.pod: shards_of(istiod.debugged("endpointShardz"), cluster) for istiod in both
        }
        if shards[first.pod] == shards[other.pod] and len(set(status.values())) == 1:
            continue
        counts = {pod: _count(found) for pod, found in shards.items()}
        lacking = min(both, key=lambda one: (status[one.pod] == "synced", counts[one.pod]))
        known = (cluster,) if cluster in snapshot.clusters else ()
        yield Finding(
            f"istiod replicas of {plane} disagree about {cluster}",
            tuple(dict.fromkeys((plane, *known))),
            expected="the same status and endpoints in every replica",
            seen="; ".join(f"{pod}: {status[pod]}, {counts[pod]} endpoints" for pod in status),
            remedy=_restart(commands, plane, lacking),
            fault="res-replicas-disagree",
        )
    here, there = (
        sorted((row.get("Network", ""), row.get("Addr", "")) for row in istiod.debugged("networkz"))
        for istiod in both
    )
    if here != there:
        lacking = first if len(here) < len(there) else other
        yield Finding(
            f"istiod replicas of {plane} know different network gateways",
            (plane,),
            expected=f"{first.pod}: {here}",
            seen=f"{other.pod}: {there}",
            remedy=_restart(commands, plane, lacking),
            fault="res-replicas-disagree",
        )


def _restart(commands: Commands, plane: str, lacking: IstiodFacts) -> Remedy:
    advice = f"{lacking.pod} lacks what another replica has"
    return shell.with_note(commands.restart_istiod(plane), advice)


def shards_of(document: Any, cluster: str) -> dict[tuple[str, str], Any]:
    """The shards of one cluster in ``endpointShardz``, by host and namespace.

    Empty ones are left out, as replicas may do.
    """
    return {
        (host, namespace): endpoints
        for host, by_namespace in document.items()
        for namespace, shards in by_namespace.items()
        for shard, endpoints in shards.items()
        if shard.partition("/")[2] == cluster
        and endpoints
        and not (isinstance(endpoints, dict) and endpoints["count"] == 0)
    }


def _count(shards: dict[tuple[str, str], Any]) -> int:
    """How many endpoints those shards hold."""
    return sum(one["count"] if isinstance(one, dict) else len(one) for one in shards.values())
