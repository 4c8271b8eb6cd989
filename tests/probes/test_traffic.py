"""How many requests it takes to see every cluster."""

from __future__ import annotations

import pytest
from hypothesis import given

from pytest_istio_mc.spec import ClusterSpec, MeshSpec
from pytest_istio_mc.statistics import least_share, sample_size
from tests.specs import meshes


@pytest.mark.parametrize(
    ("networks", "share"),
    [("ab", 2), ("aa", 2), ("abc", 3), ("aaa", 3), ("aabb", 6), ("abb", 4)],
    ids=["two-networks", "flat", "three-networks", "three-flat", "two-regions", "one-and-two"],
)
def test_a_gateway_gets_one_share_for_all_the_clusters_behind_it(networks: str, share: int) -> None:
    clusters = tuple(
        ClusterSpec(f"cluster{number}", f"network-{name}") for number, name in enumerate(networks)
    )

    assert least_share(MeshSpec("any", clusters)) == share


@given(meshes())
def test_no_cluster_has_a_smaller_share_than_that(spec: MeshSpec) -> None:
    networks = [cluster.network for cluster in spec.data_planes]
    others = len(set(networks)) - 1
    for source in spec.data_planes:
        ways = networks.count(source.network) + others
        shares = [
            ways * (1 if cluster.network == source.network else networks.count(cluster.network))
            for cluster in spec.data_planes
        ]
        assert max(shares) <= least_share(spec)


def test_a_sample_misses_none_of_its_instances_but_for_the_stated_probability() -> None:
    assert sample_size(1) == 1
    for instances in (2, 3, 6):
        for miss in (1e-2, 1e-6):
            number = sample_size(instances, miss)
            missed = instances * (1 - 1 / instances) ** number
            assert missed <= miss < instances * (1 - 1 / instances) ** (number - 1)
