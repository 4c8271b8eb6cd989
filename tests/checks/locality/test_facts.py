"""How far servers are from clients, in which order they answer, and over what shares can be given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_istio_mc.checks.locality.facts import (
    ELSEWHERE,
    SAME_REGION,
    SAME_SUBZONE,
    SAME_ZONE,
    Place,
    distance,
    failover_order,
    groups,
    order,
)
from pytest_istio_mc.spec import ClusterSpec, Locality, MeshSpec, Role, common_locality
from tests.checks.locality.localities import places, three_regions, three_tiers, two_regions

HERE = Locality("region1", "zone1", "rack1")


@pytest.mark.parametrize(
    ("there", "far"),
    [
        (HERE, SAME_SUBZONE),
        (Locality("region1", "zone1", "rack2"), SAME_ZONE),
        (Locality("region1", "zone2", "rack1"), SAME_REGION),
        (Locality("region2", "zone1", "rack1"), ELSEWHERE),
        (Locality(), ELSEWHERE),
    ],
)
def test_distance_goes_by_the_first_part_that_differs(there: Locality, far: int) -> None:
    assert distance(HERE, there) == far


def test_localities_have_in_common_what_all_say_from_the_region_down() -> None:
    assert common_locality([HERE, Locality("region1", "zone1", "rack2")]) == Locality(
        "region1", "zone1"
    )
    assert common_locality([HERE, Locality("region2", "zone1", "rack1")]) == Locality()
    assert common_locality([HERE]) == HERE


def test_zones_of_a_region_come_before_other_regions() -> None:
    here = three_tiers()

    assert [tier.clusters for tier in order(here.spec, places(here), "east").tiers] == [
        ("east",),
        ("middle",),
        ("west",),
    ]
    assert [tier.clusters for tier in order(here.spec, places(here), "west").tiers] == [
        ("west",),
        ("east", "middle"),
    ]
    assert order(here.spec, places(here), "middle").nearest(("middle",)) == ("east",)


def test_a_cluster_behind_the_gateway_of_another_distance_has_no_tier() -> None:
    clusters = (
        ClusterSpec("east", "network1", locality=Locality("region1", "zone1")),
        ClusterSpec("near", "network2", locality=Locality("region1", "zone2")),
        ClusterSpec("far", "network2", Role.REMOTE, "near", locality=Locality("region2", "zone3")),
    )
    spec = MeshSpec("test", clusters)
    where = {cluster.name: Place(cluster.locality, (cluster.locality,)) for cluster in clusters}

    found = order(spec, where, "east")

    assert found.clusters == ("east",)
    assert "several distances" in found.unseen["near"]
    assert order(spec, where, "near").unseen == {}


def test_a_map_puts_the_last_region_before_the_others() -> None:
    here = three_regions()

    tiers, region = failover_order(here.spec, places(here), "east")

    assert region == "region3"
    assert [tier.clusters for tier in tiers.tiers] == [("east",), ("west",), ("middle",)]


def test_with_one_other_region_there_is_nothing_to_map() -> None:
    here = two_regions()

    assert failover_order(here.spec, places(here), "east")[1] == ""


def test_shares_can_be_given_to_localities_that_patterns_tell_apart() -> None:
    assert groups(two_regions().spec, places(two_regions()), "west") == {
        "region2/zone2/*": ("west",),
        "region1/zone1/*": ("east",),
    }


def test_clusters_behind_one_gateway_share_their_share() -> None:
    clusters = (
        ClusterSpec("east", "network1", locality=Locality("region1", "zone1")),
        ClusterSpec("west", "network2", locality=Locality("region2", "zone2")),
        ClusterSpec(
            "west2", "network2", Role.REMOTE, "west", locality=Locality("region2", "zone3")
        ),
    )
    where = {cluster.name: Place(cluster.locality, (cluster.locality,)) for cluster in clusters}

    assert groups(MeshSpec("test", clusters), where, "east") == {
        "region1/zone1/*": ("east",),
        "region2/*": ("west", "west2"),
    }
    assert len(groups(MeshSpec("test", clusters), where, "west")) == 3


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
    where = {cluster.name: Place(cluster.locality, (cluster.locality,)) for cluster in clusters}
    names = sorted(where)

    for source in names:
        found = order(spec, where, source)
        mapped, _ = failover_order(spec, where, source)

        assert sorted([*found.clusters, *found.unseen]) == names
        assert sorted([*mapped.clusters, *mapped.unseen]) == names
        assert (
            sorted(name for group in groups(spec, where, source).values() for name in group)
            == names
        )
        assert source in next(iter(groups(spec, where, source).values()))
        assert source in found.tiers[0].clusters
