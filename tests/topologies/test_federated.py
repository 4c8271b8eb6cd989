"""Meshes of one cluster each."""

from __future__ import annotations

import pytest

from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.spec import ClusterSpec, MeshSpec, Role
from pytest_istio_mc.topologies import known

TOPOLOGY = known()["federated"]


@pytest.mark.parametrize(
    ("clusters", "sentence"),
    [
        (
            (ClusterSpec("a", "n1"), ClusterSpec("b", "n2")),
            'clusters "a", "b" carry one mesh id, "mesh1"',
        ),
        ((ClusterSpec("a", "n1"), ClusterSpec("b", "n1", mesh_id="other")), "on one network"),
        (
            (ClusterSpec("a", "n1"), ClusterSpec("b", "n2", Role.REMOTE, "a")),
            'cluster "b" is remote',
        ),
    ],
)
def test_a_spec_of_another_shape_is_refused_with_a_sentence(
    clusters: tuple[ClusterSpec, ...], sentence: str
) -> None:
    with pytest.raises(UsageProblem) as refused:
        TOPOLOGY.check(MeshSpec(TOPOLOGY.name, clusters, federated=True))

    assert sentence in str(refused.value)
    assert "nothing was started" in str(refused.value)


def test_meshes_that_are_to_share_remote_secrets_are_refused() -> None:
    with pytest.raises(
        UsageProblem,
        match="federated is not true, so that istiods would be given remote secrets of the other meshes",
    ):
        TOPOLOGY.check(MeshSpec(TOPOLOGY.name, TOPOLOGY.default_spec().clusters))


def test_every_mesh_has_an_id_and_a_trust_domain_of_its_own() -> None:
    spec = TOPOLOGY.default_spec(3)

    assert [(spec.mesh_id_of(one), spec.trust_domain_of(one)) for one in spec] == [
        ("mesh1", "mesh1.lab"),
        ("mesh2", "mesh2.lab"),
        ("mesh3", "mesh3.lab"),
    ]
    assert not any(spec.watched_by(plane) for plane in spec.control_planes)
