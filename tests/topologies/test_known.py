"""What holds of every topology."""

from __future__ import annotations

import pytest

from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.spec import ClusterSpec, MeshSpec, Role
from pytest_istio_mc.topologies import known

EVERY = sorted(known())


def test_the_seven_topologies_are_known() -> None:
    assert EVERY == [
        "external-control-plane",
        "federated",
        "flat-multi-primary",
        "flat-primary-remote",
        "ha-multi-primary-remote",
        "multi-network-multi-primary",
        "multi-network-primary-remote",
    ]


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("clusters", [None, 4, 5, 20])
def test_the_default_spec_is_valid_for_any_number_of_clusters(
    name: str, clusters: int | None
) -> None:
    topology = known()[name]

    spec = (topology.default_spec(clusters) if clusters else topology.default_spec()).validated()

    topology.check(spec)
    assert spec.topology == topology.name == name
    assert clusters in (None, len(spec.clusters))
    assert all(cluster.locality.region for cluster in spec)
    assert MeshSpec.from_dict(spec.to_dict()) == spec


@pytest.mark.parametrize("name", EVERY)
def test_the_default_specs_of_all_others_are_refused(name: str) -> None:
    for other in EVERY:
        if other != name:
            with pytest.raises(UsageProblem):
                known()[name].check(known()[other].default_spec())


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"federated"}))
def test_separate_meshes_are_refused_where_all_clusters_are_one(name: str) -> None:
    clusters = (ClusterSpec("a", "n1"), ClusterSpec("b", "n2"))

    with pytest.raises(
        UsageProblem, match="federated is true; in this topology all clusters are one mesh"
    ):
        known()[name].check(MeshSpec(name, clusters, federated=True))


@pytest.mark.parametrize("name", EVERY)
def test_a_topology_says_what_it_is_and_where_istio_documents_it(name: str) -> None:
    topology = known()[name]

    assert topology.summary.endswith(".")
    assert topology.documentation.startswith("https://istio.io/latest/docs/")


def test_every_role_is_used_by_some_topology() -> None:
    assert {
        cluster.role for topology in known().values() for cluster in topology.default_spec()
    } == set(Role)
