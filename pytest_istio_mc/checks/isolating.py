"""Isolating: configuration that keeps a service within its cluster, on purpose or by mistake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .. import shell
from ..shell import Remedy
from ..snapshot import Object, Snapshot, name_of, namespace_of
from ..spec import ClusterSpec
from .cluster_domain import cluster_domain
from .judging import names
from .remedies import Commands, replacing

_RULE = "DestinationRule.networking.istio.io"
_DEMAND = "PeerAuthentication.security.istio.io"


@dataclass(frozen=True)
class Intention:
    """A setting that hides other clusters from a proxy, and how to take it back."""

    fault: str
    summary: str
    clusters: tuple[str, ...]
    seen: str
    remedy: Remedy


def intentions(
    snapshot: Snapshot, source: ClusterSpec, targets: tuple[str, ...]
) -> tuple[Intention, ...]:
    """Every setting of ``source``'s control plane that hides the probe service in ``targets``."""
    if source.name in targets:
        # what keeps traffic local cannot be why the local instances are missing
        return ()
    return (*_cluster_local(snapshot, source), *without_mutual_tls(snapshot, source))


def without_mutual_tls(snapshot: Snapshot, source: ClusterSpec) -> tuple[Intention, ...]:
    """Every setting of ``source``'s control plane against mutual TLS to the probe service."""
    return tuple(_turned_off(snapshot, source))


def covers(pattern: str, host: str) -> bool:
    """Whether a host pattern covers a host name.

    A pattern is ``*``, ``*.ns.svc.cluster.local``, or a full or short name.
    """
    if pattern.startswith("*"):
        return host.endswith(pattern[1:])
    return host == pattern or host.startswith(pattern + ".svc.")


def _host(snapshot: Snapshot, plane: ClusterSpec) -> str:
    probes = snapshot.require_probes()
    return f"{probes.service}.{probes.namespace}.svc.{cluster_domain(snapshot, plane)}"


def _cluster_local(snapshot: Snapshot, source: ClusterSpec) -> Iterator[Intention]:
    plane = snapshot.spec.control_plane_of(source.name)
    matching = {}
    for one in snapshot.spec.control_planes:
        host = _host(snapshot, one)
        for istiod in snapshot.clusters[one.name].istiods[:1]:
            pattern = local_pattern(istiod.debug.get("mesh") or {}, host)
            if pattern is not None:
                matching[one.name] = pattern
    if plane.name not in matching:
        return
    everywhere = len(matching) == len(snapshot.spec.control_planes)
    pattern = matching[plane.name]
    wide = covers(pattern, f"any.other-namespace.svc.{cluster_domain(snapshot, plane)}")
    config = snapshot.spec.config_cluster(plane).name
    there_only = "" if everywhere else " there only"
    yield Intention(
        "cl-overbroad" if wide else "cl-service" if everywhere else "cl-one-primary",
        f"serviceSettings of {plane.name} make {pattern} cluster-local{there_only}",
        tuple(matching) if everywhere else (plane.name,),
        f"meshConfig.serviceSettings: clusterLocal for {pattern} in {names(matching)}",
        Commands(snapshot).set_mesh_config(config, f"--not-cluster-local={pattern}"),
    )


def local_pattern(mesh: Mapping[str, Any], host: str) -> str | None:
    """The pattern by which a mesh configuration keeps a host within its cluster.

    None where none does.

    The most specific pattern decides, so that an exception can take a service out again.
    """
    hosts = _local_hosts(mesh)
    decisive = sorted((pattern for pattern in hosts if covers(pattern, host)), key=len)
    return decisive[-1] if decisive and hosts[decisive[-1]] else None


def _local_hosts(mesh: Mapping[str, Any]) -> dict[str, bool]:
    settings = mesh.get("serviceSettings") or []
    assert isinstance(settings, list)
    return {
        host: bool((entry.get("settings") or {}).get("clusterLocal"))
        for entry in settings
        for host in entry.get("hosts") or ()
    }


def _turned_off(snapshot: Snapshot, source: ClusterSpec) -> Iterator[Intention]:
    """Settings that drop endpoints of other networks, whose gateways need mutual TLS."""
    plane = snapshot.spec.control_plane_of(source.name)
    config = snapshot.clusters[snapshot.spec.config_cluster(plane).name]
    probes, commands = snapshot.require_probes(), Commands(snapshot)

    def intention(fault: str, item: Object, does: str, seen: str, remedy: Remedy) -> Intention:
        kind = "DestinationRule" if fault == "dr-tls-disable" else "PeerAuthentication"
        where = f"{name_of(item)} in {namespace_of(item)} of {config.name}"
        return Intention(fault, f"{kind} {where} {does}", (source.name,), seen, remedy)

    for item in config.objects.get(_RULE, ()):
        host, policy = str(item["spec"].get("host", "")), item["spec"].get("trafficPolicy") or {}
        mode = (policy.get("tls") or {}).get("mode", "")
        if mode in ("DISABLE", "SIMPLE") and covers(host, _host(snapshot, plane)):
            seen = f"host {host}, trafficPolicy.tls.mode {mode}"
            remedy = _automatic_tls(commands, config.name, item, mode)
            yield intention("dr-tls-disable", item, f"sets TLS {mode} for {host}", seen, remedy)
    for item in config.objects.get(_DEMAND, ()):
        mode = (item["spec"].get("mtls") or {}).get("mode", "")
        applies = namespace_of(item) in (snapshot.spec.istio_namespace, probes.namespace)
        if mode == "DISABLE" and applies and not item["spec"].get("selector"):
            does, seen = "turns mutual TLS off", "mtls.mode DISABLE"
            remedy = _permissive(commands, config.name, item)
            yield intention("peerauth-disable", item, does, seen, remedy)


def _automatic_tls(commands: Commands, cluster: str, item: Object, mode: str) -> Remedy:
    """Leave it to Istio which servers get mutual TLS: those that have a sidecar.

    Where a rule has clients do a TLS of their own, servers may need that.
    """
    path, things = "/spec/trafficPolicy/tls", _plural(_RULE)
    change = [replacing(f"{path}/mode", mode, "")[0], {"op": "remove", "path": path}]
    show = commands.show(cluster, things, item)
    patch = commands.patch(cluster, things, name_of(item), change, namespace_of(item))
    if mode == "DISABLE":
        return shell.then(show, patch)
    return shell.left_to_people(show, "where no server needs a TLS of its own", patch)


def _permissive(commands: Commands, cluster: str, item: Object) -> Remedy:
    """Accept mutual TLS beside plaintext, the least that lets other networks in."""
    change, things = replacing("/spec/mtls/mode", "DISABLE", "PERMISSIVE"), _plural(_DEMAND)
    return shell.then(
        commands.show(cluster, things, item),
        commands.patch(cluster, things, name_of(item), change, namespace_of(item)),
    )


def _plural(kind: str) -> str:
    """``destinationrules.networking.istio.io`` of ``DestinationRule.networking.istio.io``."""
    name, _, group = kind.partition(".")
    return f"{name.lower()}s.{group}"
