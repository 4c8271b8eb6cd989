"""Faults of control planes that static checks find, each as the one root cause."""

from __future__ import annotations

import pytest

from pytest_istio_mc.istio_names import NETWORK_LABEL
from tests.checks.seeding import (
    Case,
    Faults,
    forget,
    pods_instead_of_gateways,
    replace_remote_secret,
)
from tests.fake_clusters import SYSTEM, FakeMesh, Json, remote_secret

LISTENERS = "type.googleapis.com/envoy.config.listener.v3.Listener"

fault = Faults()


def inject(mesh: FakeMesh, wrong: str, right: str) -> None:
    """Let the injector of cluster2 give new pods something wrong."""
    item = mesh[2].find("ConfigMap", "istio-sidecar-injector", SYSTEM)
    item["data"]["values"] = item["data"]["values"].replace(right, wrong)


@fault("MC-CONTROL-001", "cp-mesh-id-mismatch", "cluster2")
def another_mesh_id(mesh: FakeMesh) -> None:
    inject(mesh, "mesh2", "mesh1")


@fault("MC-CONTROL-002", "cp-cluster-name-duplicate", "cluster1", "cluster2")
def one_name_for_two_clusters(mesh: FakeMesh) -> None:
    mesh[2].find("Pod", "istiod-2", SYSTEM)["spec"]["containers"][0]["env"][0]["value"] = "cluster1"
    inject(mesh, "cluster1", "cluster2")


@fault(
    "MC-CONTROL-002",
    "cp-cluster-id-vs-secret",
    "cluster1",
    "cluster2",
    remedy="label secret/istio-remote-secret-west istio/multiCluster-",
)
def remote_secret_under_another_name(mesh: FakeMesh) -> None:
    replace_remote_secret(mesh, remote_secret(mesh[2], key="west"))
    forget(mesh)


@fault(
    "MC-CONTROL-003",
    "cp-ns-network-missing",
    "cluster2",
    remedy="label namespace/istio-system topology.istio.io/network=network2",
)
def system_namespace_without_network(mesh: FakeMesh) -> None:
    del mesh[2].find("Namespace", SYSTEM)["metadata"]["labels"]


@fault(
    "MC-CONTROL-003",
    "cp-network-same-name",
    "cluster1",
    "cluster2",
    remedy="label namespace/istio-system topology.istio.io/network=network2",
)
def one_network_name_for_two(mesh: FakeMesh) -> None:
    mesh[2].find("Namespace", SYSTEM)["metadata"]["labels"][NETWORK_LABEL] = "network1"
    inject(mesh, "network1", "network2")
    for pod in ("client-2", "server-2", "gateway-2"):
        mesh[2].dump(pod)["configs"][0]["bootstrap"]["node"]["metadata"]["NETWORK"] = "network1"
    pods_instead_of_gateways(mesh)


@fault("MC-CONTROL-003", "cp-network-injector-differs", "cluster2")
def injector_of_another_network(mesh: FakeMesh) -> None:
    inject(mesh, "network9", "network2")


@fault("MC-CONTROL-005", "ew-lds-nack", "cluster2")
def gateway_that_rejects_its_listeners(mesh: FakeMesh) -> None:
    row = next(row for row in mesh[2].istiod("syncz") if row["proxy_type"] == "router")
    row["resources"][LISTENERS]["lastError"] = "filter chain '' has the same matching rules"


@fault("MC-CONTROL-005", "proxy-stale", "cluster1", remedy="delete pod/client-1")
def proxy_that_does_not_answer(mesh: FakeMesh) -> None:
    mesh[1].istiod("syncz")[0]["resources"][LISTENERS] |= {"sent": "b", "acked": "a"}


@fault("MC-CONTROL-005", "proxy-disconnected", "cluster1", remedy="delete pod/client-1")
def proxy_without_istiod(mesh: FakeMesh) -> None:
    del mesh[1].istiod("syncz")[0]


@fault(
    "MC-CONTROL-006",
    "up-primaries-skew",
    "cluster1",
    "cluster2",
    remedy="istioctl --context=ctx-1 upgrade",
)
def primaries_two_minors_apart(mesh: FakeMesh) -> None:
    mesh[1].answers[("istiod-1", 15014, "/version")] = "1.29.2-abc-Clean"
    for row in mesh[1].istiod("syncz"):
        row["istio_version"] = "1.29.2"


@fault("MC-CONTROL-006", "up-proxy-skew", "cluster2")
def proxies_newer_than_istiod(mesh: FakeMesh) -> None:
    for row in mesh[2].istiod("syncz"):
        row["istio_version"] = "1.32.0"


def orders(mesh: FakeMesh, *ports: Json, cluster_ip: str = "10.1.1.1") -> None:
    for n, port in enumerate(ports, 1):
        shop = {"metadata": {"name": "shop", "labels": {"istio-injection": "enabled"}}}
        mesh[n].objects["Namespace"].append(shop)
        address = cluster_ip if n == 2 else "10.1.1.1"
        service = {
            "metadata": {"name": "orders", "namespace": "shop"},
            "spec": {"clusterIP": address, "ports": [port]},
        }
        mesh[n].objects["Service"].append(service)
        injected = {"name": "shop", "labels": {"istio-injection": "enabled"}}
        mesh[n].objects["Namespace"].append({"metadata": injected})


@fault(
    "MC-CONTROL-008",
    "svc-port-number",
    "cluster1",
    "cluster2",
    remedy="kubectl --context=ctx-2 -n shop patch service/orders --type=json",
)
def one_service_with_two_ports(mesh: FakeMesh) -> None:
    orders(mesh, {"name": "http", "port": 8080}, {"name": "http", "port": 8081})


@fault("MC-CONTROL-008", "svc-protocol", "cluster1", "cluster2")
def one_service_with_two_protocols(mesh: FakeMesh) -> None:
    orders(mesh, {"name": "http-web", "port": 8080}, {"name": "tcp-web", "port": 8080})


@fault("MC-CONTROL-008", "svc-port-name", "cluster1", "cluster2")
def one_service_with_two_port_names(mesh: FakeMesh) -> None:
    orders(mesh, {"name": "http-web", "port": 8080}, {"name": "http-api", "port": 8080})


@fault("MC-CONTROL-008", "svc-headless-mixed", "cluster1", "cluster2")
def one_service_headless_in_one_cluster(mesh: FakeMesh) -> None:
    orders(mesh, {"name": "http", "port": 8080}, {"name": "http", "port": 8080}, cluster_ip="None")


@pytest.mark.parametrize("case", fault.cases)
def test_a_fault_is_the_one_root_cause(case: Case) -> None:
    case.assert_one_root_cause()
