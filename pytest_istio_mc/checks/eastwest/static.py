"""East-west gateways as configured: every network has one, with address, label and Gateway."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial

from ... import shell
from ...errors import ObservationError
from ...istio_names import (
    EAST_WEST_PORT,
    GATEWAY_PORT_LABEL,
    INJECTION_LABEL,
    NETWORK_LABEL,
    NODE_SELECTOR_ANNOTATION,
    SERVICE_LABEL,
)
from ...network_gateways import external_addresses, has_node_addresses, is_for_ambient_only
from ...observations import GatewayAddress
from ...shell import Remedy
from ...snapshot import ClusterSnapshot, Object, Snapshot, labels_of, name_of, namespace_of
from ...spec import ClusterSpec, Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, Gap, each, names, verdict_from
from ..oracle import gateways_of, nodes_of
from ..remedies import Commands
from .gateways import east_west_services, gateway_pods, is_declared, named_ports, peers_port
from .known import misnamed_gateways, unknown_to_istiod
from .passthrough import NO_GATEWAY, east_west_config, passes

GUIDE = "https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/"

eastwest = partial(check, requires=(Feature.MULTI_NETWORK,))


@eastwest(
    "MC-EASTWEST-001",
    "Every network has an east-west gateway with an external address, ready pods, and a place in "
    "every istiod's network gateways.",
    spec_url=GUIDE + "#install-the-east-west-gateway-in-cluster1",
    explained_by=(
        "MC-EASTWEST-002",
        "MC-CONTROL-002",
        "MC-CONTROL-003",
        *(f"MC-ACCESS-00{number}" for number in range(1, 8)),
    ),
)
def gateways_with_addresses(snapshot: Snapshot) -> Verdict:
    """Reads the gateways' Services and EndpointSlices, and ``networkz`` of every istiod."""
    networks = snapshot.spec.networks
    return verdict_from(
        each(networks, lambda network: _network(snapshot, network)),
        f"{len(networks)} networks have a gateway with an address, known to every control plane",
        pairs=networks,
    )


def _network(snapshot: Snapshot, network: str) -> Iterator[Found]:
    inside = (one.name for one in snapshot.spec.data_planes if one.network == network)
    scope = tuple(inside)
    services = [
        (snapshot.clusters[cluster.name], service)
        for cluster, service in east_west_services(snapshot)
        if cluster.name in scope
    ]
    for name in scope:
        snapshot.clusters[name].listed("Service")
    planes = snapshot.spec.control_planes
    known: dict[str, tuple[GatewayAddress, ...]] = {}
    misnamed: list[Finding] = []
    try:
        known |= {plane.name: _gateways(snapshot, plane, network) for plane in planes}
        misnamed += (one for plane in planes for one in misnamed_gateways(snapshot, plane, network))
    except ObservationError as error:
        if not services:
            raise
        yield Gap(str(error))
    yield from misnamed
    if not services and not any(known.values()):
        if not misnamed:
            yield _not_deployed(snapshot, network, scope)
        return
    reached = {gateway.cluster for gateways in known.values() for gateway in gateways}
    lacking = [
        item
        for cluster, service in services
        for item in _lacking(snapshot, cluster, service, network, reached)
    ]
    yield from lacking
    if not lacking and not misnamed and not snapshot.spec.federated:
        for plane in planes if known else ():
            yield from unknown_to_istiod(snapshot, plane, network, known[plane.name])


def _gateways(snapshot: Snapshot, plane: ClusterSpec, network: str) -> tuple[GatewayAddress, ...]:
    return tuple(one for one in gateways_of(snapshot, plane) if one.network == network)


def _not_deployed(snapshot: Snapshot, network: str, scope: tuple[str, ...]) -> Finding:
    peers = "peers are given pod addresses that they cannot reach"
    labelled = f"a Service with the label {NETWORK_LABEL}={network}"
    generate = shell.command("samples/multicluster/gen-eastwest-gateway.sh --network", network)
    install = shell.piped(generate, Commands(snapshot).istioctl(scope[0], "install -y -f -"))
    ambient = [
        f"{namespace_of(service)}/{name_of(service)} of {name}"
        for name in scope
        for service in snapshot.clusters[name].east_west_services()
        if is_for_ambient_only(service)
    ]
    return Finding(
        f"{network} has no east-west gateway: {peers}",
        scope,
        expected=f"{labelled} and port {EAST_WEST_PORT} in {names(scope)}",
        seen=f"for ambient meshes only: {', '.join(ambient)}" if ambient else "no such Service",
        remedy=shell.with_note(install, "in the folder of Istio's release archive"),
        fault="ew-not-deployed",
    )


def _lacking(
    snapshot: Snapshot,
    cluster: ClusterSnapshot,
    service: Object,
    network: str,
    reached: Collection[str],
) -> Iterator[Found]:
    """What a gateway's Service lacks; ``reached`` are the clusters that have a gateway address."""
    name, namespace = name_of(service), namespace_of(service)
    gateway = f"the east-west gateway {name} of {cluster.name}"
    kind = service["spec"].get("type", "ClusterIP")
    nodes = nodes_of(cluster)
    addresses: tuple[str, ...] | None = None
    try:
        addresses = external_addresses(service, nodes)
    except ObservationError as error:
        yield Gap(f"{gateway}: {error}")
    if addresses == () and cluster.name in reached:
        # istiod passes over a Service without an address, and the cluster has another gateway
        return
    if addresses == () and kind == "NodePort":
        annotated = has_node_addresses(service)
        seen = f"{len(nodes or ())} nodes, none of them selected and with an ExternalIP"
        kubectl = partial(Commands(snapshot).kubectl, cluster.name)
        every = f"{NODE_SELECTOR_ANNOTATION}={{}}"
        yield Finding(
            f"{gateway} is a NodePort Service without node addresses",
            (cluster.name,),
            expected=f"the annotation {NODE_SELECTOR_ANNOTATION}, which selects nodes with an "
            "ExternalIP, or a LoadBalancer",
            seen=seen if annotated else "type NodePort, no annotation",
            remedy=kubectl("get nodes --show-labels -o wide")
            if annotated
            else kubectl("annotate", f"service/{name}", every, namespace=namespace),
            fault="ew-nodeport",
        )
    elif addresses == ():
        peers = f"so peers of {network} are given pod addresses"
        yield Finding(
            f"{gateway} has no external address, {peers}",
            (cluster.name,),
            expected="an address in status.loadBalancer.ingress, or in spec.externalIPs",
            seen=f"type {kind}, no address",
            remedy=_give_address(snapshot, cluster, service),
            fault="ew-no-address",
        )
    slices = [
        item
        for item in cluster.listed("EndpointSlice", namespace)
        if labels_of(item).get(SERVICE_LABEL) == name
    ]
    if not slices and not cluster.listed("Pod", namespace):
        yield Gap(f"{gateway}: the pods of namespace {namespace} were not recorded")
    elif not any(
        (endpoint.get("conditions") or {}).get("ready") is not False
        for item in slices
        for endpoint in item["endpoints"]
    ):
        yield _no_pods(snapshot, cluster, service)


def _give_address(snapshot: Snapshot, cluster: ClusterSnapshot, service: Object) -> Remedy:
    commands, where = Commands(snapshot), cluster.name
    name, namespace = name_of(service), namespace_of(service)
    spec = service["spec"]
    if spec.get("type") != "LoadBalancer":
        change = {"spec": {"type": "LoadBalancer"}}
        return commands.merge(where, "service", name, change, namespace)
    describe = commands.kubectl(where, "describe", f"service/{name}", namespace=namespace)
    if not spec.get("loadBalancerClass"):
        address = {"spec": {"externalIPs": ["ADDRESS"]}}
        by_hand = commands.merge(where, "service", name, address, namespace)
        return shell.left_to_people(describe, "why; or, with an address by hand", by_hand)
    # the class of a load balancer cannot be changed
    ports = [
        {key: value for key, value in port.items() if key != "nodePort"}
        for port in spec.get("ports") or ()
    ]
    manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": dict(labels_of(service))},
        "spec": {"type": "LoadBalancer", "selector": spec.get("selector") or {}, "ports": ports},
    }
    decision = (
        f"does anything serve its loadBalancerClass {spec['loadBalancerClass']}? If not, whoever "
        "owns the gateway can make the Service anew; it has no address to lose"
    )
    anew = shell.then(
        commands.delete(where, "service", service), commands.apply(where, manifest, namespace)
    )
    return shell.left_to_people(describe, decision, anew)


def _no_pods(snapshot: Snapshot, cluster: ClusterSnapshot, service: Object) -> Finding:
    name, namespace = name_of(service), namespace_of(service)
    labels = service["spec"].get("selector") or {}
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    pods = gateway_pods(cluster, service)
    uninjected = any(
        container.get("image") == "auto"
        for pod in pods
        for container in pod["spec"].get("containers") or ()
    )
    kubectl = partial(Commands(snapshot).kubectl, cluster.name)
    if uninjected:
        label = (f"namespace/{namespace}", f"{INJECTION_LABEL}=enabled", "--overwrite")
        restart = kubectl("rollout restart deployment -l", selector, namespace=namespace)
        remedy = shell.then(kubectl("label", *label), restart)
    else:
        # one pod where there is to be none; never fewer than there are to be
        one = ("--current-replicas=0", "--replicas=1")
        scale = kubectl("scale deployment -l", selector, *one, namespace=namespace)
        describe = kubectl("describe pods -l", selector, namespace=namespace)
        remedy = shell.beside(scale, describe)
    phases = ", ".join(f"{name_of(pod)}: {pod['status'].get('phase')}" for pod in pods)
    return Finding(
        f"the east-west gateway {name} of {cluster.name} has no ready pod, and is advertised still",
        (cluster.name,),
        expected="at least one ready pod",
        seen=phases or f"no pod with {selector}",
        remedy=remedy,
        fault="ew-not-injected" if uninjected else "res-ew-down",
    )


@eastwest(
    "MC-EASTWEST-002",
    "Every east-west gateway has its network's label, the port that peers use, and a Gateway that "
    "passes the mesh's hosts through.",
    spec_url=GUIDE + "#expose-services-in-cluster1",
)
def gateways_configured(snapshot: Snapshot) -> Verdict:
    """Judges the configuration that was applied, and the listener of the gateway's Envoy."""
    services = east_west_services(snapshot)
    if not services:
        return verdict_from([NO_GATEWAY], "")
    ports = sorted({peers_port(snapshot, *one) for one in services})
    pass_through = f"pass the mesh's hosts through on port {names(map(str, ports))}"
    return verdict_from(
        each(services, lambda one: _misconfigured(snapshot, *one)),
        f"{len(services)} east-west gateways are known as such and {pass_through}",
        pairs=(cluster.name for cluster, _ in services),
    )


def _misconfigured(snapshot: Snapshot, cluster: ClusterSpec, service: Object) -> Iterator[Found]:
    commands = Commands(snapshot)
    name, namespace, labels = name_of(service), namespace_of(service), labels_of(service)
    gateway = f"the east-west gateway {name} of {cluster.name}"
    named = named_ports(snapshot, cluster, service)
    if not labels.get(NETWORK_LABEL) and not named and not is_declared(snapshot, cluster.network):
        label = f"{NETWORK_LABEL}={cluster.network}"
        yield Finding(
            f"{gateway} carries no network label, so no istiod knows it as a gateway",
            (cluster.name,),
            expected=f"{NETWORK_LABEL}={cluster.network}",
            seen="no such label",
            remedy=commands.kubectl(
                cluster.name, "label", f"service/{name}", label, namespace=namespace
            ),
            fault="ew-svc-label-missing",
        )
    override = labels.get(GATEWAY_PORT_LABEL, "")
    port = peers_port(snapshot, cluster, service)
    ports = [entry.get("port") for entry in service["spec"].get("ports") or ()]
    if port not in ports or (override and not override.isdecimal()):
        value = {"name": "tls", "port": port, "targetPort": port}
        change = [{"op": "add", "path": "/spec/ports/-", "value": value}]
        remedy = commands.patch(cluster.name, "service", name, change, namespace)
        if override:
            unlabel = ("label", f"service/{name}", f"{GATEWAY_PORT_LABEL}-")
            remedy = commands.kubectl(cluster.name, *unlabel, namespace=namespace)
        label = f"; label {GATEWAY_PORT_LABEL}={override}" if override else ""
        yield Finding(
            f"{gateway} does not listen on the port that peers use, {override or port}",
            (cluster.name,),
            expected=f"port {port if named else EAST_WEST_PORT}",
            seen=", ".join(map(str, ports)) + label,
            remedy=remedy,
            fault="ew-gateway-port-label" if override else "ew-port-missing",
        )
        return
    wrong = east_west_config(snapshot, cluster, service)
    if wrong:
        # a wrong configuration is why the listener is wrong
        yield wrong
    else:
        yield from passes(snapshot, cluster, service)
