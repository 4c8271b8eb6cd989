"""Proxies in sync: MC-CONTROL-005, what istiods sent to proxies and heard of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from ... import shell
from ...dates import parsed_moment
from ...istio_names import ISTIOD_PODS
from ...recorded import IstiodFacts, ProxyFacts
from ...shell import NO_REMEDY, Remedy
from ...snapshot import ClusterSnapshot, Snapshot, labels_of, name_of
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..eastwest.passthrough import duplicate_gateways, without_twins
from ..judging import Found, Gap, each, verdict_from
from ..remedies import Commands

STALE = timedelta(seconds=30)
"""A configuration without an answer for this long is stuck; proxies answer within milliseconds."""

_TYPES = {
    "Cluster": "clusters",
    "Listener": "listeners",
    "RouteConfiguration": "routes",
    "ClusterLoadAssignment": "endpoints",
}


@check(
    "MC-CONTROL-005",
    "Every proxy is connected to an istiod of its own control plane and has accepted its latest "
    "configuration.",
    spec_url="https://istio.io/latest/docs/ops/diagnostic-tools/proxy-cmd/",
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=(
        "MC-TRUST-003",
        "MC-TRUST-005",
        "MC-CONTROL-007",
        "MC-CONTROL-010",
        "MC-EASTWEST-002",
    ),
    probed=True,
)
def proxies_in_sync(snapshot: Snapshot) -> Verdict:
    """``syncz`` of every replica.

    - Rejections (NACK) and pushes without an answer, of all proxies.
    - Presence, of ours.
    """
    planes = [snapshot.clusters[plane.name] for plane in snapshot.spec.control_planes]
    clusters = [snapshot.clusters[cluster.name] for cluster in snapshot.spec.data_planes]
    istiods = [istiod for plane in planes for istiod in plane.istiods]
    count = sum(len(istiod.debug.get("syncz") or ()) for istiod in istiods)

    def everything() -> Iterator[Found]:
        yield from each(planes, lambda plane: _rejections(snapshot, plane))
        yield from each(clusters, lambda cluster: _disconnected(snapshot, cluster))

    return verdict_from(everything(), f"{count} proxies are connected and in sync")


def _rejections(snapshot: Snapshot, plane: ClusterSnapshot) -> Iterator[Found]:
    if not plane.istiods:
        yield _no_istiod(snapshot, plane)
    yield from each(plane.istiods, lambda istiod: _rejected_by(snapshot, plane, istiod))


def _no_istiod(snapshot: Snapshot, plane: ClusterSnapshot) -> Finding:
    spec, commands = snapshot.spec, Commands(snapshot)
    served = [cluster.name for cluster in spec.served_by(spec.cluster(plane.name))]
    phases = [
        f"{name_of(pod)}: {pod['status'].get('phase')}"
        for pod in plane.listed("Pod", spec.istio_namespace)
        if labels_of(pod).get("app") == "istiod"
    ]
    # one where there is to be none; never fewer than there are to be
    one = ("--current-replicas=0", "--replicas=1")
    scale = commands.istio(plane.name, "scale deployment -l", ISTIOD_PODS, *one)
    logs = commands.istio(plane.name, "logs --tail=50 -l", ISTIOD_PODS)
    return Finding(
        f"no istiod runs in {plane.name}: its proxies keep what they have, nothing new reaches "
        "them",
        tuple(dict.fromkeys((plane.name, *served))),
        expected="a ready istiod",
        seen=", ".join(phases) or "no istiod pod",
        remedy=shell.beside(scale, logs),
        fault="res-istiod-down",
    )


def _rejected_by(
    snapshot: Snapshot, plane: ClusterSnapshot, istiod: IstiodFacts
) -> Iterator[Found]:
    for row in istiod.debugged("syncz"):
        cluster = row.get("cluster_id", "")
        known = (cluster,) if cluster in snapshot.clusters else ()
        scope = tuple(dict.fromkeys((*known, plane.name)))
        for url, resource in sorted((row.get("resources") or {}).items()):
            kind = _TYPES.get(url.rpartition(".")[2], url.rpartition(".")[2])
            if resource.get("lastError"):
                yield _rejection(snapshot, plane, row, kind, resource["lastError"], scope)
            elif _is_stale(snapshot, plane, resource):
                pod, _, namespace = row["proxy"].rpartition(".")
                commands = Commands(snapshot)
                remedy = commands.restart_pod(cluster, pod, namespace) if known else NO_REMEDY
                yield Finding(
                    f"proxy {row['proxy']} in {cluster} has not answered the {kind} that istiod "
                    "sent it",
                    scope,
                    expected=f"an answer within {STALE}",
                    seen=f"sent {resource.get('sentTime')}, nothing since",
                    remedy=remedy,
                    fault="proxy-stale",
                )


def _is_stale(snapshot: Snapshot, plane: ClusterSnapshot, resource: Mapping[str, Any]) -> bool:
    """By the clock of the cluster, not by ours: they need not agree."""
    if not resource.get("sent") or resource["sent"] == resource.get("acked"):
        return False
    sent = parsed_moment(resource.get("sentTime", ""))
    now = snapshot.moment + timedelta(seconds=plane.clock_ahead)
    return sent is not None and now - sent > STALE


def _rejection(
    snapshot: Snapshot,
    plane: ClusterSnapshot,
    row: Mapping[str, Any],
    kind: str,
    error: str,
    scope: tuple[str, ...],
) -> Finding:
    commands = Commands(snapshot)
    config = snapshot.spec.config_cluster(snapshot.spec.cluster(plane.name)).name
    culprits = duplicate_gateways(snapshot.clusters[config])
    router = row.get("proxy_type") == "router" and kind == "listeners"
    if router and culprits:
        remedy: Remedy = without_twins(commands, config, culprits)
        gateways = ", ".join(name_of(one) for one in culprits)
        why = f": gateways {gateways} open the same port for the same hosts"
    else:
        why = ""
        logs = commands.istio(plane.name, "logs --tail=500 -l", ISTIOD_PODS)
        lines = shell.matching(row["proxy"].rpartition(".")[0], logs)
        remedy = shell.with_note(lines, "names the configuration to correct")
    return Finding(
        f"proxy {row['proxy']} in {row.get('cluster_id', '')} rejects its {kind}{why}",
        scope,
        expected="accepted (ACK)",
        seen=error[:500],
        remedy=remedy,
        fault="ew-lds-nack" if router else "proxy-nack",
    )


def _disconnected(snapshot: Snapshot, cluster: ClusterSnapshot) -> Iterator[Found]:
    plane = snapshot.spec.control_plane_of(cluster.name).name
    istiods = snapshot.clusters[plane].istiods
    if not istiods:
        return
    rows = [row for istiod in istiods for row in istiod.debugged("syncz")]
    connected = {row["proxy"] for row in rows if row.get("cluster_id") == cluster.name}
    elsewhere = {
        row["proxy"]: other.name
        for other in snapshot
        if other.name != plane
        for istiod in other.istiods
        for row in istiod.debug.get("syncz") or ()
        if row.get("cluster_id") == cluster.name
    }
    if not cluster.proxies:
        yield Gap(f'cluster "{cluster.name}": no proxy was recorded')
    for proxy in cluster.proxies:
        name = f"{proxy.pod}.{proxy.namespace}"
        if name not in connected:
            yield _lost(snapshot, cluster.name, plane, proxy, elsewhere.get(name, ""))


def _lost(
    snapshot: Snapshot, cluster: str, plane: str, proxy: ProxyFacts, elsewhere: str
) -> Finding:
    commands = Commands(snapshot)
    logs = commands.logs(cluster, proxy.pod, proxy.namespace)
    restart = commands.restart_pod(cluster, proxy.pod, proxy.namespace)
    istiod = f"the istiod of {elsewhere}" if elsewhere else f"no istiod of {plane}"
    return Finding(
        f"proxy {proxy.pod} of {cluster} is connected to {istiod}",
        tuple(dict.fromkeys((cluster, plane))),
        expected=f"connected to an istiod of {plane} under the cluster id {cluster}",
        seen=elsewhere or "in no replica's syncz",
        remedy=shell.after(logs, restart),
        fault="proxy-wrong-istiod" if elsewhere else "proxy-disconnected",
    )
