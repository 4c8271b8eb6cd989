"""Pass-through: the Gateways that open 15443 on an east-west gateway, and its listener."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ... import shell
from ...istio_names import EAST_WEST_PORT, NETWORKING_API
from ...recorded import ProxyFacts
from ...shell import Command, Remedy
from ...snapshot import ClusterSnapshot, Object, Snapshot, labels_of, name_of, namespace_of
from ...spec import ClusterSpec
from ...verdicts import Finding
from ..isolating import covers
from ..judging import Found, Gap
from ..remedies import Commands, Operations, replacing

AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"
_LISTENER_LABEL = "gateway.istio.io/listener-protocol"
_MESH_HOST = "echo.default.svc.cluster.local"
GATEWAYS = "gateways.networking.istio.io"
_DOCUMENTED = "cross-network-gateway"

NO_GATEWAY = Gap("no east-west gateway was found to judge; MC-EASTWEST-001 says what to install")


@dataclass(frozen=True)
class Server:
    """One server of a Gateway, the ``index``-th, and the pods that it selects."""

    item: Object
    index: int
    port: int
    mode: str
    hosts: tuple[str, ...]
    selector: Mapping[str, str]


def config_of(snapshot: Snapshot, cluster: ClusterSpec) -> ClusterSnapshot:
    """The cluster in which the control plane of ``cluster`` reads its configuration."""
    plane = snapshot.spec.control_plane_of(cluster.name)
    return snapshot.clusters[snapshot.spec.config_cluster(plane).name]


def servers(config: ClusterSnapshot) -> tuple[Server, ...]:
    """Every server of every Istio Gateway in a configuration cluster."""
    return tuple(
        Server(
            item,
            index,
            int((server.get("port") or {}).get("number", 0)),
            str((server.get("tls") or {}).get("mode", "")),
            tuple(host.rpartition("/")[2] for host in server.get("hosts") or ()),
            item["spec"].get("selector") or {},
        )
        for item in config.listed("Gateway.networking.istio.io")
        for index, server in enumerate(item["spec"].get("servers") or ())
    )


def east_west_services(snapshot: Snapshot) -> list[tuple[ClusterSpec, Object]]:
    """The Service of every east-west gateway, with its cluster."""
    return [
        (cluster, service)
        for cluster in snapshot.spec.data_planes
        for service in snapshot.clusters[cluster.name].east_west_services()
    ]


def gateway_pods(cluster: ClusterSnapshot, service: Object) -> tuple[Object, ...]:
    """The pods behind an east-west gateway's Service."""
    selector = service["spec"].get("selector") or {}
    return tuple(
        item
        for item in cluster.listed("Pod", namespace_of(service))
        if selector and selector.items() <= labels_of(item).items()
    )


def gateway_proxies(cluster: ClusterSnapshot, service: Object) -> tuple[ProxyFacts, ...]:
    """What the Envoys behind an east-west gateway's Service hold."""
    pods = {name_of(item) for item in gateway_pods(cluster, service)}
    return tuple(
        proxy
        for proxy in cluster.proxies
        if proxy.pod in pods and proxy.namespace == namespace_of(service)
    )


def east_west_config(snapshot: Snapshot, cluster: ClusterSpec, service: Object) -> Finding | None:
    """What is wrong with the Gateway objects of one east-west gateway; None where nothing is."""
    if _by_gateway_api(snapshot.clusters[cluster.name], service):
        return None
    config, commands = config_of(snapshot, cluster), Commands(snapshot)
    gateway = f"the east-west gateway of {cluster.name}"
    on_port = [server for server in servers(config) if server.port == _listener_port(service)]
    selector = service["spec"].get("selector") or {}
    labels = dict(selector)
    for pod in gateway_pods(snapshot.clusters[cluster.name], service):
        labels |= labels_of(pod)
    selecting = [server for server in on_port if server.selector.items() <= labels.items()]

    def finding(fault: str, summary: str, expected: str, seen: str, remedy: Remedy) -> Finding:
        return Finding(summary, (cluster.name,), expected, seen, remedy, fault)

    if not on_port:
        return finding(
            "ew-passthrough-missing",
            f"no Gateway opens {EAST_WEST_PORT} on {gateway}: its services are not exposed",
            f"a Gateway for port {EAST_WEST_PORT}, mode {AUTO_PASSTHROUGH}, host *.local",
            "none",
            commands.apply(config.name, _manifest(service), namespace_of(service)),
        )
    first = on_port[0]
    if not selecting:
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
        # an addition replaces what is there, and is right as well where nothing is
        tls = {"op": "add", "path": f"{_place(first)}/tls", "value": {"mode": AUTO_PASSTHROUGH}}
        mode = first.mode or "without TLS"
        return finding(
            "ew-passthrough-mode",
            f"port {EAST_WEST_PORT} of {gateway} is {mode}, not {AUTO_PASSTHROUGH}",
            f"tls.mode {AUTO_PASSTHROUGH}",
            f"tls.mode {first.mode or '(none)'} in Gateway {name_of(first.item)}",
            patched(snapshot, config, first, [tls]),
        )
    duplicates = duplicate_gateways(config)
    twins = [one for one in duplicates if any(server.item is one for server in selecting)]
    if len(twins) > 1:
        names, opened = ", ".join(map(name_of, twins)), f"open port {EAST_WEST_PORT} of {gateway}"
        return finding(
            "ew-lds-nack",
            f"the Gateways {names} {opened} for the same hosts",
            "one Gateway for each port and host",
            ", ".join(f"{namespace_of(item)}/{name_of(item)}" for item in twins),
            without_twins(commands, config.name, twins),
        )
    hosts = [host for server in selecting for host in server.hosts]
    if not any(covers(host, _MESH_HOST) or host.endswith(".local") for host in hosts):
        return finding(
            "ew-hosts",
            f"the Gateway of {gateway} does not cover the mesh's hosts",
            "host *.local, or hosts of the mesh's services",
            ", ".join(hosts) or "no host",
            patched(
                snapshot,
                config,
                first,
                [{"op": "add", "path": f"{_place(first)}/hosts/-", "value": "*.local"}],
            ),
        )
    return None


def patched(
    snapshot: Snapshot, config: ClusterSnapshot, server: Server, operations: Operations
) -> Command:
    """The command that patches the Gateway of a server that is still in its place."""
    port = {"op": "test", "path": f"{_place(server)}/port/number", "value": server.port}
    name, namespace = name_of(server.item), namespace_of(server.item)
    return Commands(snapshot).patch(config.name, GATEWAYS, name, [port, *operations], namespace)


def _place(server: Server) -> str:
    return f"/spec/servers/{server.index}"


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
    port, plane = _listener_port(service), snapshot.spec.control_plane_of(cluster.name).name
    for proxy in gateway_proxies(snapshot.clusters[cluster.name], service):
        name = f"{proxy.pod} of {cluster.name}"
        if proxy.failures:
            yield unread(cluster, proxy)
            continue
        if _cut_off(snapshot, plane, proxy):
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
            remedy=shell.after(commands.istioctl(plane, "proxy-status"), restart),
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


def _by_gateway_api(cluster: ClusterSnapshot, service: Object) -> bool:
    """Whether the Service was made for a Gateway API Gateway that passes through by itself."""
    owner = labels_of(service).get("gateway.networking.k8s.io/gateway-name", "")
    return any(
        name_of(item) == owner and labels_of(item).get(_LISTENER_LABEL) == "auto-passthrough"
        for item in cluster.objects.get("Gateway.gateway.networking.k8s.io", ())
    )


def _listener_port(service: Object) -> int:
    """The port on which the gateway's pods listen: the target of the Service port 15443.

    It is 15443 unless it was changed.
    """
    for entry in service["spec"].get("ports") or ():
        if entry.get("port") == EAST_WEST_PORT and isinstance(entry.get("targetPort"), int):
            return int(entry["targetPort"])
    return EAST_WEST_PORT


def _manifest(service: Object) -> dict[str, Any]:
    port = {"number": _listener_port(service), "name": "tls", "protocol": "TLS"}
    server = {"port": port, "tls": {"mode": AUTO_PASSTHROUGH}, "hosts": ["*.local"]}
    label = (service["spec"].get("selector") or {}).get("istio", "eastwestgateway")
    return {
        "apiVersion": NETWORKING_API,
        "kind": "Gateway",
        "metadata": {"name": _DOCUMENTED},
        "spec": {"selector": {"istio": label}, "servers": [server]},
    }
