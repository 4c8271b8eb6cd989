"""Intentions: configuration that keeps a service within its cluster on purpose or by mistake, and explains missing endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..snapshot import Snapshot, name_of, namespace_of
from ..spec import ClusterSpec
from .judging import names
from .remedies import Commands
from .trust.authority import serving


@dataclass(frozen=True)
class Intention:
    """A setting that explains why a proxy sees no other cluster: which one, where, and how to take it back."""

    fault: str
    summary: str
    clusters: tuple[str, ...]
    seen: str
    remedy: str


def intentions(
    snapshot: Snapshot, source: ClusterSpec, targets: tuple[str, ...]
) -> tuple[Intention, ...]:
    """Every setting of the control plane of ``source`` by which its proxies would not see the probe service in ``targets``."""
    if source.name in targets:
        # what keeps traffic local cannot be why the local instances are missing
        return ()
    return (*_cluster_local(snapshot, source), *without_mutual_tls(snapshot, source))


def without_mutual_tls(snapshot: Snapshot, source: ClusterSpec) -> tuple[Intention, ...]:
    """Every setting of the control plane of ``source`` by which its proxies would not send mutual TLS to the probe service."""
    return tuple(_turned_off(snapshot, source))


def covers(pattern: str, host: str) -> bool:
    """Whether a host pattern (``*``, ``*.ns.svc.cluster.local``, a full or short name) covers a host name."""
    if pattern.startswith("*"):
        return host.endswith(pattern[1:])
    return host == pattern or host.startswith(pattern + ".svc.")


def _host(snapshot: Snapshot) -> str:
    probes = snapshot.require_probes()
    return f"{probes.service}.{probes.namespace}.svc.cluster.local"


def _cluster_local(snapshot: Snapshot, source: ClusterSpec) -> Iterator[Intention]:
    plane = serving(snapshot, source.name)
    host = _host(snapshot)
    matching = {}
    for one in snapshot.spec.control_planes:
        for istiod in snapshot.clusters[one.name].istiods[:1]:
            hosts = _local_hosts(istiod.debug.get("mesh") or {})
            # the most specific pattern decides, so that an exception can take a service out again
            decisive = sorted((pattern for pattern in hosts if covers(pattern, host)), key=len)
            if decisive and hosts[decisive[-1]]:
                matching[one.name] = decisive[-1]
    if plane.name not in matching:
        return
    everywhere = len(matching) == len(snapshot.spec.control_planes)
    pattern = matching[plane.name]
    wide = covers(pattern, "any.other-namespace.svc.cluster.local")
    yield Intention(
        "cl-overbroad" if wide else "cl-service" if everywhere else "cl-one-primary",
        f"serviceSettings of {plane.name} make {pattern} cluster-local"
        + ("" if everywhere else " there only"),
        tuple(matching) if everywhere else (plane.name,),
        f"meshConfig.serviceSettings: clusterLocal for {pattern} in {names(matching)}",
        Commands(snapshot).set_mesh_config(
            snapshot.spec.config_cluster(plane).name, lambda mesh: _without(mesh, pattern)
        ),
    )


def _without(mesh: dict[str, Any], pattern: str) -> None:
    """Take one cluster-local pattern out of a mesh configuration."""
    kept = []
    for entry in mesh.get("serviceSettings") or []:
        hosts = [
            host
            for host in entry.get("hosts") or ()
            if host != pattern or not (entry.get("settings") or {}).get("clusterLocal")
        ]
        if hosts:
            kept.append({**entry, "hosts": hosts})
    mesh["serviceSettings"] = kept
    if not kept:
        del mesh["serviceSettings"]


def _local_hosts(mesh: dict[str, object]) -> dict[str, bool]:
    settings = mesh.get("serviceSettings") or []
    assert isinstance(settings, list)
    return {
        host: bool((entry.get("settings") or {}).get("clusterLocal"))
        for entry in settings
        for host in entry.get("hosts") or ()
    }


def _turned_off(snapshot: Snapshot, source: ClusterSpec) -> Iterator[Intention]:
    """Endpoints of other networks are dropped where the client would not send mutual TLS, which gateways need."""
    plane = serving(snapshot, source.name)
    config = snapshot.clusters[snapshot.spec.config_cluster(plane).name]
    commands = Commands(snapshot)
    probes = snapshot.require_probes()
    for item in config.objects.get("DestinationRule.networking.istio.io", ()):
        spec = item["spec"]
        mode = ((spec.get("trafficPolicy") or {}).get("tls") or {}).get("mode", "")
        if mode in ("DISABLE", "SIMPLE") and covers(str(spec.get("host", "")), _host(snapshot)):
            yield Intention(
                "dr-tls-disable",
                f"DestinationRule {name_of(item)} in {namespace_of(item)} of {config.name} sets TLS {mode} for {spec['host']}",
                (source.name,),
                f"host {spec['host']}, trafficPolicy.tls.mode {mode}",
                commands.kubectl(
                    config.name,
                    f"delete destinationrules.networking.istio.io {name_of(item)}",
                    namespace_of(item),
                ),
            )
    for item in config.objects.get("PeerAuthentication.security.istio.io", ()):
        mode = ((item["spec"].get("mtls")) or {}).get("mode", "")
        if (
            mode == "DISABLE"
            and namespace_of(item) in (snapshot.spec.istio_namespace, probes.namespace)
            and not item["spec"].get("selector")
        ):
            yield Intention(
                "peerauth-disable",
                f"PeerAuthentication {name_of(item)} in {namespace_of(item)} of {config.name} turns mutual TLS off",
                (source.name,),
                "mtls.mode DISABLE",
                commands.kubectl(
                    config.name,
                    f"delete peerauthentications.security.istio.io {name_of(item)}",
                    namespace_of(item),
                ),
            )
