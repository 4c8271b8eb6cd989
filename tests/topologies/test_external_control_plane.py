"""An istiod outside of the clusters that it serves."""

from __future__ import annotations

import pytest

from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.spec import ClusterSpec, MeshSpec, Role
from pytest_istio_mc.topologies import known

TOPOLOGY = known()["external-control-plane"]


@pytest.mark.parametrize(
    ("clusters", "sentence"),
    [
        (
            (ClusterSpec("a", "n1"), ClusterSpec("b", "n2")),
            "0 clusters with role external (none); this topology has one external control plane",
        ),
        (
            (ClusterSpec("x", "n1", Role.EXTERNAL), ClusterSpec("b", "n2", Role.REMOTE, "x")),
            "0 clusters with role config",
        ),
        (
            (
                ClusterSpec("x", "n1", Role.EXTERNAL),
                ClusterSpec("b", "n2", Role.CONFIG, "x"),
                ClusterSpec("c", "n2", Role.REMOTE, "x"),
            ),
            'clusters "b", "c" are on one network',
        ),
        (
            (
                ClusterSpec("x", "n1", Role.EXTERNAL),
                ClusterSpec("b", "n2", Role.CONFIG, "x"),
                ClusterSpec("c", "n3"),
            ),
            'cluster "c" is primary; in this topology no cluster with workloads runs an istiod',
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


def test_fewer_than_three_clusters_are_refused() -> None:
    with pytest.raises(
        UsageProblem,
        match="2 clusters are too few: it has the external istiod's cluster, its config cluster and a remote",
    ):
        TOPOLOGY.default_spec(2)
