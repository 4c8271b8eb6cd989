"""The documents for control planes that serve clusters elsewhere."""

from __future__ import annotations

from pathlib import Path

from pytest_istio_mc.topologies import known, operators
from pytest_istio_mc.topologies.istio import IstioDistribution

ISTIO = IstioDistribution(Path("istioctl"), "hub", "tag", Path("cache"))
EXTERNAL = known()["external-control-plane"].default_spec()
PRIMARY_REMOTE = known()["multi-network-primary-remote"].default_spec()


def test_a_remote_asks_its_control_plane_for_sidecars_of_its_own_name_and_network() -> None:
    cluster = PRIMARY_REMOTE.cluster("cluster2")

    spec = operators.remote(PRIMARY_REMOTE, cluster, ISTIO, "203.0.113.1")["spec"]

    assert spec["profile"] == "remote"
    path = spec["values"]["istiodRemote"]["injectionPath"]
    assert path == "/inject/cluster/cluster2/net/network2"
    assert spec["values"]["global"]["remotePilotAddress"] == "203.0.113.1"
    assert "configCluster" not in spec["values"]["global"]


def test_a_config_cluster_gets_the_mesh_configuration_too() -> None:
    spec = operators.remote(EXTERNAL, EXTERNAL.cluster("cluster2"), ISTIO, "203.0.113.1")["spec"]

    assert spec["values"]["global"]["configCluster"] is True
    assert spec["values"]["pilot"]["configMap"] is True


def test_an_external_istiod_carries_the_name_of_its_config_cluster() -> None:
    (plane,) = EXTERNAL.control_planes
    spec = operators.external_istiod(EXTERNAL, plane, ISTIO)["spec"]

    assert plane.name == "cluster1"
    assert spec["values"]["global"]["multiCluster"]["clusterName"] == "cluster2"
    assert spec["values"]["global"]["network"] == "network2"
    assert spec["components"]["pilot"]["k8s"]["service"]["type"] == "LoadBalancer"


def test_istiod_is_exposed_on_both_ports_without_terminating_tls() -> None:
    gateway, routes = operators.expose_istiod(PRIMARY_REMOTE)

    opened = [(one["port"]["number"], one["tls"]["mode"]) for one in gateway["spec"]["servers"]]
    assert opened == [(15012, "PASSTHROUGH"), (15017, "PASSTHROUGH")]
    targets = [route["route"][0]["destination"] for route in routes["spec"]["tls"]]
    assert [target["port"]["number"] for target in targets] == [15012, 443]


def test_control_planes_elsewhere_are_reached_at_a_gateway_or_at_istiod_itself() -> None:
    service_of = operators.service_of_control_plane
    assert service_of(PRIMARY_REMOTE.cluster("cluster1")) == "istio-eastwestgateway"
    assert service_of(EXTERNAL.cluster("cluster1")) == "istiod"
