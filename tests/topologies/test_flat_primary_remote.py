"""A primary and remotes on one network."""

from __future__ import annotations

import pytest

from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.spec import ClusterSpec, MeshSpec, Role
from pytest_istio_mc.topologies import known

TOPOLOGY = known()["flat-primary-remote"]


@pytest.mark.parametrize(
    ("clusters", "sentence"),
    [
        (
            (ClusterSpec("a", "n1"), ClusterSpec("b", "n2", Role.REMOTE, "a")),
            "a on n1, b on n2; in this topology all clusters are on one",
        ),
        ((ClusterSpec("a", "n1"), ClusterSpec("b", "n1")), "a, b are primaries"),
    ],
)
def test_a_spec_of_another_shape_is_refused_with_a_sentence(
    clusters: tuple[ClusterSpec, ...], sentence: str
) -> None:
    with pytest.raises(UsageProblem) as refused:
        TOPOLOGY.check(MeshSpec(TOPOLOGY.name, clusters))

    assert sentence in str(refused.value)
    assert "nothing was started" in str(refused.value)
