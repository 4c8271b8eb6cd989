"""The oracle says what proxies must hold in each shape of mesh."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pytest_istio_mc.checks.oracle import By, Expected, Instance, expected_endpoints, ways
from pytest_istio_mc.observations import GatewayAddress
from pytest_istio_mc.spec import ClusterSpec, MeshSpec
from tests.specs import meshes

EAST = ClusterSpec("east", "n1")
WEST = ClusterSpec("west", "n2")
NORTH = ClusterSpec("north", "n2")
SPEC = MeshSpec("any", (EAST, WEST, NORTH))

INSTANCES = {
    name: (Instance(name, f"pod-{name}", address, 8080, locality),)
    for name, address, locality in (
        ("east", "10.1.0.5", "r1/z1"),
        ("west", "10.2.0.5", "r2/z1"),
        ("north", "10.3.0.5", "r2/z2"),
    )
}
WEST_GATEWAY = GatewayAddress("west", "n2", "istio-system/gw", "203.0.113.2", 15443)
NORTH_GATEWAY = GatewayAddress("north", "n2", "istio-system/gw", "203.0.113.3", 15443)
EAST_GATEWAY = GatewayAddress("east", "n1", "istio-system/gw", "203.0.113.1", 15443)
GATEWAYS = (EAST_GATEWAY, WEST_GATEWAY, NORTH_GATEWAY)


def test_other_networks_are_behind_the_gateways_of_their_clusters() -> None:
    assert expected_endpoints(SPEC, EAST, INSTANCES, GATEWAYS) == (
        Expected("10.1.0.5", 8080, "r1/z1", ("east",), gateway=False),
        Expected("203.0.113.2", 15443, "r2/z1", ("west",), gateway=True),
        Expected("203.0.113.3", 15443, "r2/z2", ("north",), gateway=True),
    )


def test_clusters_of_one_network_are_reached_directly() -> None:
    assert [one.address for one in expected_endpoints(SPEC, WEST, INSTANCES, GATEWAYS)] == [
        "10.2.0.5",
        "10.3.0.5",
        "203.0.113.1",
    ]


def test_a_cluster_without_a_gateway_is_behind_that_of_its_network() -> None:
    found = expected_endpoints(SPEC, EAST, INSTANCES, (WEST_GATEWAY,))

    assert [(one.address, one.locality, one.targets) for one in found if one.gateway] == [
        ("203.0.113.2", "r2/z1", ("west",)),
        ("203.0.113.2", "r2/z2", ("north",)),
    ]


def test_federated_meshes_share_nothing() -> None:
    found = expected_endpoints(replace(SPEC, federated=True), EAST, INSTANCES, GATEWAYS)

    assert [one.address for one in found] == ["10.1.0.5"]


def _instances(spec: MeshSpec) -> dict[str, tuple[Instance, ...]]:
    """Two instances in every cluster with workloads; addresses tell the cluster."""
    return {
        cluster.name: tuple(
            Instance(cluster.name, f"pod{pod}", f"10.{number}.0.{pod}", 8080, str(cluster.locality))
            for pod in (1, 2)
        )
        for number, cluster in enumerate(spec.data_planes, 1)
    }


def _gateways(spec: MeshSpec, having: set[str]) -> tuple[GatewayAddress, ...]:
    return tuple(
        GatewayAddress(
            cluster.name, cluster.network, "istio-system/gw", f"203.0.113.{number}", 15443
        )
        for number, cluster in enumerate(spec.data_planes, 1)
        if cluster.name in having
    )


@given(meshes())
def test_whoever_has_workloads_is_reached_by_one_way_from_everywhere_unless_meshes_are_separate(
    spec: MeshSpec,
) -> None:
    for source in spec.data_planes:
        reached = [way.target for way in ways(spec, source)]

        assert reached == (
            [source.name] if spec.federated else [cluster.name for cluster in spec.data_planes]
        )


@given(meshes())
def test_the_way_is_through_a_gateway_exactly_where_networks_differ_and_the_same_both_ways(
    spec: MeshSpec,
) -> None:
    by = {
        (way.source, way.target): way.by
        for source in spec.data_planes
        for way in ways(spec, source)
    }

    for (source, target), way in by.items():
        assert (way is By.OWN) == (source == target)
        assert (way is By.GATEWAY) == (spec.cluster(source).network != spec.cluster(target).network)
        assert way is by.get((target, source), way)


@given(meshes())
def test_who_serves_a_cluster_changes_no_way(spec: MeshSpec) -> None:
    alone = replace(spec, clusters=tuple(replace(cluster, control_plane="") for cluster in spec))

    for source in spec.data_planes:
        assert ways(spec, source) == ways(alone, alone.cluster(source.name))


@given(meshes(), st.data())
def test_a_proxy_holds_every_instance_of_its_network_and_gateways_of_the_others_and_nothing_else(
    spec: MeshSpec, data: st.DataObject
) -> None:
    names = [cluster.name for cluster in spec.data_planes]
    having = data.draw(st.sets(st.sampled_from(names)))
    instances, gateways = _instances(spec), _gateways(spec, having)

    for source in spec.data_planes:
        found = expected_endpoints(spec, source, instances, gateways)
        by = {way.target: way.by for way in ways(spec, source)}
        pods = {one.address for one in found if not one.gateway}
        assert pods == {
            instance.address
            for target, way in by.items()
            if way is not By.GATEWAY
            for instance in instances[target]
        }
        networks = {gateway.address: gateway.network for gateway in gateways}
        for one in found:
            if one.gateway:
                assert networks[one.address] != source.network
                assert {spec.cluster(target).network for target in one.targets} == {
                    networks[one.address]
                }
        reached = {target for one in found for target in one.targets}
        open_networks = {gateway.network for gateway in gateways}
        assert reached == {
            target
            for target, way in by.items()
            if way is not By.GATEWAY or spec.cluster(target).network in open_networks
        }


@given(meshes())
def test_a_mesh_on_one_network_needs_no_gateway(spec: MeshSpec) -> None:
    flat = replace(spec, clusters=tuple(replace(cluster, network="network1") for cluster in spec))
    names = {cluster.name for cluster in flat.data_planes}

    for source in flat.data_planes:
        assert not any(
            one.gateway
            for one in expected_endpoints(flat, source, _instances(flat), _gateways(flat, names))
        )
