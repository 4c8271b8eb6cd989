"""Faults of endpoint discovery that static checks find, each as the one root cause."""

from __future__ import annotations

import json

import pytest

from tests.checks.seeding import (
    Case,
    Faults,
    endpoint_configs,
    lose_remote_endpoints,
    lose_remote_shards,
)
from tests.fake_clusters import HOST, PROBES, SYSTEM, FakeMesh

SHARE = "get configmap/istio -o json | istio-mc mesh-config '--not-cluster-local="

fault = Faults()


@fault(
    "MC-DISCOVERY-001",
    "sidecar-missing",
    "cluster2",
    remedy="label namespace/istio-mc-test istio-injection=enabled",
)
def pods_without_sidecar(mesh: FakeMesh) -> None:
    for n in (1, 2):
        for entry in mesh[n].istiod("endpointShardz").values():
            for found in entry.values():
                for endpoint in found["Shards"].get("Kubernetes/cluster2", ()):
                    endpoint["TLSMode"] = "disabled"
    lose_remote_endpoints(mesh)


@fault(
    "MC-DISCOVERY-001",
    "shards-missing",
    "cluster1",
    "cluster2",
    remedy="rollout restart deployment -l app=istiod",
)
def shards_wiped(mesh: FakeMesh) -> None:
    lose_remote_shards(mesh)


@fault(
    "MC-DISCOVERY-001",
    "shards-frozen",
    "cluster1",
    "cluster2",
    remedy="rollout restart deployment -l app=istiod",
)
def shards_frozen(mesh: FakeMesh) -> None:
    shards = mesh[1].istiod("endpointShardz")[HOST][PROBES]["Shards"]
    for endpoint in shards["Kubernetes/cluster2"]:
        endpoint["Addresses"] = ["10.2.0.77"]


@fault(
    "MC-DISCOVERY-002",
    "eds-missing",
    "cluster1",
    "cluster2",
    remedy="proxy-config endpoints client-1.istio-mc-test",
)
def proxy_without_remote_endpoints(mesh: FakeMesh) -> None:
    lose_remote_endpoints(mesh)


@fault(
    "MC-DISCOVERY-002",
    "cl-overbroad",
    "cluster1",
    remedy=SHARE,
)
def everything_cluster_local(mesh: FakeMesh) -> None:
    settings = {"serviceSettings": [{"settings": {"clusterLocal": True}, "hosts": ["*"]}]}
    mesh[1].istiod("mesh").update(settings)
    mesh[1].find("ConfigMap", "istio", SYSTEM)["data"]["mesh"] = json.dumps(settings)
    lose_remote_endpoints(mesh)


@fault(
    "MC-DISCOVERY-002",
    "cl-one-primary",
    "cluster1",
    remedy=SHARE,
)
def cluster_local_in_one_primary(mesh: FakeMesh) -> None:
    hosts = [f"*.{PROBES}.svc.cluster.local"]
    settings = [{"settings": {"clusterLocal": True}, "hosts": hosts}]
    mesh[1].istiod("mesh")["serviceSettings"] = settings
    lose_remote_endpoints(mesh)


@fault(
    "MC-DISCOVERY-002",
    "dr-tls-disable",
    "cluster1",
    remedy="-n istio-system patch destinationrules.networking.istio.io/plain",
)
def mutual_tls_turned_off(mesh: FakeMesh) -> None:
    spec = {"host": "*.local", "trafficPolicy": {"tls": {"mode": "DISABLE"}}}
    mesh[1].objects["DestinationRule.networking.istio.io"] = [
        {"metadata": {"name": "plain", "namespace": SYSTEM}, "spec": spec}
    ]
    lose_remote_endpoints(mesh)


@fault(
    "MC-DISCOVERY-002",
    "ew-network-view",
    "cluster1",
    remedy="ISTIO_META_REQUESTED_NETWORK_VIEW=network1",
)
def gateway_that_forwards_to_another_network(mesh: FakeMesh) -> None:
    for entry in endpoint_configs(mesh, "gateway-1"):
        address = {"address": mesh[2].gateway, "port_value": 15443}
        entry["endpoint_config"]["endpoints"].append(
            {"lb_endpoints": [{"endpoint": {"address": {"socket_address": address}}}]}
        )


@pytest.mark.parametrize("case", fault.cases)
def test_a_fault_is_the_one_root_cause(case: Case) -> None:
    case.assert_one_root_cause()
