"""Gateways at unusual addresses: host names, nodes, two IP versions, several of them."""

from __future__ import annotations

from functools import partial

from pytest_istio_mc.certificates import make_leaf
from tests.checks.unusual.case import (
    EXTERNAL,
    FAKE,
    HA,
    HEALTHY,
    PRIMARY_REMOTE,
    Case,
    Draft,
    Fault,
    Json,
    fake,
)
from tests.checks.unusual.moves import (
    GATEWAY,
    SYSTEM,
    address_of,
    change_endpoints,
    gateways,
    lead_proxies_to,
    lead_to,
    second_gateway,
)

OWN = "istio-gateways"
NETWORK = "topology.istio.io/network"
ELSEWHERE = "203.0.113.66"


def first(mesh: Draft) -> str:
    """The cluster of the first gateway."""
    return next(gateways(mesh))[0]


def _host(cluster: str) -> str:
    return f"a1b2-{cluster}.elb.eu-central-1.amazonaws.com"


def _behind(cluster: str, last: int = 1) -> str:
    """The addresses behind a load balancer's name: one for each of its zones."""
    return f"198.51.100.{int(cluster[-1]) * 10 + last}"


def host_names(mesh: Draft, *, said: bool = True, moved: bool = False) -> None:
    for cluster, service in gateways(mesh):
        old = address_of(service)
        service["status"]["loadBalancer"]["ingress"] = [{"hostname": _host(cluster)}]
        lead_to(mesh, old, [(_behind(cluster, zone), 15443) for zone in (1, 2)])
        for _, document in mesh:
            if said:
                last = (2, 3) if moved else (1, 2)
                answer = [_behind(cluster, zone) for zone in last]
                document.setdefault("resolved", {})[_host(cluster)] = answer


def _only_known(mesh: Draft) -> None:
    host_names(mesh, said=False)


def _moved(mesh: Draft) -> None:
    host_names(mesh, moved=True)


def _moved_away(mesh: Draft) -> None:
    host_names(mesh)
    for _, document in mesh:
        document["resolved"] = {host: ["203.0.113.77"] for host in document["resolved"]}


def _unread(mesh: Draft) -> None:
    host_names(mesh, said=False)
    for istiod in mesh.istiods():
        del istiod["debug"]["networkz"]


def proxies_led_elsewhere(mesh: Draft) -> None:
    for zone in (1, 2):
        lead_proxies_to(mesh, _behind(first(mesh), zone), [(ELSEWHERE, 15443)])


def one_address_more(mesh: Draft) -> None:
    old = _behind(first(mesh))
    lead_proxies_to(mesh, old, [(old, 15443), (ELSEWHERE, 15443)])


def wrong_port(mesh: Draft) -> None:
    for zone in (1, 2):
        lead_proxies_to(mesh, _behind(first(mesh), zone), [(_behind(first(mesh), zone), 443)])


def names_not_resolved_by_istiod(mesh: Draft) -> None:
    for zone in (1, 2):
        lead_to(mesh, _behind(first(mesh), zone), [])


HOST_FAULTS = (
    Fault(proxies_led_elsewhere, "MC-DISCOVERY-002", "eds-missing"),
    Fault(one_address_more, "MC-DISCOVERY-002", "eds-surplus"),
    Fault(wrong_port, "MC-DISCOVERY-002", "eds-missing"),
    Fault(names_not_resolved_by_istiod, "MC-EASTWEST-001", "ew-hostname"),
)

NODE_PORT = 31443


def node_ports(mesh: Draft) -> None:
    for cluster, service in gateways(mesh):
        _to_node_port(service)
        service["metadata"]["annotations"] = {"traffic.istio.io/nodeSelector": '{"edge": "yes"}'}
        nodes = mesh.listed(cluster, "Node")
        labels = nodes[0]["metadata"]["labels"]
        inner = {"metadata": {"name": "inner", "labels": dict(labels)}}
        labels["edge"] = "yes"
        for place, node in enumerate([*nodes, inner], 1):
            address = {"type": "ExternalIP", "address": _behind(cluster, place)}
            node["status"] = {"addresses": [address]}
        nodes.append(inner)
        lead_to(mesh, address_of(service), [(_behind(cluster), NODE_PORT)])
        service["status"] = {"loadBalancer": {}}


def _to_node_port(service: Json) -> None:
    service["spec"]["type"] = "NodePort"
    for port in service["spec"]["ports"]:
        if port["port"] == 15443:
            port["nodePort"] = NODE_PORT


def external_ips(mesh: Draft) -> None:
    for cluster, service in gateways(mesh):
        _to_node_port(service)
        service["spec"]["externalIPs"] = [_behind(cluster)]
        lead_to(mesh, address_of(service), [(_behind(cluster), 15443)])
        service["status"] = {"loadBalancer": {}}


def led_to_the_service_port(mesh: Draft) -> None:
    lead_to(mesh, _behind(first(mesh)), [(_behind(first(mesh)), 15443)])


def proxies_led_to_the_service_port(mesh: Draft) -> None:
    lead_proxies_to(mesh, _behind(first(mesh)), [(_behind(first(mesh)), 15443)])


def led_to_the_node_port(mesh: Draft) -> None:
    lead_to(mesh, _behind(first(mesh)), [(_behind(first(mesh)), NODE_PORT)])


def led_to_another_node(mesh: Draft) -> None:
    lead_to(mesh, _behind(first(mesh)), [(_behind(first(mesh), 2), NODE_PORT)])


def nodes_without_outer_addresses(mesh: Draft) -> None:
    for node in mesh.listed(first(mesh), "Node"):
        node["status"] = {"addresses": []}


def nobody_selected(mesh: Draft) -> None:
    service = mesh.find(first(mesh), "Service", GATEWAY)
    service["metadata"]["annotations"]["traffic.istio.io/nodeSelector"] = '{"edge": "true"}'


def _nodes_without_status(mesh: Draft) -> None:
    node_ports(mesh)
    for cluster, _ in mesh:
        for node in mesh.listed(cluster, "Node"):
            del node["status"]


def _v6(cluster: str) -> str:
    return f"2001:db8::{cluster[-1]}"


def two_ip_versions(mesh: Draft, *, given: bool = False) -> None:
    """The proxies have IPv4 only, and newer istiods keep IPv6 addresses from them."""
    for cluster, service in gateways(mesh):
        old = address_of(service)
        service["status"]["loadBalancer"]["ingress"].append({"ip": _v6(cluster)})
        lead_to(mesh, old, [(old, 15443), (_v6(cluster), 15443)])
        if not given:
            lead_proxies_to(mesh, _v6(cluster), [])


def _both_given(mesh: Draft) -> None:
    two_ip_versions(mesh, given=True)


def only_the_other_version(mesh: Draft) -> None:
    service = mesh.find(first(mesh), "Service", GATEWAY)
    lead_to(mesh, address_of(service), [])
    service["status"]["loadBalancer"]["ingress"] = [{"ip": _v6(first(mesh))}]


def two_gateways(mesh: Draft) -> None:
    for cluster, service in list(gateways(mesh)):
        other = second_gateway(mesh, cluster, "crossing", _behind(cluster))
        other["metadata"]["labels"][NETWORK] = service["metadata"]["labels"][NETWORK]
        selector = {"istio": "crossing"}
        for item in mesh.listed(cluster, "Gateway.networking.istio.io"):
            copied = {**item, "metadata": {"name": "crossing", "namespace": SYSTEM}}
            copied["spec"] = {**item["spec"], "selector": selector}
            if item["metadata"]["name"] == "cross-network-gateway":
                mesh.listed(cluster, "Gateway.networking.istio.io").append(copied)
                break
        old = address_of(service)
        lead_to(mesh, old, [(old, 15443), (_behind(cluster), 15443)])


def second_without_pods(mesh: Draft) -> None:
    for item in mesh.listed(first(mesh), "EndpointSlice"):
        if item["metadata"]["labels"].get("kubernetes.io/service-name") == "crossing":
            item["endpoints"] = []


def second_not_given_to_proxies(mesh: Draft) -> None:
    lead_proxies_to(mesh, _behind(first(mesh)), [])


def second_not_opened(mesh: Draft) -> None:
    items = mesh.listed(first(mesh), "Gateway.networking.istio.io")
    items[:] = [item for item in items if item["metadata"]["name"] != "crossing"]


def one_without_address(mesh: Draft) -> None:
    """A Service of the same pods for their metrics, with all the labels of the first."""
    for cluster, service in list(gateways(mesh)):
        inner = {**service, "metadata": {**service["metadata"], "name": "metrics"}}
        inner["spec"] = {**service["spec"], "type": "ClusterIP"}
        inner["status"] = {"loadBalancer": {}}
        mesh.listed(cluster, "Service").append(inner)
        for piece in mesh.listed(cluster, "EndpointSlice"):
            labels = piece["metadata"]["labels"]
            if labels.get("kubernetes.io/service-name") == GATEWAY:
                metadata = {**piece["metadata"], "name": "metrics-abc"}
                metadata["labels"] = {**labels, "kubernetes.io/service-name": "metrics"}
                mesh.listed(cluster, "EndpointSlice").append({**piece, "metadata": metadata})
                break


def unlabelled_beside(mesh: Draft) -> None:
    """An address of its own for the same pods, for clients that are led there by hand."""
    one_without_address(mesh)
    for cluster, _ in gateways(mesh):
        other = mesh.find(cluster, "Service", "metrics")
        labels = {"app": "metrics"}
        other["metadata"] = {**other["metadata"], "labels": labels}
        other["spec"] = {**other["spec"], "type": "LoadBalancer"}
        ingress = [{"ip": _behind(cluster)}]
        other["status"] = {"loadBalancer": {"ingress": ingress}}


def label_lost(mesh: Draft) -> None:
    service = mesh.find(first(mesh), "Service", GATEWAY)
    del service["metadata"]["labels"][NETWORK]
    lead_to(mesh, address_of(service), [])


def none_with_address(mesh: Draft) -> None:
    service = mesh.find(first(mesh), "Service", GATEWAY)
    lead_to(mesh, address_of(service), [])
    service["status"] = {"loadBalancer": {}}


def own_namespace(mesh: Draft) -> None:
    """The gateway lives in a namespace of its own, as the chart ``gateway`` would have it."""
    for cluster, _ in list(gateways(mesh)):
        pods = {f"gateway-{cluster[-1]}"}
        for kind in ("Service", "Pod", "EndpointSlice"):
            for item in mesh.listed(cluster, kind):
                metadata = item["metadata"]
                if metadata["name"] in pods or metadata["name"].startswith(GATEWAY):
                    metadata["namespace"] = OWN
        for proxy in mesh.clusters[cluster]["proxies"]:
            if proxy["pod"] in pods:
                name = f"spiffe://cluster.local/ns/{OWN}/sa/{proxy['service_account']}"
                leaf = make_leaf(fake().intermediates[cluster], spiffe_id=name)
                proxy |= {"namespace": OWN, "certificate_chain": leaf.chain}
        for istiod in mesh.istiods():
            for row in istiod["debug"]["syncz"]:
                if row["proxy"].rpartition(".")[0] in pods:
                    row["proxy"] = row["proxy"].replace(SYSTEM, OWN)


def its_envoy_passes_nothing(mesh: Draft) -> None:
    for cluster, proxy in mesh.proxies("east-west"):
        if cluster == first(mesh):
            proxy["chains"] = {}


def without_pods(mesh: Draft) -> None:
    for item in mesh.listed(first(mesh), "EndpointSlice"):
        if item["metadata"]["labels"].get("kubernetes.io/service-name") == GATEWAY:
            item["endpoints"] = []


def another_member(mesh: Draft) -> None:
    """A cluster of the mesh that is not looked at shares a network, and has a gateway there."""
    for istiod in mesh.istiods():
        rows = istiod["debug"]["networkz"]
        rows.append(rows[0] | {"Cluster": "north", "Addr": "198.51.100.99"})


def an_address_of_nobody(mesh: Draft) -> None:
    for istiod in mesh.istiods():
        rows = istiod["debug"]["networkz"]
        rows.append(rows[0] | {"Addr": ELSEWHERE})


def locality_lost(mesh: Draft) -> None:
    def nowhere(one: Json) -> Json:
        behind = one["address"].startswith("198.51.100.")
        return one | {"region": "region9"} if behind else one

    change_endpoints(mesh, lambda held: [nowhere(one) for one in held])


_LB = "Istio network.go: what is a host name is resolved by istiod, all A and AAAA records of it"
_NODES = "Istio network.go: the ExternalIP of the selected nodes, and the node port"

CASES = [
    *(
        Case("host-names", host_names, f"every EKS mesh; {_LB}", HOST_FAULTS, mesh=mesh)
        for mesh in (HEALTHY, PRIMARY_REMOTE, HA, EXTERNAL)
    ),
    Case(
        "host-names",
        partial(host_names),
        "localities of gateways come from the instances behind them",
        (Fault(locality_lost, "MC-DISCOVERY-002", "loc-wrong"),),
    ),
    Case("host-names-only-istiod-knows", _only_known, f"no probe asked; {_LB}", HOST_FAULTS),
    Case(
        "host-names-that-move", _moved, f"one record changed between two reads; {_LB}", HOST_FAULTS
    ),
    Case(
        "host-names-that-moved-away",
        _moved_away,
        f"name servers answer with others of many records, or from another view; {_LB}",
        HOST_FAULTS,
        {"MC-EASTWEST-001": "whether istiod or its name servers are right is for connections"},
    ),
    Case(
        "host-names-nobody-knows",
        _unread,
        "neither istiod nor a name server could be asked",
        (Fault(wrong_port, "MC-DISCOVERY-002", "eds-missing"),),
        {
            "MC-EASTWEST-001": "networkz could not be read",
            "MC-DISCOVERY-002": "what the names stand for is not known",
        },
    ),
    *(
        Case(
            "node-ports",
            node_ports,
            _NODES,
            (
                Fault(led_to_the_service_port, "MC-EASTWEST-001", "ew-unknown-to-istiod"),
                Fault(proxies_led_to_the_service_port, "MC-DISCOVERY-002", "eds-missing"),
                Fault(led_to_another_node, "MC-EASTWEST-001", "ew-unknown-to-istiod"),
                Fault(nodes_without_outer_addresses, "MC-EASTWEST-001", "ew-nodeport"),
                Fault(nobody_selected, "MC-EASTWEST-001", "ew-nodeport"),
            ),
            mesh=mesh,
        )
        for mesh in (HEALTHY, HA)
    ),
    Case(
        "node-ports-of-unread-nodes",
        _nodes_without_status,
        "snapshots without the addresses of nodes",
        (Fault(without_pods, "MC-EASTWEST-001", "res-ew-down"),),
        {
            "MC-EASTWEST-001": "the addresses are the nodes', which are not known",
            "MC-DISCOVERY-002": "the same",
            "MC-LOCALITY-001": "the same",
        },
    ),
    Case(
        "external-ips-of-a-node-port-service",
        external_ips,
        "Istio conversion.go: without the annotation the port stays the Service's",
        (Fault(led_to_the_node_port, "MC-EASTWEST-001", "ew-unknown-to-istiod"),),
    ),
    Case(
        "two-ip-versions",
        two_ip_versions,
        "Istio ep_filters.go, filterGatewaysByIPFamily",
        (Fault(only_the_other_version, "MC-DISCOVERY-002", "eds-missing"),),
    ),
    Case("two-ip-versions", _both_given, "Istio before that filter"),
    *(
        Case(
            "two-gateways",
            two_gateways,
            "Istio network.go: all labelled Services, in whatever namespace; issues 29234, 53690",
            (
                Fault(second_without_pods, "MC-EASTWEST-001", "res-ew-down"),
                Fault(second_not_given_to_proxies, "MC-DISCOVERY-002", "eds-missing"),
                Fault(second_not_opened, "MC-EASTWEST-002", "ew-passthrough-missing"),
            ),
            mesh=mesh,
        )
        for mesh in (HEALTHY, PRIMARY_REMOTE, HA)
    ),
    Case(
        "one-without-address",
        one_without_address,
        "Istio network.go: a Service without addresses is no gateway",
        (Fault(none_with_address, "MC-EASTWEST-001", "ew-no-address"),),
    ),
    Case(
        "unlabelled-beside",
        unlabelled_beside,
        "Istio network.go: only labelled Services are gateways; others may lead to the same pods",
        (Fault(label_lost, "MC-EASTWEST-002", "ew-svc-label-missing"),),
    ),
    Case(
        "own-namespace",
        own_namespace,
        "the Helm chart gateway; Istio Gateways select pods in all namespaces",
        (
            Fault(without_pods, "MC-EASTWEST-001", "res-ew-down"),
            Fault(its_envoy_passes_nothing, "MC-EASTWEST-002", "ew-listener-missing"),
        ),
        mesh=FAKE,
    ),
    Case(
        "another-member",
        another_member,
        "a part of a mesh may be certified",
        (Fault(an_address_of_nobody, "MC-EASTWEST-001", "ew-unknown-to-istiod"),),
    ),
]
