"""Regions with a primary and remotes each."""

from __future__ import annotations

import pytest

from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.spec import ClusterSpec, Locality, MeshSpec, Role
from pytest_istio_mc.topologies import known

TOPOLOGY = known()["ha-multi-primary-remote"]


def _primary(name: str, region: int) -> ClusterSpec:
    return ClusterSpec(name, f"n{region}", locality=Locality(f"r{region}"))


def _remote(name: str, region: int, primary: str) -> ClusterSpec:
    return ClusterSpec(name, f"n{region}", Role.REMOTE, primary, Locality(f"r{region}"))


@pytest.mark.parametrize(
    ("clusters", "sentence"),
    [
        (
            (_primary("a", 1), _remote("b", 1, "a")),
            "1 primary; this topology has two or more, so that one can be lost",
        ),
        ((_primary("a", 1), _primary("b", 2)), 'primary "a" serves no remote'),
        (
            (_primary("a", 1), _remote("b", 1, "a"), _primary("c", 1), _remote("d", 1, "c")),
            'primaries a, c are in one network, "n1"',
        ),
        (
            (_primary("a", 1), _remote("b", 1, "a"), _primary("c", 1), _remote("d", 1, "c")),
            'primaries a, c are in one region, "r1"',
        ),
        (
            (_primary("a", 1), _remote("b", 2, "a"), _primary("c", 2), _remote("d", 2, "c")),
            'remote "b" is on "n2", its primary "a" on "n1"',
        ),
        (
            (_primary("a", 1), _remote("b", 2, "a"), _primary("c", 2), _remote("d", 2, "c")),
            'remote "b" is in region "r2", its primary in',
        ),
        ((ClusterSpec("a", "n1"), ClusterSpec("b", "n1", Role.REMOTE, "a")), "a: no region is set"),
        (
            (_primary("a", 1), _remote("b", 1, "z")),
            'remote "b" is served by "z", which is not in the spec',
        ),
    ],
)
def test_a_spec_of_another_shape_is_refused_with_a_sentence(
    clusters: tuple[ClusterSpec, ...], sentence: str
) -> None:
    with pytest.raises(UsageProblem) as refused:
        TOPOLOGY.check(MeshSpec(TOPOLOGY.name, clusters))

    assert sentence in str(refused.value)
    assert "nothing was started" in str(refused.value)


@pytest.mark.parametrize("clusters", [1, 3])
def test_fewer_than_two_regions_of_two_are_refused(clusters: int) -> None:
    with pytest.raises(
        UsageProblem, match="too few: it has two regions with a primary and a remote each"
    ):
        TOPOLOGY.default_spec(clusters)


def test_remotes_follow_the_primary_of_their_region() -> None:
    spec = TOPOLOGY.default_spec()

    assert [(one.name, one.network, one.control_plane, one.locality.region) for one in spec] == [
        ("cluster1", "network1", "", "region1"),
        ("cluster2", "network1", "cluster1", "region1"),
        ("cluster3", "network2", "", "region2"),
        ("cluster4", "network2", "cluster3", "region2"),
    ]
