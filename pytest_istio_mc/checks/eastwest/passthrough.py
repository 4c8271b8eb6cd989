"""Pass-through: the Gateways that open the port of an east-west gateway, and its listener."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ... import shell
from ...istio_names import LISTENER_MODE, NETWORKING_API
from ...recorded import ProxyFacts
from ...shell import Command, Remedy
from ...snapshot import ClusterSnapshot, Object, Snapshot, name_of, namespace_of
from ...spec import ClusterSpec
from ...verdicts import Finding
from ..cluster_domain import cluster_domain
from ..isolating import covers
from ..judging import Found, Gap
from ..remedies import Commands, Operations, replacing
from .gateways import (
    AUTO_PASSTHROUGH,
    EAST_WEST,
    Server,
    config_of,
    gateway_pods,
    gateway_proxies,
    listening,
    opening,
    opens,
    peers_port,
    pod_ports,
    servers,
)

GATEWAYS = "gateways.networking.istio.io"
API_GATEWAYS = "gateways.gateway.networking.k8s.io"
_DOCUMENTED = "cross-network-gateway"

NO_GATEWAY = Gap("no east-west gateway was found to judge; MC-EASTWEST-001 says what to install")


def east_west_config(snapshot: Snapshot, cluster: ClusterSpec, service: Object) -> Finding | None:
    """What is wrong with the Gateway objects of one east-west gateway; None where nothing is."""
    config, commands = config_of(snapshot, cluster), Commands(snapshot)
    gateway = f"the east-west gateway of {cluster.name}"
    targets = pod_ports(snapshot.clusters[cluster.name], service)
    port = peers_port(snapshot, cluster, service)
    on_port = [server for server in servers(config) if opens(server, service, port, targets)]
    selecting = opening(snapshot, cluster, service)
    domain = cluster_domain(snapshot, snapshot.spec.control_plane_of(cluster.name))
    hosts_of_mesh = mesh_pattern(domain)

    def finding(fault: str, summary: str, expected: str, seen: str, remedy: Remedy) -> Finding:
        return Finding(summary, (cluster.name,), expected, seen, remedy, fault)

    if not on_port:
        manifest = _manifest(service, listening(service, port, targets), hosts_of_mesh)
        return finding(
            "ew-passthrough-missing",
            f"no Gateway opens {port} on {gateway}: its services are not exposed",
            f"a Gateway for port {port}, mode {AUTO_PASSTHROUGH}, host {hosts_of_mesh}",
            "none",
            commands.apply(config.name, manifest, namespace_of(service)),
        )
    if not selecting:
        selector = service["spec"].get("selector") or {}
        # what another gateway has for its own pods is not this one's mistake
        taken = [
            server for server in on_port if _selects_another(snapshot, config, service, server)
        ]
        first = next((one for one in on_port if one not in taken), None)
        if first is None:
            manifest = _manifest(service, listening(service, port, targets), hosts_of_mesh)
            return finding(
                "ew-passthrough-missing",
                f"no Gateway opens {port} on {gateway}: its services are not exposed",
                f"a Gateway that selects pods with {_in_words(selector, ',')}",
                ", ".join(f"{name_of(one.item)} for other pods" for one in taken),
                commands.apply(config.name, manifest, namespace_of(service)),
            )
        return finding(
            "ew-selector",
            f"the Gateway {name_of(first.item)} selects no pod of {gateway}",
            f"a selector that matches pods with {_in_words(selector, ',')}",
            _in_words(first.selector, ", "),
            patched(
                snapshot,
                config,
                first,
                replacing("/spec/selector", dict(first.selector), dict(selector)),
            ),
        )
    first = selecting[0]
    if not any(server.mode == AUTO_PASSTHROUGH for server in selecting):
        mode = first.mode or "without TLS"
        value: dict[str, Any] = {"mode": AUTO_PASSTHROUGH}
        if first.gateway_api:
            value = {"mode": "Passthrough", "options": {LISTENER_MODE: "auto-passthrough"}}
        # an addition replaces what is there, and is right as well where nothing is
        tls = {"op": "add", "path": f"{_place(first)}/tls", "value": value}
        return finding(
            "ew-passthrough-mode",
            f"port {port} of {gateway} is {mode}, not {AUTO_PASSTHROUGH}",
            f"tls.mode {AUTO_PASSTHROUGH}",
            f"tls.mode {first.mode or '(none)'} in Gateway {name_of(first.item)}",
            patched(snapshot, config, first, [tls]),
        )
    duplicates = duplicate_gateways(config)
    twins = [one for one in duplicates if any(server.item is one for server in selecting)]
    if len(twins) > 1:
        names, opened = ", ".join(map(name_of, twins)), f"open port {port} of {gateway}"
        return finding(
            "ew-lds-nack",
            f"the Gateways {names} {opened} for the same hosts",
            "one Gateway for each port and host",
            ", ".join(f"{namespace_of(item)}/{name_of(item)}" for item in twins),
            without_twins(commands, config.name, twins),
        )
    passing = [server for server in selecting if server.mode == AUTO_PASSTHROUGH]
    hosts = [host for server in passing for host in server.hosts]
    example = f"echo.default.svc.{domain}"
    if not any(covers(host, example) or host.endswith(f".svc.{domain}") for host in hosts):
        return finding(
            "ew-hosts",
            f"the Gateway of {gateway} does not cover the mesh's hosts",
            f"host {hosts_of_mesh}, or hosts of the mesh's services",
            ", ".join(hosts) or "no host",
            _widened(snapshot, config, passing[0], hosts_of_mesh),
        )
    return None


def mesh_pattern(domain: str) -> str:
    """The host pattern of Istio's guide for all hosts of a mesh, for its cluster domain."""
    return "*.local" if domain.endswith(".local") else f"*.svc.{domain}"


def _selects_another(
    snapshot: Snapshot, config: ClusterSnapshot, service: Object, server: Server
) -> bool:
    """Whether a server selects the pods of another gateway's Service than this one."""
    return server.gateway_api or any(
        server.selector.items() <= (other["spec"].get("selector") or {}).items()
        for cluster in snapshot.spec.data_planes
        if config_of(snapshot, cluster) is config
        for other in snapshot.clusters[cluster.name].objects.get("Service", ())
        if other is not service and server.selector
    )


def narrowed(
    snapshot: Snapshot, config: ClusterSnapshot, server: Server, host: str, narrow: str
) -> Command:
    """The command that lets a server pass ``narrow`` through in place of ``host``.

    Its other hosts stay, and so does the namespace in which this one is looked for.
    """
    if server.gateway_api:
        return patched(snapshot, config, server, _renamed(server, narrow))
    written = server.item["spec"]["servers"][server.place]["hosts"]
    place = server.hosts.index(host)
    narrow = "".join(written[place].rpartition("/")[:2]) + narrow
    path = f"{_place(server)}/hosts/{place}"
    change = replacing(path, written[place], narrow)
    if narrow in written:
        change = [change[0], {"op": "remove", "path": path}]
    return patched(snapshot, config, server, change)


def _widened(snapshot: Snapshot, config: ClusterSnapshot, server: Server, host: str) -> Command:
    """The command that lets a server pass a host through, too; a listener has but one."""
    if server.gateway_api:
        return patched(snapshot, config, server, _renamed(server, host))
    path = f"{_place(server)}/hosts"
    if not server.hosts:
        return patched(snapshot, config, server, [{"op": "add", "path": path, "value": [host]}])
    addition = {"op": "add", "path": f"{path}/-", "value": host}
    return patched(snapshot, config, server, [addition])


def _renamed(server: Server, hostname: str) -> Operations:
    """What sets the host name of a listener that still has the one seen."""
    path = f"{_place(server)}/hostname"
    seen = server.item["spec"]["listeners"][server.place].get("hostname")
    if not seen:
        return [{"op": "add", "path": path, "value": hostname}]
    return replacing(path, seen, hostname)


def patched(
    snapshot: Snapshot, config: ClusterSnapshot, server: Server, operations: Operations
) -> Command:
    """The command that patches the Gateway of a server that is still in its place."""
    path = f"{_place(server)}/port" if server.gateway_api else f"{_place(server)}/port/number"
    test = {"op": "test", "path": path, "value": server.port}
    kind = API_GATEWAYS if server.gateway_api else GATEWAYS
    name, namespace = name_of(server.item), namespace_of(server.item)
    return Commands(snapshot).patch(config.name, kind, name, [test, *operations], namespace)


def _place(server: Server) -> str:
    servers_of_api = "listeners" if server.gateway_api else "servers"
    return f"/spec/{servers_of_api}/{server.place}"


def without_twins(commands: Commands, cluster: str, twins: Sequence[Object]) -> Remedy:
    """Show Gateways that open the same; which of them goes is for their owners to decide.

    The first is the one to keep.
    """
    shown = shell.then(*(commands.show(cluster, GATEWAYS, item) for item in twins))
    kept, *others = (f"{namespace_of(item)}/{name_of(item)}" for item in twins)
    decision = f"if {kept} does for all, whoever owns {', '.join(others)} can delete it"
    return shell.left_to_people(shown, decision, commands.delete(cluster, GATEWAYS, *twins[1:]))


def _in_words(labels: Mapping[str, str], separator: str) -> str:
    return separator.join(f"{key}={value}" for key, value in labels.items())


def duplicate_gateways(config: ClusterSnapshot) -> list[Object]:
    """The Gateways that share port, host and selector, first the one of the documentation."""
    seen: dict[tuple[Any, ...], list[Object]] = {}
    for item in config.objects.get("Gateway.networking.istio.io", ()):
        selector = tuple(sorted((item["spec"].get("selector") or {}).items()))
        for server in item["spec"].get("servers") or ():
            for host in server.get("hosts") or ():
                key = (selector, (server.get("port") or {}).get("number"), host.rpartition("/")[2])
                same = seen.setdefault(key, [])
                # one Gateway's servers come one after the other
                if not same or same[-1] is not item:
                    same.append(item)
    groups = sorted(seen.values(), key=len)
    if not groups or len(groups[-1]) < 2:
        return []
    return sorted(groups[-1], key=lambda item: (name_of(item) != _DOCUMENTED, name_of(item)))


def passes(snapshot: Snapshot, cluster: ClusterSpec, service: Object) -> Iterator[Found]:
    """What is wrong with the listener that the Envoys behind the Service have.

    It needs an SNI chain for the probe service if there is one.
    """
    probes, commands = snapshot.probes, Commands(snapshot)
    found, plane = snapshot.clusters[cluster.name], snapshot.spec.control_plane_of(cluster.name)
    pods, proxies = gateway_pods(found, service), gateway_proxies(found, service)
    port = peers_port(snapshot, cluster, service)
    port = listening(service, port, pod_ports(found, service))
    if pods and not proxies:
        yield Gap(f"no Envoy of the gateway {name_of(service)} of {cluster.name} was recorded")
    for proxy in proxies:
        name = f"{proxy.pod} of {cluster.name}"
        if proxy.failures:
            yield unread(cluster, proxy)
            continue
        if _cut_off(snapshot, plane.name, proxy):
            continue  # what it has is old, and not the Gateway's fault: MC-CONTROL-005
        chains = proxy.chains.get(str(port))
        exposed = [name for chain in chains or () for name in chain.server_names]
        missing = f"has no SNI chain for {probes.service if probes else 'any service'}"
        seen = f"{len(exposed)} SNI names"
        if chains is None:
            missing = f"has no listener on {port}"
            seen = f"listeners on {', '.join(proxy.chains) or 'no port'}"
        elif not probes or any(
            f".{probes.service}.{probes.namespace}." in sni.replace("_.", ".") for sni in exposed
        ):
            continue
        restart = commands.restart_pod(cluster.name, proxy.pod, proxy.namespace)
        yield Finding(
            f"the Envoy of the east-west gateway {name} {missing}",
            (cluster.name,),
            expected="one filter chain for each port and subset of each exposed service",
            seen=seen,
            remedy=shell.after(commands.istioctl(plane.name, "proxy-status"), restart),
            fault="ew-listener-missing",
        )


def unread(cluster: ClusterSpec, proxy: ProxyFacts) -> Gap:
    """The gap that a gateway's Envoy leaves when something of it could not be read."""
    first, gateway = proxy.failures[0], f"east-west gateway {proxy.pod} of {cluster.name}"
    return Gap(f"{gateway}: {first.what} could not be read: {first.error}")


def _cut_off(snapshot: Snapshot, plane: str, proxy: ProxyFacts) -> bool:
    """Whether each istiod of its control plane says who is connected, and none names the proxy."""
    name = f"{proxy.pod}.{proxy.namespace}"
    return all(
        "syncz" in istiod.debug and all(row["proxy"] != name for row in istiod.debug["syncz"] or ())
        for istiod in snapshot.clusters[plane].istiods
    )


def _manifest(service: Object, port: int, host: str) -> dict[str, Any]:
    server = {
        "port": {"number": port, "name": "tls", "protocol": "TLS"},
        "tls": {"mode": AUTO_PASSTHROUGH},
        "hosts": [host],
    }
    selector = service["spec"].get("selector") or {}
    chosen = {"istio": selector["istio"]} if "istio" in selector else dict(selector)
    return {
        "apiVersion": NETWORKING_API,
        "kind": "Gateway",
        "metadata": {"name": _DOCUMENTED},
        "spec": {"selector": chosen or {"istio": EAST_WEST}, "servers": [server]},
    }
