"""Gateways are found where istiod finds them, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pytest_istio_mc.errors import ObservationError
from pytest_istio_mc.network_gateways import (
    GatewayObjects,
    external_addresses,
    is_for_ambient_only,
    mesh_networks,
    network_gateways,
    outer_port,
    passes_through,
)
from pytest_istio_mc.spec import ClusterSpec, MeshSpec

SPEC = MeshSpec("any", (ClusterSpec("east", "n1"), ClusterSpec("west", "n2")))
NETWORK, PORT = "topology.istio.io/network", "networking.istio.io/gatewayPort"
SELECTOR = "traffic.istio.io/nodeSelector"
OPTION = {"options": {"gateway.istio.io/listener-protocol": "auto-passthrough"}}

Json = dict[str, Any]


def service(
    *ports: int,
    kind: str = "LoadBalancer",
    address: str = "",
    annotation: str | None = None,
    **labels: str,
) -> Json:
    metadata: Json = {"name": "gw", "namespace": "system", "labels": labels}
    if annotation is not None:
        metadata["annotations"] = {SELECTOR: annotation}
    listed = [{"port": port, "nodePort": 30000 + port % 1000} for port in ports]
    ingress = [{"ip": address}] if address else []
    spec = {"type": kind, "ports": listed}
    return {"metadata": metadata, "spec": spec, "status": {"loadBalancer": {"ingress": ingress}}}


def node(name: str, address: str = "", **labels: str) -> Json:
    internal = {"type": "InternalIP", "address": "10.0.0.1"}
    outside = [{"type": "ExternalIP", "address": address}] if address else []
    metadata = {"name": name, "labels": labels}
    return {"metadata": metadata, "status": {"addresses": [internal, *outside]}}


def resource(*listeners: Json, address: str, kind: str = "istio", **labels: str) -> Json:
    addresses = [{"type": "IPAddress", "value": address}]
    spec = {"gatewayClassName": kind, "addresses": addresses, "listeners": list(listeners)}
    return {"metadata": {"name": "gw", "namespace": "system", "labels": labels}, "spec": spec}


def found(
    *services: Json, networks: str = "", resources: tuple[Json, ...] = (), config: str = "east"
) -> list[tuple[str, str, int]]:
    """Cluster, address and port of the gateways, where all these objects are in west."""
    objects = {"east": GatewayObjects(()), "west": GatewayObjects(services, (), resources)}
    gateways = network_gateways(SPEC, objects, mesh_networks(networks, "west"), config)
    return [(one.cluster, one.address, one.port) for one in gateways]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (service(15443, address="192.0.2.1", **{NETWORK: "n2"}), [("west", "192.0.2.1", 15443)]),
        (
            service(443, address="192.0.2.1", **{NETWORK: "n2", PORT: "443"}),
            [("west", "192.0.2.1", 443)],
        ),
        (service(443, address="192.0.2.1", **{NETWORK: "n2"}), []),
        (service(15008, address="192.0.2.1", **{NETWORK: "n2"}), []),
        (service(15443, address="192.0.2.1"), []),
        (service(15443, **{NETWORK: "n2"}), []),
        (service(15443, kind="ClusterIP", address="192.0.2.1", **{NETWORK: "n2"}), []),
    ],
)
def test_a_labelled_service_is_a_gateway_where_it_has_the_port_and_an_address(
    item: Json, expected: list[tuple[str, str, int]]
) -> None:
    assert found(item) == expected


def test_only_a_gateway_without_the_sidecars_port_is_for_ambient_alone() -> None:
    label = {NETWORK: "n2"}

    assert is_for_ambient_only(service(15008, **label))
    assert not is_for_ambient_only(service(15443, 15008, **label))
    assert not is_for_ambient_only(service(15008))


def test_nodes_lead_to_an_annotated_node_port_service() -> None:
    nodes = [node("a", "192.0.2.1", edge="yes"), node("b", "192.0.2.2"), node("c", edge="yes")]
    selecting = service(15443, kind="NodePort", annotation='{"edge": "yes"}', **{NETWORK: "n2"})
    taking_all = service(15443, kind="NodePort", annotation="", **{NETWORK: "n2"})
    without = service(15443, kind="NodePort", **{NETWORK: "n2"})

    assert external_addresses(selecting, nodes) == ("192.0.2.1",)
    assert external_addresses(taking_all, nodes) == ("192.0.2.1", "192.0.2.2")
    assert external_addresses(without, nodes) == ()
    assert outer_port(selecting, 15443) == 30443
    assert outer_port(without, 15443) == 15443


def test_nodes_that_nobody_knows_are_not_taken_for_none() -> None:
    item = service(15443, kind="NodePort", annotation="{}", **{NETWORK: "n2"})

    with pytest.raises(ObservationError, match="addresses are not known"):
        external_addresses(item, None)


def test_external_ips_go_before_nodes_and_keep_the_node_port() -> None:
    item = service(15443, kind="NodePort", annotation="{}", **{NETWORK: "n2"})
    item["spec"]["externalIPs"] = ["192.0.2.9"]

    assert found(item) == [("west", "192.0.2.9", 30443)]


@pytest.mark.parametrize(
    ("listener", "labels", "expected"),
    [
        ({"port": 35443, "tls": OPTION}, {}, True),
        ({"port": 15443, "tls": {}}, {NETWORK: "n2"}, True),
        ({"port": 15443, "tls": {}}, {}, False),
        ({"port": 15443, "tls": {}}, {NETWORK: "n2", PORT: "35443"}, False),
        ({"port": 35443, "tls": {}}, {NETWORK: "n2", PORT: "35443"}, True),
        ({"port": 15443}, {NETWORK: "n2"}, False),
    ],
)
def test_a_listener_passes_through_by_its_option_or_its_port(
    listener: Json, labels: dict[str, str], expected: bool
) -> None:
    assert passes_through(labels, listener) is expected


def test_a_gateway_elsewhere_is_found_in_the_config_cluster_only() -> None:
    tls = {"port": 15443, "tls": OPTION}
    own = resource(tls, address="192.0.2.1", **{NETWORK: "n2"})
    remote = resource(tls, address="192.0.2.2", kind="istio-remote", **{NETWORK: "n2"})

    assert found(resources=(own, remote)) == [("west", "192.0.2.1", 15443)]
    assert len(found(resources=(own, remote), config="west")) == 2


def networks_of(**entry: Any) -> str:
    return yaml.safe_dump({"networks": {"n2": entry}})


def test_a_gateway_whose_address_is_yet_to_be_given_has_none() -> None:
    item = resource({"port": 15443, "tls": OPTION}, address="192.0.2.1", **{NETWORK: "n2"})
    item["spec"]["addresses"].append({"type": "IPAddress"})

    assert found(resources=(item,)) == [("west", "192.0.2.1", 15443)]


def test_mesh_networks_name_gateways_by_address_and_by_service() -> None:
    plain = service(443, address="192.0.2.1")
    registry = [{"fromRegistry": "west"}]
    by_name = {"registryServiceName": "gw.system.svc.corp.internal", "port": 443}
    named = networks_of(endpoints=registry, gateways=[by_name])
    by_address = {"address": "lb.example.com", "port": 443}

    assert found(plain, networks=named) == [("west", "192.0.2.1", 443)]
    assert found(plain, networks=networks_of(gateways=[by_name])) == []
    assert found(networks=networks_of(gateways=[by_address])) == [("west", "lb.example.com", 443)]


def test_a_label_decides_before_mesh_networks() -> None:
    labelled = service(443, 15443, address="192.0.2.1", **{NETWORK: "n2"})
    by_name = {"registryServiceName": "gw.system.svc.cluster.local", "port": 443}
    text = networks_of(endpoints=[{"fromRegistry": "west"}], gateways=[by_name])

    assert found(labelled, networks=text) == [("west", "192.0.2.1", 15443)]


def test_an_address_that_is_a_services_own_names_that_service_and_leads_to_the_whole_network() -> (
    None
):
    objects = {
        "east": GatewayObjects(()),
        "west": GatewayObjects((service(15443, address="192.0.2.1"),)),
    }
    text = networks_of(gateways=[{"address": "192.0.2.1", "port": 15443}])

    [gateway] = network_gateways(SPEC, objects, mesh_networks(text, "west"), "east")

    assert (gateway.service, gateway.whole_network) == ("system/gw", True)


def test_both_spellings_are_read_and_addresses_tell_whose_pods_are_inside() -> None:
    entry = {"endpoints": [{"from_cidr": "10.1.0.0/16"}, {"from_registry": "west"}]}

    network = mesh_networks(networks_of(**entry), "west")["n2"]

    assert network.has("west", ())
    assert network.has("other", ["10.1.2.3", "10.1.9.9"])
    assert not network.has("other", ["10.1.2.3", "10.2.9.9"])
    assert not network.has("other", [])


YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["networks", "n1", "endpoints", "gateways", "address", "port", "fromCidr"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(YAML)
def test_whatever_mesh_networks_hold_is_read_or_said_to_be_unreadable(document: Any) -> None:
    try:
        networks = mesh_networks(yaml.safe_dump(document), "cluster east")
    except ObservationError:
        return
    assert set(networks) <= {str(key) for key in (document or {}).get("networks") or {}}


def test_the_error_says_whose_they_are() -> None:
    with pytest.raises(ObservationError, match="cluster east: meshNetworks cannot be read"):
        mesh_networks("networks: [one]", "cluster east")
