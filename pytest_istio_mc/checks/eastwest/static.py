"""East-west gateways: every network has one that is reachable, labelled, and passes exactly the mesh's own services through."""

from __future__ import annotations

from collections.abc import Iterator

from ...istio_names import EAST_WEST_PORT, GATEWAY_PORT_LABEL, NETWORK_LABEL
from ...snapshot import ClusterSnapshot, Object, Snapshot, labels_of, name_of, namespace_of
from ...spec import ClusterSpec, Feature
from ...verdicts import Finding, Verdict
from ..catalogue import check
from ..judging import Found, Gap, each, names, verdict_from
from ..oracle import external_addresses, gateway_port
from ..remedies import Commands
from .passthrough import east_west_config, passes

INSTALL = "https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/#install-the-east-west-gateway-in-cluster1"
EXPOSE = "https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/#expose-services-in-cluster1"

_NEEDS = (Feature.MULTI_NETWORK,)


@check(
    "MC-EASTWEST-001",
    "Every network has an east-west gateway with an external address, ready pods, and a place in every istiod's network gateways.",
    spec_url=INSTALL,
    requires=_NEEDS,
    explained_by=(
        "MC-EASTWEST-002",
        "MC-CONTROL-002",
        "MC-CONTROL-003",
        *(f"MC-ACCESS-00{number}" for number in range(1, 8)),
    ),
)
def gateways_with_addresses(snapshot: Snapshot) -> Verdict:
    """Reads Services and EndpointSlices of the gateways, and ``networkz`` of every istiod that watches them."""
    networks = snapshot.spec.networks
    return verdict_from(
        each(networks, lambda network: _network(snapshot, network)),
        f"{len(networks)} networks have a gateway with an address, known to every control plane",
        pairs=networks,
    )


def members(snapshot: Snapshot, network: str) -> tuple[ClusterSpec, ...]:
    """The clusters on a network."""
    return tuple(cluster for cluster in snapshot.spec.data_planes if cluster.network == network)


def _network(snapshot: Snapshot, network: str) -> Iterator[Found]:
    inside = members(snapshot, network)
    scope = tuple(cluster.name for cluster in inside)
    services = [
        (snapshot.clusters[name], service)
        for name in scope
        for service in snapshot.clusters[name].east_west_services()
    ]
    resources = [
        item
        for name in scope
        for item in snapshot.clusters[name].objects.get("Gateway.gateway.networking.k8s.io", ())
        if labels_of(item).get(NETWORK_LABEL) == network
    ]
    commands = Commands(snapshot)
    if not services and not resources:
        yield Finding(
            f"{network} has no east-west gateway: peers are given pod addresses that they cannot reach",
            scope,
            expected=f"a Service with the label {NETWORK_LABEL}={network} and port {EAST_WEST_PORT} in {names(scope)}",
            seen="no such Service",
            remedy=f"samples/multicluster/gen-eastwest-gateway.sh --network {network} "
            f"| istioctl install --context={commands.context(scope[0])} -y -f -  # in Istio's release archive",
            fault="ew-not-deployed",
        )
        return
    lacking = [
        item
        for cluster, service in services
        for item in _lacking(snapshot, cluster, service, network)
    ]
    yield from lacking
    if not lacking:
        yield from _unknown_to_istiod(snapshot, network, services)


def _lacking(
    snapshot: Snapshot, cluster: ClusterSnapshot, service: Object, network: str
) -> Iterator[Found]:
    commands = Commands(snapshot)
    name, namespace = name_of(service), namespace_of(service)
    kind = service["spec"].get("type", "ClusterIP")
    if kind == "NodePort" and "traffic.istio.io/nodeSelector" not in (
        service["metadata"].get("annotations") or {}
    ):
        yield Finding(
            f"the east-west gateway {name} of {cluster.name} is a NodePort Service without node addresses",
            (cluster.name,),
            expected="the annotation traffic.istio.io/nodeSelector, or a LoadBalancer",
            seen="type NodePort, no annotation",
            remedy=commands.kubectl(
                cluster.name,
                f"annotate service {name} traffic.istio.io/nodeSelector='{{}}'",
                namespace,
            ),
            fault="ew-nodeport",
        )
    elif kind != "NodePort" and not external_addresses(service):
        yield Finding(
            f"the east-west gateway {name} of {cluster.name} has no external address, so peers of {network} are given pod addresses",
            (cluster.name,),
            expected="an address in status.loadBalancer.ingress, or in spec.externalIPs",
            seen=f"type {kind}, no address",
            remedy=_give_address(snapshot, cluster, service),
            fault="ew-no-address",
        )
    slices = [
        item
        for item in cluster.listed("EndpointSlice", namespace)
        if labels_of(item).get("kubernetes.io/service-name") == name
    ]
    ready = [
        endpoint
        for item in slices
        for endpoint in item["endpoints"]
        if (endpoint.get("conditions") or {}).get("ready") is not False
    ]
    if not ready:
        yield _no_pods(snapshot, cluster, service)


def _give_address(snapshot: Snapshot, cluster: ClusterSnapshot, service: Object) -> str:
    commands = Commands(snapshot)
    name, namespace = name_of(service), namespace_of(service)
    spec = service["spec"]
    if spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass"):
        by_hand = commands.kubectl(
            cluster.name,
            f'patch service {name} -p \'{{"spec":{{"externalIPs":["ADDRESS"]}}}}\'',
            namespace,
        )
        return (
            commands.kubectl(cluster.name, f"describe service {name}", namespace)
            + f"  # why; or, by hand: {by_hand}"
        )
    # the type may be changed, the class of a load balancer may not
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
    delete = commands.kubectl(cluster.name, f"delete service {name}", namespace)
    return f"{delete} && {commands.apply(cluster.name, manifest, namespace)}"


def _no_pods(snapshot: Snapshot, cluster: ClusterSnapshot, service: Object) -> Finding:
    commands = Commands(snapshot)
    name, namespace = name_of(service), namespace_of(service)
    selector = ",".join(
        f"{key}={value}" for key, value in (service["spec"].get("selector") or {}).items()
    )
    pods = [
        item
        for item in cluster.listed("Pod", namespace)
        if (service["spec"].get("selector") or {"": ""}).items() <= labels_of(item).items()
    ]
    uninjected = any(
        container.get("image") == "auto"
        for pod in pods
        for container in pod["spec"].get("containers") or ()
    )
    if uninjected:
        remedy = (
            commands.kubectl(
                cluster.name, f"label namespace {namespace} istio-injection=enabled --overwrite"
            )
            + " && "
        )
        remedy += commands.kubectl(
            cluster.name, f"rollout restart deployment -l {selector}", namespace
        )
    else:
        remedy = commands.kubectl(
            cluster.name, f"scale deployment -l {selector} --replicas=1", namespace
        )
        remedy += "; " + commands.kubectl(cluster.name, f"describe pods -l {selector}", namespace)
    return Finding(
        f"the east-west gateway {name} of {cluster.name} has no ready pod, and is advertised still",
        (cluster.name,),
        expected="at least one ready pod",
        seen=", ".join(f"{name_of(pod)}: {pod['status'].get('phase')}" for pod in pods)
        or f"no pod with {selector}",
        remedy=remedy,
        fault="ew-not-injected" if uninjected else "res-ew-down",
    )


def _unknown_to_istiod(
    snapshot: Snapshot, network: str, services: list[tuple[ClusterSnapshot, Object]]
) -> Iterator[Found]:
    """The addresses that istiod gives to proxies must be those that the Services have."""
    if snapshot.spec.federated:
        return
    labelled = [
        (cluster, service)
        for cluster, service in services
        if labels_of(service).get(NETWORK_LABEL) == network
    ]
    wanted = {
        (address, gateway_port(service))
        for _, service in labelled
        for address in external_addresses(service)
    }
    named = any(
        not address.replace(".", "").isdigit() and ":" not in address for address, _ in wanted
    )
    scope = tuple(dict.fromkeys(cluster.name for cluster, _ in services))
    for plane in snapshot.spec.control_planes:
        home = snapshot.clusters[plane.name]
        if not home.istiods:
            yield Gap(
                f'cluster "{plane.name}": no istiod runs whose network gateways could be read'
            )
        for istiod in home.istiods:
            known = {
                (row["Addr"], row["Port"])
                for row in istiod.debugged("networkz")
                if row.get("Network") == network
            }
            # istiod resolves host names by itself, so those cannot be compared
            if (known == wanted or (named and known)) and known:
                continue
            if not labelled:
                continue
            yield Finding(
                f"istiod {istiod.pod} of {plane.name} knows "
                + (
                    f"other gateway addresses of {network} than it has"
                    if known
                    else f"no gateway of {network}"
                ),
                tuple(dict.fromkeys((*scope, plane.name))),
                expected=", ".join(f"{address}:{port}" for address, port in sorted(wanted)),
                seen=", ".join(f"{address}:{port}" for address, port in sorted(known)) or "none",
                remedy=Commands(snapshot).istio(plane.name, f"logs {istiod.pod} --tail=500")
                + f" | grep -i gateway; {Commands(snapshot).restart_istiod(plane.name)}",
                fault="ew-hostname" if named else "ew-unknown-to-istiod",
            )


@check(
    "MC-EASTWEST-002",
    "Every east-west gateway has its network's label, port 15443, and a Gateway that passes the mesh's hosts through.",
    spec_url=EXPOSE,
    requires=_NEEDS,
)
def gateways_configured(snapshot: Snapshot) -> Verdict:
    """Judges the configuration that was applied, and the listener that the gateway's Envoy has because of it."""
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
    return verdict_from(
        each(services, lambda one: _misconfigured(snapshot, *one)),
        f"{len(services)} east-west gateways are labelled and pass the mesh's hosts through on port {EAST_WEST_PORT}",
        pairs=(cluster.name for cluster, _ in services),
    )


def _misconfigured(snapshot: Snapshot, cluster: ClusterSpec, service: Object) -> Iterator[Found]:
    commands = Commands(snapshot)
    name, namespace = name_of(service), namespace_of(service)
    label = labels_of(service).get(NETWORK_LABEL, "")
    if not label:
        yield Finding(
            f"the east-west gateway {name} of {cluster.name} carries no network label, so no istiod knows it as a gateway",
            (cluster.name,),
            expected=f"{NETWORK_LABEL}={cluster.network}",
            seen="no such label",
            remedy=commands.kubectl(
                cluster.name, f"label service {name} {NETWORK_LABEL}={cluster.network}", namespace
            ),
            fault="ew-svc-label-missing",
        )
    port = _port(service)
    override = labels_of(service).get(GATEWAY_PORT_LABEL, "")
    if port not in {entry.get("port") for entry in service["spec"].get("ports") or ()} or (
        override and not override.isdigit()
    ):
        yield Finding(
            f"the east-west gateway {name} of {cluster.name} does not listen on the port that peers use, {override or port}",
            (cluster.name,),
            expected=f"port {EAST_WEST_PORT}",
            seen=", ".join(str(entry.get("port")) for entry in service["spec"].get("ports") or ())
            + (f"; label {GATEWAY_PORT_LABEL}={override}" if override else ""),
            remedy=commands.kubectl(
                cluster.name, f"label service {name} {GATEWAY_PORT_LABEL}-", namespace
            )
            if override
            else commands.kubectl(
                cluster.name,
                f"patch service {name} --type=json -p "
                f'\'[{{"op":"add","path":"/spec/ports/-","value":{{"name":"tls","port":{port},"targetPort":{port}}}}}]\'',
                namespace,
            ),
            fault="ew-gateway-port-label" if override else "ew-port-missing",
        )
        return
    wrong = list(east_west_config(snapshot, cluster, service))
    # a wrong configuration is why the listener is wrong
    yield from wrong or passes(snapshot, cluster, service)


def _port(service: Object) -> int:
    label = labels_of(service).get(GATEWAY_PORT_LABEL, "")
    return int(label) if label.isdigit() else EAST_WEST_PORT
