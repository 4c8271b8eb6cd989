"""Distances, the order that follows from them, and groups for shares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_istio_mc.checks.locality.facts import (
    OTHER_REGION,
    SAME_REGION,
    SAME_SUBZONE,
    SAME_ZONE,
    distance,
    failover_order,
    groups,
    order,
)
from pytest_istio_mc.spec import ClusterSpec, Locality, MeshSpec, Role, common_locality
from tests.checks.locality.localities import (
    nearest_first,
    three_regions,
    three_tiers,
    two_regions,
    where,
)

HERE = Locality("region1", "zone1", "rack1")


@pytest.mark.parametrize(
    ("there", "far"),
    [
        (HERE, SAME_SUBZONE),
        (Locality("region1", "zone1", "rack2"), SAME_ZONE),
        (Locality("region1", "zone2", "rack1"), SAME_REGION),
        (Locality("region2", "zone1", "rack1"), OTHER_REGION),
        (Locality(), OTHER_REGION),
    ],
)
def test_distance_goes_by_the_first_part_that_differs(there: Locality, far: int) -> None:
    assert distance(HERE, there) == far


def test_localities_have_in_common_what_all_say_from_the_region_down() -> None:
    near, far = Locality("region1", "zone1", "rack2"), Locality("region2", "zone1", "rack1")

    assert common_locality([HERE, near]) == Locality("region1", "zone1")
    assert common_locality([HERE, far]) == Locality()
    assert common_locality([HERE]) == HERE


def test_zones_of_a_region_come_before_other_regions() -> None:
    of = three_tiers()

    def tiers(source: str) -> list[tuple[str, ...]]:
        return [tier.clusters for tier in nearest_first(of, source).tiers]

    assert tiers("east") == [("east",), ("middle",), ("west",)]
    assert tiers("west") == [("west",), ("east", "middle")]
    assert nearest_first(of, "middle").nearest(("middle",)) == ("east",)


def test_a_cluster_behind_the_gateway_of_another_distance_has_no_tier() -> None:
    clusters = (
        ClusterSpec("east", "network1", locality=Locality("region1", "zone1")),
        ClusterSpec("near", "network2", locality=Locality("region1", "zone2")),
        ClusterSpec("far", "network2", Role.REMOTE, "near", locality=Locality("region2", "zone3")),
    )
    spec = MeshSpec("test", clusters)

    found = order(spec, where(spec), "east")

    assert found.clusters == ("east",)
    assert "several distances" in found.unseen["near"]
    assert order(spec, where(spec), "near").unseen == {}


def test_a_map_puts_the_last_region_before_the_others() -> None:
    spec = three_regions().spec

    tiers, region = failover_order(spec, where(spec), "east")

    assert region == "region3"
    assert [tier.clusters for tier in tiers.tiers] == [("east",), ("west",), ("middle",)]


def test_with_one_other_region_there_is_nothing_to_map() -> None:
    spec = two_regions().spec

    assert failover_order(spec, where(spec), "east")[1] == ""


def test_shares_can_be_given_to_localities_that_patterns_tell_apart() -> None:
    spec = two_regions().spec

    assert groups(spec, where(spec), "west") == {
        "region2/zone2/*": ("west",),
        "region1/zone1/*": ("east",),
    }


def test_clusters_behind_one_gateway_share_their_share() -> None:
    at = [Locality("region1", "zone1"), Locality("region2", "zone2"), Locality("region2", "zone3")]
    clusters = (
        ClusterSpec("east", "network1", locality=at[0]),
        ClusterSpec("west", "network2", locality=at[1]),
        ClusterSpec("west2", "network2", Role.REMOTE, "west", locality=at[2]),
    )
    spec = MeshSpec("test", clusters)

    assert groups(spec, where(spec), "east") == {
        "region1/zone1/*": ("east",),
        "region2/*": ("west", "west2"),
    }
    assert len(groups(spec, where(spec), "west")) == 3


LOCALITIES = st.builds(
    Locality,
    st.sampled_from(["r1", "r2"]),
    st.sampled_from(["z1", "z2"]),
    st.sampled_from(["", "s1", "s2"]),
)


@given(st.lists(st.tuples(LOCALITIES, st.sampled_from(["n1", "n2"])), min_size=2, max_size=5))
def test_every_cluster_is_in_one_tier_or_unseen_and_in_one_group(
    given: list[tuple[Locality, str]],
) -> None:
    clusters = tuple(
        ClusterSpec(f"c{place}", network, locality=locality)
        for place, (locality, network) in enumerate(given)
    )
    spec = MeshSpec("test", clusters)
    names = [cluster.name for cluster in clusters]

    for source in names:
        found = order(spec, where(spec), source)
        mapped, _ = failover_order(spec, where(spec), source)
        shared = list(groups(spec, where(spec), source).values())

        assert sorted([*found.clusters, *found.unseen]) == names
        assert sorted([*mapped.clusters, *mapped.unseen]) == names
        assert sorted(name for group in shared for name in group) == names
        assert source in shared[0]
        assert source in found.tiers[0].clusters
