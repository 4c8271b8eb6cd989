"""Exposure: MC-EASTWEST-009, what an east-west gateway passes through beyond the mesh's own services."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...snapshot import ClusterSnapshot, Object, Snapshot, name_of, namespace_of
from ...spec import ClusterSpec, Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..isolating import covers
from ..judging import Found, Gap, each, names, verdict_from
from ..remedies import Commands
from .passthrough import AUTO_PASSTHROUGH, Server, config_of, gateway_proxies, servers

_SNI = re.compile(r"outbound_\.\d+_\.[^_]*_\.(.+)")


@check(
    "MC-EASTWEST-009",
    "East-west gateways expose no host outside the mesh.",
    spec_url="https://istio.io/latest/docs/reference/config/networking/gateway/#ServerTLSSettings-TLSmode",
    requires=(Feature.MULTI_NETWORK,),
)
def nothing_else_exposed(snapshot: Snapshot) -> Verdict:
    """An AUTO_PASSTHROUGH server forwards, without looking, to every host that its pattern covers, external ServiceEntries included.

    Judged twice: by the hosts of the Gateways, and by the SNI names that the gateways' Envoys really accept.
    """
    services = [
        (cluster, service)
        for cluster in snapshot.spec.data_planes
        for service in snapshot.clusters[cluster.name].objects.get("Service", ())
        if service in snapshot.clusters[cluster.name].east_west_services()
    ]
    if not services:
        return verdict_from(
            [Gap("no east-west gateway was found to judge; MC-EASTWEST-001 says what to install")],
            "",
        )

    def everything() -> Iterator[Found]:
        yield from each(snapshot.spec.control_planes, lambda plane: _wide_hosts(snapshot, plane))
        yield from each(services, lambda one: _exposed(snapshot, *one))

    count = sum(
        len(chain.server_names)
        for cluster in snapshot
        for proxy in cluster.proxies
        for chains in proxy.chains.values()
        for chain in chains
    )
    return verdict_from(
        everything(),
        f"{len(services)} east-west gateways accept {count} SNI names, all of services in the mesh",
    )


def _wide_hosts(snapshot: Snapshot, plane: ClusterSpec) -> Iterator[Found]:
    config = snapshot.clusters[snapshot.spec.config_cluster(plane).name]
    external = {
        host: item for item in _external_entries(config) for host in item["spec"].get("hosts") or ()
    }
    for server in servers(config):
        if server.mode != AUTO_PASSTHROUGH:
            continue
        for host in server.hosts:
            caught = sorted(name for name in external if covers(host, name))
            if not _beyond_the_mesh(host) and not caught:
                continue
            yield _too_wide(snapshot, config, server, host, caught)


def _beyond_the_mesh(host: str) -> bool:
    """Whether a host pattern reaches past names that a mesh gives out itself (``*.local``, ``*.svc.cluster.local``, ``*.global``)."""
    return host == "*" or not (host.endswith((".local", ".global")) or ".svc." in host)


def _too_wide(
    snapshot: Snapshot, config: ClusterSnapshot, server: Server, host: str, caught: list[str]
) -> Finding:
    commands = Commands(snapshot)
    served = tuple(
        cluster.name
        for cluster in snapshot.spec.data_planes
        if config_of(snapshot, cluster).name == config.name
    )
    place = next(
        number
        for number, entry in enumerate(server.item["spec"]["servers"])
        if host in str(entry.get("hosts"))
    )
    return Finding(
        f"the Gateway {name_of(server.item)} of {config.name} passes {host} through"
        + (
            f", and with it {names(caught)} outside the mesh"
            if caught
            else ", so also hosts outside the mesh"
        ),
        served or (config.name,),
        expected="hosts of the mesh only (*.local)",
        seen=f"host {host}" + (f"; external: {', '.join(caught)}" if caught else ""),
        remedy=commands.kubectl(
            config.name,
            f"patch {server.command_name} --type=json -p "
            f'\'[{{"op":"replace","path":"/spec/servers/{place}/hosts","value":["*.svc.cluster.local"]}}]\'',
            namespace_of(server.item),
        ),
        fault="ew-exposes-external",
    )


def _external_entries(config: ClusterSnapshot) -> Iterator[Object]:
    for item in config.listed("ServiceEntry.networking.istio.io"):
        # MESH_EXTERNAL is the default of this field
        if item["spec"].get("location", "MESH_EXTERNAL") == "MESH_EXTERNAL":
            yield item


def _exposed(snapshot: Snapshot, cluster: ClusterSpec, service: Object) -> Iterator[Found]:
    config = config_of(snapshot, cluster)
    external = {
        host for item in _external_entries(config) for host in item["spec"].get("hosts") or ()
    }
    internal = {
        host
        for item in config.listed("ServiceEntry.networking.istio.io")
        if item["spec"].get("location") == "MESH_INTERNAL"
        for host in item["spec"].get("hosts") or ()
    }
    for proxy in gateway_proxies(snapshot.clusters[cluster.name], service):
        if proxy.failures:
            yield Gap(
                f"east-west gateway {proxy.pod} of {cluster.name}: {proxy.failures[0].what} could not be read: {proxy.failures[0].error}"
            )
            continue
        accepted = {
            match[1]
            for chains in proxy.chains.values()
            for chain in chains
            for name in chain.server_names
            if (match := _SNI.match(name))
        }
        foreign = sorted(
            host
            for host in accepted
            if host in external
            or (host not in internal and ".svc." not in host and not host.endswith(".global"))
        )
        if foreign:
            commands = Commands(snapshot)
            yield Finding(
                f"the east-west gateway {proxy.pod} of {cluster.name} accepts {names(foreign[:5])}, outside the mesh",
                (cluster.name,),
                expected="SNI names of services in the mesh only",
                seen=f"{len(foreign)} of {len(accepted)} hosts: {', '.join(foreign[:20])}",
                remedy=commands.kubectl(config.name, "get gateways.networking.istio.io -A -o yaml")
                + "  # and narrow the AUTO_PASSTHROUGH hosts",
                fault="ew-exposes-external",
            )
