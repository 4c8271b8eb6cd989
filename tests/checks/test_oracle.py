"""The oracle says what proxies must hold in each shape of mesh."""

from __future__ import annotations

from dataclasses import replace

from pytest_istio_mc.checks.oracle import Expected, Gateway, Instance, expected_endpoints
from pytest_istio_mc.spec import ClusterSpec, MeshSpec

EAST = ClusterSpec("east", "n1")
WEST = ClusterSpec("west", "n2")
NORTH = ClusterSpec("north", "n2")
SPEC = MeshSpec("any", (EAST, WEST, NORTH))

INSTANCES = {
    name: (Instance(name, f"pod-{name}", address, 8080, locality),)
    for name, address, locality in (("east", "10.1.0.5", "r1/z1"), ("west", "10.2.0.5", "r2/z1"), ("north", "10.3.0.5", "r2/z2"))
}
WEST_GATEWAY = Gateway("west", "n2", "203.0.113.2", 15443, "istio-system/gw")
NORTH_GATEWAY = Gateway("north", "n2", "203.0.113.3", 15443, "istio-system/gw")
EAST_GATEWAY = Gateway("east", "n1", "203.0.113.1", 15443, "istio-system/gw")
GATEWAYS = (EAST_GATEWAY, WEST_GATEWAY, NORTH_GATEWAY)


def test_other_networks_are_behind_the_gateways_of_their_clusters() -> None:
    assert expected_endpoints(SPEC, EAST, INSTANCES, GATEWAYS) == (
        Expected("10.1.0.5", 8080, "r1/z1", ("east",), gateway=False),
        Expected("203.0.113.2", 15443, "r2/z1", ("west",), gateway=True),
        Expected("203.0.113.3", 15443, "r2/z2", ("north",), gateway=True),
    )


def test_clusters_of_one_network_are_reached_directly() -> None:
    assert [one.address for one in expected_endpoints(SPEC, WEST, INSTANCES, GATEWAYS)] == ["10.2.0.5", "10.3.0.5", "203.0.113.1"]


def test_a_cluster_without_a_gateway_is_behind_that_of_its_network() -> None:
    found = expected_endpoints(SPEC, EAST, INSTANCES, (WEST_GATEWAY,))

    assert [(one.address, one.locality, one.targets) for one in found if one.gateway] == [
        ("203.0.113.2", "r2/z1", ("west",)),
        ("203.0.113.2", "r2/z2", ("north",)),
    ]


def test_federated_meshes_share_nothing() -> None:
    found = expected_endpoints(replace(SPEC, federated=True), EAST, INSTANCES, GATEWAYS)

    assert [one.address for one in found] == ["10.1.0.5"]
