"""Pass-through: the Gateway configuration that opens 15443 on an east-west gateway, and the listener that comes of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...istio_names import EAST_WEST_PORT
from ...snapshot import (
    ClusterSnapshot,
    Object,
    ProxyFacts,
    Snapshot,
    labels_of,
    name_of,
    namespace_of,
)
from ...spec import ClusterSpec
from ...verdicts import Finding
from ..isolating import covers
from ..judging import Found, Gap
from ..remedies import Commands
from ..trust.authority import serving

AUTO_PASSTHROUGH = "AUTO_PASSTHROUGH"
_LISTENER_LABEL = "gateway.istio.io/listener-protocol"
_MESH_HOST = "echo.default.svc.cluster.local"


@dataclass(frozen=True)
class Server:
    """One server of a Gateway, of either API: which object, port, TLS mode, hosts, and the pods it selects."""

    item: Object
    port: int
    mode: str
    hosts: tuple[str, ...]
    selector: Mapping[str, str]

    @property
    def command_name(self) -> str:
        """How kubectl names the object."""
        return f"gateways.networking.istio.io {name_of(self.item)}"


def config_of(snapshot: Snapshot, cluster: ClusterSpec) -> ClusterSnapshot:
    """The cluster in which the control plane of ``cluster`` reads its configuration."""
    return snapshot.clusters[snapshot.spec.config_cluster(serving(snapshot, cluster.name)).name]


def servers(config: ClusterSnapshot) -> tuple[Server, ...]:
    """Every server of every Istio Gateway in a configuration cluster."""
    return tuple(
        Server(
            item,
            int((server.get("port") or {}).get("number", 0)),
            str((server.get("tls") or {}).get("mode", "")),
            tuple(host.rpartition("/")[2] for host in server.get("hosts") or ()),
            item["spec"].get("selector") or {},
        )
        for item in config.listed("Gateway.networking.istio.io")
        for server in item["spec"].get("servers") or ()
    )


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


def east_west_config(snapshot: Snapshot, cluster: ClusterSpec, service: Object) -> Iterator[Found]:
    """What is wrong with the Gateway objects of one east-west gateway."""
    config = config_of(snapshot, cluster)
    if _by_gateway_api(snapshot.clusters[cluster.name], service):
        return
    on_port = [server for server in servers(config) if server.port == _listener_port(service)]
    labels = dict(service["spec"].get("selector") or {})
    for pod in gateway_pods(snapshot.clusters[cluster.name], service):
        labels |= labels_of(pod)
    selecting = [server for server in on_port if server.selector.items() <= labels.items()]
    commands = Commands(snapshot)
    namespace = namespace_of(service)
    selector = ",".join(
        f"{key}={value}" for key, value in (service["spec"].get("selector") or {}).items()
    )
    scope = (cluster.name,)
    if not on_port:
        yield Finding(
            f"no Gateway opens {EAST_WEST_PORT} on the east-west gateway of {cluster.name}: its services are not exposed",
            scope,
            expected=f"a Gateway for port {EAST_WEST_PORT}, mode {AUTO_PASSTHROUGH}, host *.local",
            seen="none",
            remedy=commands.apply(config.name, _manifest(service), namespace),
            fault="ew-passthrough-missing",
        )
    elif not selecting:
        yield Finding(
            f"the Gateway {name_of(on_port[0].item)} selects no pod of the east-west gateway of {cluster.name}",
            scope,
            expected=f"a selector that matches pods with {selector}",
            seen=", ".join(f"{key}={value}" for key, value in on_port[0].selector.items()),
            remedy=commands.kubectl(
                config.name,
                f"patch {on_port[0].command_name} --type=json -p "
                + _replace("/spec/selector", service["spec"].get("selector") or {}),
                namespace_of(on_port[0].item),
            ),
            fault="ew-selector",
        )
    elif not any(server.mode == AUTO_PASSTHROUGH for server in selecting):
        wrong = selecting[0]
        place = next(
            number
            for number, entry in enumerate(wrong.item["spec"]["servers"])
            if (entry.get("port") or {}).get("number") == wrong.port
        )
        yield Finding(
            f"port {EAST_WEST_PORT} of the east-west gateway of {cluster.name} is {wrong.mode or 'without TLS'}, not {AUTO_PASSTHROUGH}",
            scope,
            expected=f"tls.mode {AUTO_PASSTHROUGH}",
            seen=f"tls.mode {wrong.mode or '(none)'} in Gateway {name_of(wrong.item)}",
            remedy=commands.kubectl(
                config.name,
                f"patch {wrong.command_name} --type=json -p "
                + _replace(f"/spec/servers/{place}/tls", {"mode": AUTO_PASSTHROUGH}),
                namespace_of(wrong.item),
            ),
            fault="ew-passthrough-mode",
        )
    elif (
        len(
            twins := [
                item
                for item in duplicate_gateways(config)
                if any(server.item is item for server in selecting)
            ]
        )
        > 1
    ):
        yield Finding(
            f"the Gateways {', '.join(map(name_of, twins))} open port {EAST_WEST_PORT} of the east-west gateway of {cluster.name} "
            "for the same hosts",
            scope,
            expected="one Gateway for each port and host",
            seen=", ".join(f"{namespace_of(item)}/{name_of(item)}" for item in twins),
            remedy=" && ".join(
                commands.kubectl(
                    config.name,
                    f"delete gateways.networking.istio.io {name_of(item)}",
                    namespace_of(item),
                )
                for item in twins[1:]
            ),
            fault="ew-lds-nack",
        )
    elif not any(
        covers(host, _MESH_HOST) or host.endswith(".local")
        for server in selecting
        for host in server.hosts
    ):
        hosts = [host for server in selecting for host in server.hosts]
        yield Finding(
            f"the Gateway of the east-west gateway of {cluster.name} does not cover the mesh's hosts",
            scope,
            expected="host *.local, or hosts of the mesh's services",
            seen=", ".join(hosts) or "no host",
            remedy=commands.kubectl(
                config.name,
                f"patch {selecting[0].command_name} --type=json -p "
                + _replace("/spec/servers/0/hosts", ["*.local"]),
                namespace_of(selecting[0].item),
            ),
            fault="ew-hosts",
        )


def duplicate_gateways(config: ClusterSnapshot) -> list[Object]:
    """The Gateways that share port, host and selector with each other, the one that the documentation installs first."""
    seen: dict[tuple[Any, ...], list[Object]] = {}
    for item in config.objects.get("Gateway.networking.istio.io", ()):
        selector = tuple(sorted((item["spec"].get("selector") or {}).items()))
        for server in item["spec"].get("servers") or ():
            for host in server.get("hosts") or ():
                key = (selector, (server.get("port") or {}).get("number"), host.rpartition("/")[2])
                if item not in seen.setdefault(key, []):
                    seen[key].append(item)
    groups = sorted(seen.values(), key=len)
    order = sorted(
        groups[-1] if groups else [],
        key=lambda item: (name_of(item) != "cross-network-gateway", name_of(item)),
    )
    return order if len(order) > 1 else []


def passes(snapshot: Snapshot, cluster: ClusterSpec, service: Object) -> Iterator[Found]:
    """Whether the Envoys behind the Service have the listener, with an SNI chain for the probe service if there is one."""
    probes = snapshot.probes
    for proxy in gateway_proxies(snapshot.clusters[cluster.name], service):
        if proxy.failures:
            yield Gap(
                f"east-west gateway {proxy.pod} of {cluster.name}: {proxy.failures[0].what} could not be read: {proxy.failures[0].error}"
            )
            continue
        if _cut_off(snapshot, cluster, proxy):
            continue  # what it has is old, and not the Gateway's fault: MC-CONTROL-005
        chains = proxy.chains.get(str(_listener_port(service)))
        wanted = f".{probes.service}.{probes.namespace}." if probes else ""
        exposed = [name for chain in chains or () for name in chain.server_names]
        if chains is not None and (
            not wanted or any(wanted in name.replace("_.", ".") for name in exposed)
        ):
            continue
        commands = Commands(snapshot)
        yield Finding(
            f"the Envoy of the east-west gateway {proxy.pod} of {cluster.name} "
            + (
                f"has no listener on {_listener_port(service)}"
                if chains is None
                else f"has no SNI chain for {probes.service if probes else 'any service'}"
            ),
            (cluster.name,),
            expected="one filter chain for each port and subset of each exposed service",
            seen=f"{len(exposed)} SNI names"
            if chains is not None
            else f"listeners on {', '.join(proxy.chains) or 'no port'}",
            remedy=f"istioctl proxy-status --context={commands.context(serving(snapshot, cluster.name).name)}; "
            + commands.kubectl(cluster.name, f"delete pod {proxy.pod}", proxy.namespace),
            fault="ew-listener-missing",
        )


def _cut_off(snapshot: Snapshot, cluster: ClusterSpec, proxy: ProxyFacts) -> bool:
    """Whether no istiod of its control plane says that the proxy is connected, and each says who is."""
    name = f"{proxy.pod}.{proxy.namespace}"
    istiods = snapshot.clusters[serving(snapshot, cluster.name).name].istiods
    return all(
        "syncz" in istiod.debug and all(row["proxy"] != name for row in istiod.debug["syncz"] or ())
        for istiod in istiods
    )


def _by_gateway_api(cluster: ClusterSnapshot, service: Object) -> bool:
    """Whether the Service was made for a Gateway API Gateway that passes through by itself."""
    owner = labels_of(service).get("gateway.networking.k8s.io/gateway-name", "")
    return any(
        name_of(item) == owner and labels_of(item).get(_LISTENER_LABEL) == "auto-passthrough"
        for item in cluster.objects.get("Gateway.gateway.networking.k8s.io", ())
    )


def _listener_port(service: Object) -> int:
    """The port on which the gateway's pods listen: the target of the Service port 15443, which is 15443 unless it was changed."""
    for entry in service["spec"].get("ports") or ():
        if entry.get("port") == EAST_WEST_PORT and isinstance(entry.get("targetPort"), int):
            return int(entry["targetPort"])
    return EAST_WEST_PORT


def _replace(path: str, value: Any) -> str:
    return shlex.quote(
        json.dumps([{"op": "replace", "path": path, "value": value}], separators=(",", ":"))
    )


def _manifest(service: Object) -> dict[str, Any]:
    port = {"number": _listener_port(service), "name": "tls", "protocol": "TLS"}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "cross-network-gateway"},
        "spec": {
            "selector": {
                "istio": (service["spec"].get("selector") or {}).get("istio", "eastwestgateway")
            },
            "servers": [{"port": port, "tls": {"mode": AUTO_PASSTHROUGH}, "hosts": ["*.local"]}],
        },
    }
