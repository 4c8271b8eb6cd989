"""A primary and remotes, a network each."""

from __future__ import annotations

import pytest

from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.spec import ClusterSpec, MeshSpec, Role
from pytest_istio_mc.topologies import known

TOPOLOGY = known()["multi-network-primary-remote"]


@pytest.mark.parametrize(
    ("clusters", "sentence"),
    [
        (
            (ClusterSpec("a", "n1"), ClusterSpec("b", "n2")),
            "a, b are primaries; in this topology one primary serves all other clusters",
        ),
        (
            (ClusterSpec("a", "n1", Role.REMOTE, "c"), ClusterSpec("b", "n2", Role.REMOTE, "c")),
            "no cluster is a primary",
        ),
        ((ClusterSpec("a", "n1"),), "no cluster is remote"),
        (
            (ClusterSpec("a", "n1"), ClusterSpec("b", "n1", Role.REMOTE, "a")),
            'clusters "a", "b" are on one network, "n1"',
        ),
        (
            (ClusterSpec("a", "n1"), ClusterSpec("b", "n2", Role.CONFIG, "a")),
            'cluster "b" is config',
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
