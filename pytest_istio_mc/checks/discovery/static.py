"""Discovery: istiod knows every cluster's endpoints, and every proxy holds exactly those that the mesh's shape implies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ...snapshot import ClusterSnapshot, IstiodFacts, ProxyEndpoint, ProxyFacts, Snapshot
from ...spec import ClusterSpec, Feature
from ...verdicts import Finding, Verdict
from ..access.synced import shards_of
from ..catalogue import check
from ..isolating import Intention, intentions, without_mutual_tls
from ..judging import Found, Gap, each, names, verdict_from
from ..oracle import (
    Expected,
    Gateway,
    Instance,
    expected_endpoints,
    gateway_addresses,
    held_for,
    misplaced,
    ready_instances,
    service_ports,
)
from ..remedies import Commands
from ..trust.authority import serving

TROUBLESHOOTING = "https://istio.io/latest/docs/ops/diagnostic-tools/multicluster/"

_ACCESS = tuple(f"MC-ACCESS-00{number}" for number in (1, 2, 3, 4, 5, 6, 7))


@check(
    "MC-DISCOVERY-001",
    "Each istiod replica holds the endpoints of the probe service of every cluster it watches, with the right network and TLS mode.",
    spec_url=TROUBLESHOOTING,
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=(*_ACCESS, "MC-CONTROL-002", "MC-CONTROL-003"),
    probed=True,
)
def shards_complete(snapshot: Snapshot) -> Verdict:
    """Compares ``endpointShardz`` of every replica with the EndpointSlices of each cluster."""
    cells = [
        (snapshot.clusters[plane.name], istiod, target)
        for plane in snapshot.spec.control_planes
        for istiod in snapshot.clusters[plane.name].istiods
        for target in _watched(snapshot, plane)
    ]
    if not cells:
        return verdict_from(
            [Gap("no istiod runs in any cluster, so there are no endpoint shards to read")], ""
        )
    pairs = dict.fromkeys(f"{plane.name}-sees-{target.name}" for plane, _, target in cells)
    return verdict_from(
        each(cells, lambda cell: _shard(snapshot, *cell)),
        f"{len({istiod.pod for _, istiod, _ in cells})} istiod replicas hold the endpoints of {len(snapshot.spec.data_planes)} clusters",
        pairs=pairs,
    )


def _watched(snapshot: Snapshot, plane: ClusterSpec) -> tuple[ClusterSpec, ...]:
    spec = snapshot.spec
    own = spec.config_cluster(plane)
    return ((own,) if own.runs_workloads else ()) + spec.watched_by(plane)


def _shard(
    snapshot: Snapshot, plane: ClusterSnapshot, istiod: IstiodFacts, target: ClusterSpec
) -> Iterator[Found]:
    probes = snapshot.require_probes()
    prefix = f"{probes.service}.{probes.namespace}."
    shards = shards_of(istiod.debugged("endpointShardz"), target.name)
    held = [
        entry
        for (host, _), endpoints in shards.items()
        if host.startswith(prefix) and isinstance(endpoints, list)
        for entry in endpoints
    ]
    scope = tuple(dict.fromkeys((plane.name, target.name)))
    commands = Commands(snapshot)
    for number, name in service_ports(snapshot):
        instances = ready_instances(snapshot, snapshot.clusters[target.name], name)
        wanted = {(instance.address, instance.port): instance for instance in instances}
        if not wanted:
            yield Gap(
                f'cluster "{target.name}": no ready instance of {probes.service} on port {number}'
            )
            continue
        seen = {(entry["address"], entry["port"]): entry for entry in held if entry["name"] == name}
        missing = [key for key in wanted if key not in seen]
        frozen = [key for key in seen if key not in wanted and seen[key].get("health", 1) == 1]
        if missing or frozen:
            yield Finding(
                f"istiod {istiod.pod} of {plane.name} "
                + (
                    f"still has {len(frozen)} vanished"
                    if frozen
                    else f"lacks {len(missing)} of {len(wanted)}"
                )
                + f" endpoints of {probes.service} in {target.name}",
                scope,
                expected=_addresses(wanted),
                seen=_addresses(seen) or "none",
                remedy=commands.istio(plane.name, f"delete pod {istiod.pod}"),
                fault="shards-frozen" if frozen else "shards-missing",
            )
        yield from _unusable(
            snapshot, target, {key: seen[key] for key in wanted if key in seen}, wanted, scope
        )


def _unusable(
    snapshot: Snapshot,
    target: ClusterSpec,
    seen: Mapping[tuple[str, int], Mapping[str, Any]],
    wanted: Mapping[tuple[str, int], Instance],
    scope: tuple[str, ...],
) -> Iterator[Found]:
    probes = snapshot.require_probes()
    commands = Commands(snapshot)
    plain = [wanted[key].pod for key, entry in seen.items() if entry.get("tls_mode") != "istio"]
    if plain:
        label = commands.kubectl(
            target.name, f"label namespace {probes.namespace} istio-injection=enabled --overwrite"
        )
        restart = commands.kubectl(target.name, "rollout restart deployment", probes.namespace)
        yield Finding(
            f"pods of {probes.service} in {target.name} have no sidecar: {names(sorted(set(plain)))}",
            (target.name,),
            expected="TLS mode istio",
            seen="TLS mode disabled, so other networks drop these endpoints",
            remedy=f"{label} && {restart}",
            fault="sidecar-missing",
        )
    networks = {entry.get("network", "") for entry in seen.values()} - {target.network}
    if networks and Feature.MULTI_NETWORK in snapshot.spec.features:
        yield Finding(
            f"istiod puts pods of {target.name} into the network {names(sorted(network or '(none)' for network in networks))}",
            scope,
            expected=f"network {target.network}",
            seen=", ".join(sorted(network or "(none)" for network in networks)),
            remedy=commands.kubectl(
                target.name,
                f"label namespace {snapshot.spec.istio_namespace} topology.istio.io/network={target.network} --overwrite",
            )
            + f" && {commands.restart_workloads(target.name)}",
            fault="cp-network-injector-differs",
        )


def _addresses(found: Mapping[tuple[str, int], object]) -> str:
    return ", ".join(f"{address}:{port}" for address, port in sorted(found))


@check(
    "MC-DISCOVERY-002",
    "Each probe proxy's endpoints are exactly what the spec implies: pods of its own network, gateways of the others, in their locality.",
    spec_url="https://istio.io/latest/docs/ops/deployment/deployment-models/#multiple-networks",
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=(
        "MC-DISCOVERY-001",
        *_ACCESS,
        "MC-CONTROL-002",
        "MC-CONTROL-003",
        "MC-CONTROL-005",
        "MC-CONTROL-007",
        "MC-EASTWEST-001",
        "MC-EASTWEST-002",
        "MC-FEDERATION-002",
        "MC-LOCALITY-001",
    ),
    probed=True,
)
def endpoints_as_implied(snapshot: Snapshot) -> Verdict:
    """Compares the healthy endpoints in each proxy's EDS with the oracle; unhealthy ones may be there (Istio 1.31 sends them)."""
    cells = [
        (cluster, proxy)
        for cluster in snapshot.spec.data_planes
        for proxy in snapshot.clusters[cluster.name].proxies
        if proxy.kind in ("client", "server", "east-west")
    ]
    if not any(proxy.kind != "east-west" for _, proxy in cells):
        return verdict_from([Gap("no probe proxy was recorded")], "")
    gateways = gateway_addresses(snapshot)
    return verdict_from(
        each(cells, lambda cell: _proxy(snapshot, *cell, gateways)),
        f"{len(cells)} proxies in {len(snapshot.spec.data_planes)} clusters hold exactly the endpoints that the mesh implies",
        pairs=(f"{source.name}-to-{target.name}" for source, target in snapshot.spec.pairs),
    )


def _proxy(
    snapshot: Snapshot, cluster: ClusterSpec, proxy: ProxyFacts, gateways: tuple[Gateway, ...]
) -> Iterator[Found]:
    proxy.require_dump()
    for number, name in service_ports(snapshot):
        instances = {
            target.name: ready_instances(snapshot, snapshot.clusters[target.name], name)
            for target in snapshot.spec.data_planes
        }
        if proxy.kind == "east-west":
            yield from _gateway_view(snapshot, cluster, proxy, number, instances)
            continue
        wanted = expected_endpoints(snapshot.spec, cluster, instances, gateways)
        held = held_for(proxy, f"outbound|{number}||", snapshot)
        if held is None:
            yield _no_cluster(snapshot, cluster, proxy, number)
        else:
            yield from _compare(snapshot, cluster, proxy, number, wanted, held)


def _no_cluster(
    snapshot: Snapshot, cluster: ClusterSpec, proxy: ProxyFacts, number: int
) -> Finding:
    probes = snapshot.require_probes()
    commands = Commands(snapshot)
    return Finding(
        f"proxy {proxy.pod} in {cluster.name} has no endpoints at all for {probes.service}:{number}",
        (cluster.name,),
        expected=f"an Envoy cluster outbound|{number}||{probes.service}.{probes.namespace}.svc…",
        seen=", ".join(proxy.clusters) or "none for this service",
        remedy=f"istioctl proxy-status --context={commands.context(serving(snapshot, cluster.name).name)}; "
        + commands.kubectl(cluster.name, f"delete pod {proxy.pod}", proxy.namespace),
        fault="eds-no-cluster",
    )


def _compare(
    snapshot: Snapshot,
    source: ClusterSpec,
    proxy: ProxyFacts,
    number: int,
    wanted: tuple[Expected, ...],
    held: tuple[ProxyEndpoint, ...],
) -> Iterator[Found]:
    healthy = {(one.address, one.port): one for one in held if one.health == "HEALTHY"}
    ejected = {(one.address, one.port) for one in held if one.health != "HEALTHY"} - healthy.keys()
    by_address: dict[tuple[str, int], list[Expected]] = {}
    for one in wanted:
        by_address.setdefault((one.address, one.port), []).append(one)
    probes = snapshot.require_probes()
    where = f"{probes.service}:{number} in proxy {proxy.pod} of {source.name}"
    missing = {key: ones for key, ones in by_address.items() if key not in healthy}
    surplus = [key for key in healthy if key not in by_address]
    targets = tuple(
        dict.fromkeys(target for ones in missing.values() for one in ones for target in one.targets)
    )
    reached = {
        target
        for key, ones in by_address.items()
        if key in healthy
        for one in ones
        for target in one.targets
    }
    unserved = _unserved(snapshot, source, reached, targets)
    if missing or surplus or unserved:
        lost = tuple(dict.fromkeys((*targets, *unserved)))
        if lost and not surplus:
            why = intentions(snapshot, source, lost)
            if why:
                yield from (_intended(snapshot, source, one, where) for one in why)
                return
        yield Finding(
            _words(where, lost, surplus, ejected & missing.keys(), source),
            tuple(dict.fromkeys((source.name, *lost))),
            expected=", ".join(
                f"{one.address}:{one.port} ({'gateway of ' if one.gateway else 'pod in '}{names(one.targets)})"
                for one in wanted
            )
            or "none",
            seen=", ".join(f"{one.address}:{one.port} {one.health.lower()}" for one in held)
            or "none",
            remedy=f"istioctl proxy-config endpoints {proxy.pod}.{proxy.namespace} --context={Commands(snapshot).context(source.name)} "
            f"| grep {probes.service}; {Commands(snapshot).restart_istiod(serving(snapshot, source.name).name)}",
            fault="eds-missing" if lost else "eds-surplus",
        )
        return
    yield from _details(snapshot, source, proxy, wanted, held, where)


def _unserved(
    snapshot: Snapshot, source: ClusterSpec, reached: set[str], known: tuple[str, ...]
) -> tuple[str, ...]:
    """Clusters with instances to which not even the oracle knows a way: another network without a gateway address."""
    if snapshot.spec.federated:
        return ()
    return tuple(
        cluster.name
        for cluster in snapshot.spec.data_planes
        if cluster.name not in reached and cluster.name not in known
    )


def _words(
    where: str,
    lost: tuple[str, ...],
    surplus: list[tuple[str, int]],
    ejected: set[tuple[str, int]],
    source: ClusterSpec,
) -> str:
    if lost and surplus:
        return (
            f"{where} leads to {', '.join(f'{a}:{p}' for a, p in surplus)} instead of {names(lost)}"
        )
    if ejected:
        return f"{where} holds endpoints of {names(lost)} that are unhealthy"
    if lost:
        return f"{where} leads to no endpoint of {names(lost)}"
    return f"{where} holds {len(surplus)} endpoints that are none: {', '.join(f'{a}:{p}' for a, p in surplus)}"


def _intended(snapshot: Snapshot, source: ClusterSpec, why: Intention, where: str) -> Finding:
    return Finding(
        f"{where} stays within {source.name}: {why.summary}",
        tuple(dict.fromkeys((source.name, *why.clusters))),
        expected="endpoints of every cluster",
        seen=why.seen,
        remedy=why.remedy,
        fault=why.fault,
    )


def _details(
    snapshot: Snapshot,
    source: ClusterSpec,
    proxy: ProxyFacts,
    wanted: tuple[Expected, ...],
    held: tuple[ProxyEndpoint, ...],
    where: str,
) -> Iterator[Found]:
    """Locality and TLS mode of endpoints that are where they should be."""
    elsewhere = misplaced(wanted, held)
    if elsewhere:
        seen = {(one.address, one.port): one.locality or "(none)" for one in held}
        targets = tuple(dict.fromkeys(target for one in elsewhere for target in one.targets))
        yield Finding(
            f"{where} has endpoints of {names(targets)} in the wrong locality",
            tuple(dict.fromkeys((source.name, *targets))),
            expected=", ".join(
                f"{one.address}:{one.port} in {one.locality or '(none)'}" for one in elsewhere
            ),
            seen=", ".join(
                f"{one.address}:{one.port} in {seen[(one.address, one.port)]}" for one in elsewhere
            ),
            remedy=f"istioctl proxy-config endpoints {proxy.pod}.{proxy.namespace} --context={Commands(snapshot).context(source.name)}"
            f" -o json; {Commands(snapshot).restart_istiod(serving(snapshot, source.name).name)}",
            fault="loc-wrong",
        )
    plain = [one for one in held if one.health == "HEALTHY" and one.tls_mode != "istio"]
    if plain:
        keys = {(one.address, one.port) for one in plain}
        targets = tuple(
            dict.fromkeys(
                target
                for one in wanted
                if (one.address, one.port) in keys
                for target in one.targets
            )
        )
        what = f"{where} would be sent in plaintext to {names(targets)}"
        why = without_mutual_tls(snapshot, source)
        yield from (
            replace(_intended(snapshot, source, one, where), summary=f"{what}: {one.summary}")
            for one in why
        )
        if not why:
            yield Finding(
                what,
                tuple(dict.fromkeys((source.name, *targets))),
                expected="TLS mode istio",
                seen=", ".join(
                    f"{one.address}:{one.port} {one.tls_mode or 'no TLS'}" for one in plain
                ),
                remedy=Commands(snapshot).kubectl(
                    source.name, "get destinationrules,peerauthentications -A"
                ),
                fault="sidecar-missing",
            )


def _gateway_view(
    snapshot: Snapshot,
    cluster: ClusterSpec,
    proxy: ProxyFacts,
    number: int,
    instances: Mapping[str, tuple[Instance, ...]],
) -> Iterator[Found]:
    """An east-west gateway must forward to all of its own network, and into that only."""
    held = held_for(proxy, f"outbound_.{number}_._", snapshot)
    if held is None:
        # whether the gateway exposes the service at all is MC-EASTWEST-002's
        return
    own = {
        (instance.address, instance.port): target.name
        for target in snapshot.spec.data_planes
        if target.network == cluster.network
        for instance in instances[target.name]
    }
    missing = own.keys() - {(one.address, one.port) for one in held if one.health == "HEALTHY"}
    if missing:
        yield from _nothing_behind(
            snapshot, cluster, proxy, number, tuple(sorted({own[key] for key in missing}))
        )
    foreign = [
        one for one in held if (one.address, one.port) not in own and one.health == "HEALTHY"
    ]
    if foreign:
        leads = ", ".join(f"{one.address}:{one.port}" for one in foreign)
        yield Finding(
            f"the east-west gateway {proxy.pod} of {cluster.name} would forward to {leads}, outside its network {cluster.network}",
            (cluster.name,),
            expected=", ".join(f"{address}:{port}" for address, port in sorted(own)),
            seen=f"ISTIO_META_REQUESTED_NETWORK_VIEW={proxy.metadata.get('REQUESTED_NETWORK_VIEW', '')!r}",
            remedy=Commands(snapshot).kubectl(
                cluster.name,
                f"set env deployment -l istio=eastwestgateway ISTIO_META_REQUESTED_NETWORK_VIEW={cluster.network}",
                proxy.namespace,
            ),
            fault="ew-network-view",
        )


def _nothing_behind(
    snapshot: Snapshot,
    cluster: ClusterSpec,
    proxy: ProxyFacts,
    number: int,
    targets: tuple[str, ...],
) -> Iterator[Finding]:
    """A gateway passes mutual TLS only: where its control plane turns that off for a service, the gateway has no endpoint for it."""
    where = f"{snapshot.require_probes().service}:{number} in the east-west gateway {proxy.pod} of {cluster.name}"
    why = without_mutual_tls(snapshot, cluster)
    for one in why:
        yield replace(
            _intended(snapshot, cluster, one, where),
            summary=f"{where} leads nowhere: {one.summary}",
        )
    if not why:
        yield Finding(
            f"{where} lacks endpoints of {names(targets)}",
            tuple(dict.fromkeys((cluster.name, *targets))),
            expected="every ready pod of its network",
            seen="fewer",
            remedy=Commands(snapshot).kubectl(
                cluster.name, f"delete pod {proxy.pod}", proxy.namespace
            ),
            fault="ew-endpoints-missing",
        )
