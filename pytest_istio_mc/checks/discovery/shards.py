"""Endpoint shards: MC-DISCOVERY-001, istiod knows the endpoints of every cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ... import shell
from ...istio_names import INJECTION_LABEL, NETWORK_LABEL
from ...recorded import IstiodFacts
from ...snapshot import ClusterSnapshot, Snapshot
from ...spec import ClusterSpec, Feature
from ...verdicts import Finding, Verdict
from ..access.synced import shards_of
from ..catalogue import check
from ..judging import Found, Gap, each, names, verdict_from
from ..oracle import Instance, ready_instances, service_ports
from ..remedies import Commands

Address = tuple[str, int]


@check(
    "MC-DISCOVERY-001",
    "Each istiod replica holds the endpoints of the probe service of every cluster it watches, "
    "with the right network and TLS mode.",
    spec_url="https://istio.io/latest/docs/ops/diagnostic-tools/multicluster/",
    requires=(Feature.CROSS_CLUSTER,),
    explained_by=(
        *(f"MC-ACCESS-00{number}" for number in range(1, 8)),
        "MC-CONTROL-002",
        "MC-CONTROL-003",
    ),
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
        nothing = "no istiod runs in any cluster, so there are no endpoint shards to read"
        return verdict_from([Gap(nothing)], "")
    replicas = len({istiod.pod for _, istiod, _ in cells})
    clusters = len(snapshot.spec.data_planes)
    return verdict_from(
        each(cells, lambda cell: _shard(snapshot, *cell)),
        f"{replicas} istiod replicas hold the endpoints of {clusters} clusters",
        pairs=dict.fromkeys(f"{plane.name}-sees-{target.name}" for plane, _, target in cells),
    )


def _watched(snapshot: Snapshot, plane: ClusterSpec) -> tuple[ClusterSpec, ...]:
    spec = snapshot.spec
    own = spec.config_cluster(plane)
    return ((own,) if own.runs_workloads else ()) + spec.watched_by(plane)


def _shard(
    snapshot: Snapshot, plane: ClusterSnapshot, istiod: IstiodFacts, target: ClusterSpec
) -> Iterator[Found]:
    probes = snapshot.require_probes()
    shards = shards_of(istiod.debugged("endpointShardz"), target.name)
    held = [
        entry
        for (host, _), endpoints in shards.items()
        if host.startswith(f"{probes.service}.{probes.namespace}.") and isinstance(endpoints, list)
        for entry in endpoints
    ]
    scope = tuple(dict.fromkeys((plane.name, target.name)))
    for number, name in service_ports(snapshot):
        instances = ready_instances(snapshot, snapshot.clusters[target.name], name)
        wanted = {(instance.address, instance.port): instance for instance in instances}
        if not wanted:
            none_ready = f"no ready instance of {probes.service} on port {number}"
            yield Gap(f'cluster "{target.name}": {none_ready}')
            continue
        seen = {(entry["address"], entry["port"]): entry for entry in held if entry["name"] == name}
        missing = [key for key in wanted if key not in seen]
        frozen = [key for key in seen if key not in wanted and seen[key].get("health", 1) == 1]
        if missing or frozen:
            lacks = f"lacks {len(missing)} of {len(wanted)}"
            wrong = f"still has {len(frozen)} vanished" if frozen else lacks
            whose = f"endpoints of {probes.service} in {target.name}"
            yield Finding(
                f"istiod {istiod.pod} of {plane.name} {wrong} {whose}",
                scope,
                expected=_addresses(wanted),
                seen=_addresses(seen) or "none",
                remedy=Commands(snapshot).restart_istiod(plane.name),
                fault="shards-frozen" if frozen else "shards-missing",
            )
        right = {key: seen[key] for key in wanted if key in seen}
        yield from _unusable(snapshot, target, right, wanted, scope)


def _unusable(
    snapshot: Snapshot,
    target: ClusterSpec,
    seen: Mapping[Address, Mapping[str, Any]],
    wanted: Mapping[Address, Instance],
    scope: tuple[str, ...],
) -> Iterator[Found]:
    """What is wrong with endpoints that are where they should be: TLS mode and network."""
    probes, commands = snapshot.require_probes(), Commands(snapshot)
    plain = {wanted[key].pod for key, entry in seen.items() if entry.get("tls_mode") != "istio"}
    if plain:
        own = f"namespace/{probes.namespace}"
        injected = (own, f"{INJECTION_LABEL}=enabled", "--overwrite")
        label = commands.kubectl(target.name, "label", *injected)
        restart = commands.kubectl(
            target.name, "rollout restart deployment", namespace=probes.namespace
        )
        pods = f"pods of {probes.service} in {target.name}"
        yield Finding(
            f"{pods} have no sidecar: {names(sorted(plain))}",
            (target.name,),
            expected="TLS mode istio",
            seen="TLS mode disabled, so other networks drop these endpoints",
            remedy=shell.then(label, restart),
            fault="sidecar-missing",
        )
    networks = {entry.get("network", "") for entry in seen.values()} - {target.network}
    if networks and Feature.MULTI_NETWORK in snapshot.spec.features:
        named = sorted(network or "(none)" for network in networks)
        system = f"namespace/{snapshot.spec.istio_namespace}"
        network = f"{NETWORK_LABEL}={target.network}"
        label = commands.kubectl(target.name, "label", system, network, "--overwrite")
        yield Finding(
            f"istiod puts pods of {target.name} into the network {names(named)}",
            scope,
            expected=f"network {target.network}",
            seen=", ".join(named),
            remedy=shell.then(label, commands.restart_workloads(target.name)),
            fault="cp-network-injector-differs",
        )


def _addresses(found: Mapping[Address, object]) -> str:
    return ", ".join(f"{address}:{port}" for address, port in sorted(found))
