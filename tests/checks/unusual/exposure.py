"""Gateways opened in unusual ways: the Gateway API, other ports, another cluster domain."""

from __future__ import annotations

import json
from functools import partial

from tests.checks.unusual.case import HA, HEALTHY, PRIMARY_REMOTE, Case, Draft, Fault, Json
from tests.checks.unusual.moves import GATEWAY, SYSTEM, address_of, gateways, lead_to

NETWORK = "topology.istio.io/network"
PORT = "networking.istio.io/gatewayPort"
NAME = "gateway.networking.k8s.io/gateway-name"
API = "Gateway.gateway.networking.k8s.io"
GATEWAYS = "Gateway.networking.istio.io"
DOMAIN = "corp.internal"


def gateway_api(mesh: Draft, *, option: bool, port: int = 15443) -> None:
    """The east-west gateway that istiod makes of a Gateway of the Gateway API."""
    for cluster, service in gateways(mesh):
        labels = {NETWORK: service["metadata"]["labels"][NETWORK]}
        if port != 15443:
            labels[PORT] = str(port)
        options = {"gateway.istio.io/listener-protocol": "auto-passthrough"}
        tls = {"mode": "Passthrough", **({"options": options} if option else {})}
        listener = {"name": "cross-network", "hostname": "*.local", "port": port}
        listener |= {"protocol": "TLS", "tls": tls}
        item = {
            "metadata": {"name": "eastwest", "namespace": SYSTEM, "labels": labels},
            "spec": {"gatewayClassName": "istio", "listeners": [listener]},
        }
        mesh.listed(cluster, API).append(item)
        selected = {NAME: "eastwest"}
        service["metadata"]["labels"] = labels | selected
        service["spec"]["selector"] = dict(selected)
        pods = [
            one
            for one in mesh.listed(cluster, "Pod")
            if one["metadata"]["name"].startswith(GATEWAY)
        ]
        for pod in pods:
            kept = {k: v for k, v in pod["metadata"]["labels"].items() if k not in ("istio", "app")}
            pod["metadata"]["labels"] = kept | selected
        _listen(mesh, cluster, service, port, port)
        lead_to(mesh, address_of(service), [(address_of(service), port)])
    for cluster in mesh.clusters:
        items = mesh.listed(cluster, GATEWAYS)
        items[:] = [one for one in items if one["metadata"]["name"] != "cross-network-gateway"]


def _listen(mesh: Draft, cluster: str, service: Json, port: int, target: int | str) -> None:
    """Let a gateway's Service have another port, and its pods listen on ``target``."""
    for one in service["spec"]["ports"]:
        if one["port"] == 15443:
            one |= {"port": port, "targetPort": target}
    for piece in mesh.listed(cluster, "EndpointSlice"):
        for one in piece["ports"] if isinstance(target, int) else ():
            if one["port"] == 15443:
                one["port"] = target
    for where, proxy in mesh.proxies("east-west"):
        if where == cluster and isinstance(target, int):
            proxy["chains"] = {
                str(target) if number == "15443" else number: chains
                for number, chains in proxy["chains"].items()
            }


def no_listener(mesh: Draft) -> None:
    for item in mesh.listed("cluster1", API):
        item["spec"]["listeners"] = []


def listener_that_terminates(mesh: Draft) -> None:
    for item in mesh.listed("cluster1", API):
        del item["metadata"]["labels"][NETWORK]
        item["spec"]["listeners"][0]["tls"] = {"mode": "Terminate"}


def listener_for_every_host(mesh: Draft) -> None:
    for item in mesh.listed("cluster1", API):
        del item["spec"]["listeners"][0]["hostname"]


def listener_for_other_hosts(mesh: Draft) -> None:
    for item in mesh.listed("cluster1", API):
        item["spec"]["listeners"][0]["hostname"] = "*.example.com"


def envoy_without_listener(mesh: Draft) -> None:
    for cluster, proxy in mesh.proxies("east-west"):
        if cluster == "cluster1":
            proxy["chains"] = {}


def other_port(mesh: Draft, *, target: int | str = 15443, by_service_port: bool = False) -> None:
    """Peers come to port 443: the gateway's label says so.

    Its endpoints have the pods' port, whatever the Service calls it.
    """
    for cluster, service in gateways(mesh):
        service["metadata"]["labels"][PORT] = "443"
        _listen(mesh, cluster, service, 443, target)
        for item in mesh.listed(cluster, GATEWAYS):
            for server in item["spec"]["servers"]:
                if server["port"]["number"] == 15443:
                    number = target if isinstance(target, int) else 15443
                    server["port"]["number"] = 443 if by_service_port else number
        lead_to(mesh, address_of(service), [(address_of(service), 443)])


def led_to_15443(mesh: Draft) -> None:
    address = address_of(mesh.find("cluster1", "Service", GATEWAY))
    lead_to(mesh, address, [(address, 15443)])


def label_for_a_port_that_is_not_there(mesh: Draft) -> None:
    mesh.find("cluster1", "Service", GATEWAY)["metadata"]["labels"][PORT] = "8443"


def gateway_on_another_port(mesh: Draft) -> None:
    for item in mesh.listed("cluster1", GATEWAYS):
        for server in item["spec"]["servers"]:
            server["port"]["number"] = 16443


def another_domain(mesh: Draft, *, host: str, domain: str = DOMAIN) -> None:
    """All that istiods and proxies say of Services; trust domains stay what they are."""
    for cluster, document in mesh.clusters.items():
        text = json.dumps(document).replace(".svc.cluster.local", f".svc.{domain}")
        mesh.clusters[cluster] = json.loads(text)
        _pass(mesh, cluster, host)


def _pass(mesh: Draft, cluster: str, host: str) -> None:
    for item in mesh.listed(cluster, GATEWAYS):
        for server in item["spec"]["servers"]:
            if server["tls"]["mode"] == "AUTO_PASSTHROUGH":
                server["hosts"] = [host]


def hosts_of_the_usual_domain(mesh: Draft) -> None:
    _pass(mesh, "cluster1", "*.local")


def hosts_of_everybody(mesh: Draft) -> None:
    _pass(mesh, "cluster1", "*")


def hosts_outside(mesh: Draft) -> None:
    _pass(mesh, "cluster1", "*.example.com")


def external_service_covered(mesh: Draft) -> None:
    spec = {"hosts": ["printer.corp.internal"], "resolution": "DNS"}
    item = {"metadata": {"name": "printer", "namespace": "default"}, "spec": spec}
    mesh.listed("cluster1", "ServiceEntry.networking.istio.io").append(item)


def kept_local(mesh: Draft) -> None:
    """The probe service is cluster-local by its full name, so proxies have their own pods only."""
    _, probed = next(iter(mesh.proxies("client")))
    host = next(iter(probed["endpoints"])).rpartition("|")[2]
    for istiod in mesh.istiods():
        setting = {"hosts": [host], "settings": {"clusterLocal": True}}
        istiod["debug"]["mesh"]["serviceSettings"] = [setting]
    for cluster, proxy in mesh.proxies():
        for name, held in proxy.get("endpoints", {}).items():
            own = [one for one in held if one.get("cluster") == cluster]
            proxy["endpoints"][name] = own


_API = "Istio conversion.go, IsAutoPassthrough; testdata/eastwest*.yaml of its gateway controller"
_DOMAIN = "istiod's --domain, global.proxy.clusterDomain"
API_FAULTS = (
    Fault(no_listener, "MC-EASTWEST-002", "ew-passthrough-missing"),
    Fault(listener_that_terminates, "MC-EASTWEST-002", "ew-passthrough-mode"),
    Fault(listener_for_every_host, "MC-EASTWEST-009", "ew-exposes-external"),
    Fault(listener_for_other_hosts, "MC-EASTWEST-002", "ew-hosts"),
    Fault(envoy_without_listener, "MC-EASTWEST-002", "ew-listener-missing"),
)
DOMAIN_FAULTS = (
    Fault(hosts_of_the_usual_domain, "MC-EASTWEST-002", "ew-hosts"),
    Fault(hosts_of_everybody, "MC-EASTWEST-009", "ew-exposes-external"),
    Fault(hosts_outside, "MC-EASTWEST-009", "ew-exposes-external"),
    Fault(hosts_outside, "MC-EASTWEST-002", "ew-hosts"),
    Fault(kept_local, "MC-DISCOVERY-002", "cl-service"),
)

CASES = [
    Case("gateway-api", partial(gateway_api, option=True), _API, API_FAULTS),
    Case("gateway-api", partial(gateway_api, option=False), _API, API_FAULTS),
    Case("gateway-api-port", partial(gateway_api, option=False, port=35443), _API, API_FAULTS),
    *(
        Case(
            "gateway-port-label",
            partial(other_port, target=target, by_service_port=by_service_port),
            "Istio 1.30, label networking.istio.io/gatewayPort; gateway.go, resolvePorts",
            (
                Fault(led_to_15443, "MC-EASTWEST-001", "ew-unknown-to-istiod"),
                Fault(
                    label_for_a_port_that_is_not_there, "MC-EASTWEST-002", "ew-gateway-port-label"
                ),
                Fault(gateway_on_another_port, "MC-EASTWEST-002", "ew-passthrough-missing"),
            ),
            mesh=mesh,
        )
        for target, by_service_port, mesh in (
            (15443, False, HEALTHY),
            (15443, True, PRIMARY_REMOTE),
            (443, False, HEALTHY),
            ("tls", False, HA),
        )
    ),
    *(
        Case(
            "cluster-domain", partial(another_domain, host=host), _DOMAIN, DOMAIN_FAULTS, mesh=mesh
        )
        for host, mesh in (
            (f"*.{DOMAIN}", HEALTHY),
            (f"*.svc.{DOMAIN}", PRIMARY_REMOTE),
            (f"*.svc.{DOMAIN}", HA),
        )
    ),
    Case(
        "cluster-domain",
        partial(another_domain, host="*.internal"),
        f"what *.local is for cluster.local; {_DOMAIN}",
        (
            *DOMAIN_FAULTS,
            Fault(external_service_covered, "MC-EASTWEST-009", "ew-exposes-external"),
        ),
    ),
    Case(
        "cluster-domain",
        partial(another_domain, host="*.k8s.example.com", domain="k8s.example.com"),
        f"a domain below a public one; {_DOMAIN}",
        (Fault(hosts_outside, "MC-EASTWEST-009", "ew-exposes-external"),),
    ),
]
