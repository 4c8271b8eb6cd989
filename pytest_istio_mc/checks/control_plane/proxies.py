"""Proxies in sync: MC-CONTROL-005, which asks every istiod replica what it sent and what its proxies said to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from ...snapshot import ClusterSnapshot, IstiodFacts, ProxyFacts, Snapshot, name_of, namespace_of
from ...spec import Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..eastwest.passthrough import duplicate_gateways
from ..judging import Found, Gap, each, verdict_from
from ..remedies import Commands
from ..trust.authority import serving

STALE = timedelta(seconds=30)
"""A configuration that a proxy has neither accepted nor refused for this long is stuck; proxies answer within milliseconds."""

_TYPES = {
    "Cluster": "clusters",
    "Listener": "listeners",
    "RouteConfiguration": "routes",
    "ClusterLoadAssignment": "endpoints",
}


@check(
    "MC-CONTROL-005",
    "Every proxy is connected to an istiod of its own control plane and has accepted its latest configuration.",
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
    """``syncz`` of every replica: rejections (NACK) and pushes without an answer, for all proxies, and presence for ours."""
    planes = [snapshot.clusters[plane.name] for plane in snapshot.spec.control_planes]
    clusters = [snapshot.clusters[cluster.name] for cluster in snapshot.spec.data_planes]
    count = sum(
        len(istiod.debug.get("syncz") or ()) for plane in planes for istiod in plane.istiods
    )

    def everything() -> Iterator[Found]:
        yield from each(planes, lambda plane: _rejections(snapshot, plane))
        yield from each(clusters, lambda cluster: _disconnected(snapshot, cluster))

    return verdict_from(everything(), f"{count} proxies are connected and in sync")


def _rejections(snapshot: Snapshot, plane: ClusterSnapshot) -> Iterator[Found]:
    if not plane.istiods:
        commands = Commands(snapshot)
        served = [
            cluster.name for cluster in snapshot.spec.served_by(snapshot.spec.cluster(plane.name))
        ]
        pods = [
            item
            for item in plane.listed("Pod", snapshot.spec.istio_namespace)
            if item["metadata"].get("labels", {}).get("app") == "istiod"
        ]
        yield Finding(
            f"no istiod runs in {plane.name}: its proxies keep what they have, nothing new reaches them",
            tuple(dict.fromkeys((plane.name, *served))),
            expected="a ready istiod",
            seen=", ".join(f"{name_of(pod)}: {pod['status'].get('phase')}" for pod in pods)
            or "no istiod pod",
            remedy=f"{commands.istio(plane.name, 'scale deployment -l app=istiod --replicas=1')}; "
            + commands.istio(plane.name, "logs -l app=istiod --tail=50"),
            fault="res-istiod-down",
        )
    yield from each(plane.istiods, lambda istiod: _rejected_by(snapshot, plane, istiod))


def _rejected_by(
    snapshot: Snapshot, plane: ClusterSnapshot, istiod: IstiodFacts
) -> Iterator[Found]:
    for row in istiod.debugged("syncz"):
        cluster = row.get("cluster_id", "")
        scope = tuple(
            dict.fromkeys(((cluster,) if cluster in snapshot.clusters else ()) + (plane.name,))
        )
        for url, resource in sorted((row.get("resources") or {}).items()):
            kind = _TYPES.get(url.rpartition(".")[2], url.rpartition(".")[2])
            if resource.get("lastError"):
                yield _rejection(snapshot, plane, row, kind, resource["lastError"], scope)
            elif _is_stale(snapshot, resource):
                pod, _, namespace = row["proxy"].rpartition(".")
                yield Finding(
                    f"proxy {row['proxy']} in {cluster} has not answered the {kind} that istiod sent it",
                    scope,
                    expected=f"an answer within {STALE}",
                    seen=f"sent {resource.get('sentTime')}, nothing since",
                    remedy=Commands(snapshot).kubectl(cluster, f"delete pod {pod}", namespace)
                    if cluster in snapshot.clusters
                    else "",
                    fault="proxy-stale",
                )


def _is_stale(snapshot: Snapshot, resource: Mapping[str, Any]) -> bool:
    if not resource.get("sent") or resource["sent"] == resource.get("acked"):
        return False
    try:
        sent = datetime.fromisoformat(str(resource.get("sentTime", "")))
    except ValueError:
        return False
    return snapshot.moment - sent > STALE


def _rejection(
    snapshot: Snapshot,
    plane: ClusterSnapshot,
    row: Mapping[str, Any],
    kind: str,
    error: str,
    scope: tuple[str, ...],
) -> Finding:
    cluster = row.get("cluster_id", "")
    pod = row["proxy"].rpartition(".")[0]
    config = snapshot.spec.config_cluster(snapshot.spec.cluster(plane.name)).name
    culprits = duplicate_gateways(snapshot.clusters[config])
    router = row.get("proxy_type") == "router" and kind == "listeners"
    commands = Commands(snapshot)
    if router and culprits:
        # the first is the one to keep
        remedy = " && ".join(
            commands.kubectl(
                config, f"delete gateways.networking.istio.io {name_of(one)}", namespace_of(one)
            )
            for one in culprits[1:]
        )
        why = f": gateways {', '.join(name_of(one) for one in culprits)} open the same port for the same hosts"
    else:
        why = ""
        remedy = f"{commands.istio(plane.name, 'logs -l app=istiod --tail=500')} | grep {pod}  # names the configuration to correct"
    return Finding(
        f"proxy {row['proxy']} in {cluster} rejects its {kind}{why}",
        scope,
        expected="accepted (ACK)",
        seen=error[:500],
        remedy=remedy,
        fault="ew-lds-nack" if router else "proxy-nack",
    )


def _disconnected(snapshot: Snapshot, cluster: ClusterSnapshot) -> Iterator[Found]:
    plane = serving(snapshot, cluster.name)
    home = snapshot.clusters[plane.name]
    if not home.istiods:
        return
    for istiod in home.istiods:
        istiod.debugged("syncz")
    connected = {
        row["proxy"]
        for istiod in home.istiods
        for row in istiod.debugged("syncz")
        if row.get("cluster_id") == cluster.name
    }
    elsewhere = {
        row["proxy"]: other.name
        for other in snapshot
        if other.name != plane.name
        for istiod in other.istiods
        for row in istiod.debug.get("syncz") or ()
        if row.get("cluster_id") == cluster.name
    }
    ours = [proxy for proxy in cluster.proxies if f"{proxy.pod}.{proxy.namespace}" not in connected]
    if not cluster.proxies:
        yield Gap(f'cluster "{cluster.name}": no proxy was recorded')
    for proxy in ours:
        yield _lost(
            snapshot,
            cluster.name,
            plane.name,
            proxy,
            elsewhere.get(f"{proxy.pod}.{proxy.namespace}", ""),
        )


def _lost(
    snapshot: Snapshot, cluster: str, plane: str, proxy: ProxyFacts, elsewhere: str
) -> Finding:
    commands = Commands(snapshot)
    logs = commands.kubectl(cluster, f"logs {proxy.pod} -c istio-proxy --tail=50", proxy.namespace)
    return Finding(
        f"proxy {proxy.pod} of {cluster} is connected to the istiod of {elsewhere}"
        if elsewhere
        else f"proxy {proxy.pod} of {cluster} is connected to no istiod of {plane}",
        tuple(dict.fromkeys((cluster, plane))),
        expected=f"connected to an istiod of {plane} under the cluster id {cluster}",
        seen=elsewhere or "in no replica's syncz",
        remedy=f"{logs}; {commands.kubectl(cluster, f'delete pod {proxy.pod}', proxy.namespace)}",
        fault="proxy-wrong-istiod" if elsewhere else "proxy-disconnected",
    )
