"""Topologies: what holds of every one, and their default specs."""

from __future__ import annotations

import pytest

from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.spec import MeshSpec, Role
from pytest_istio_mc.spec_file import document_of, spec_of
from pytest_istio_mc.topologies import Topology, known

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

    spec = topology.default_spec(clusters).validated()

    topology.check(spec)
    assert spec.topology == topology.name == name
    assert clusters in (None, len(spec.clusters))
    assert all(cluster.locality.region for cluster in spec)
    assert spec_of(document_of(spec)) == spec


@pytest.mark.parametrize("name", EVERY)
def test_the_number_of_clusters_may_be_left_out_or_be_none(name: str) -> None:
    topology = known()[name]

    assert topology.default_spec() == topology.default_spec(None)
    assert len(topology.default_spec().clusters) == topology.least >= 2


def test_a_topology_of_somebody_else_is_one_value() -> None:
    base = known()["flat-multi-primary"]
    ours = Topology(
        name="ring",
        summary="Ours.",
        documentation="https://topologies.test/ring",
        clusters=base.clusters,
        problems=lambda spec: [] if len(spec.clusters) > 2 else ["a ring has three clusters"],
        build=base.build,
    )

    assert ours.default_spec() == MeshSpec("ring", base.default_spec().clusters)
    ours.check(ours.default_spec(3))
    with pytest.raises(UsageProblem, match='for topology "ring": refused: a ring has three'):
        ours.check(ours.default_spec())


@pytest.mark.parametrize("name", EVERY)
def test_the_default_specs_of_all_others_are_refused(name: str) -> None:
    for other in EVERY:
        if other != name:
            with pytest.raises(UsageProblem):
                known()[name].check(known()[other].default_spec())


@pytest.mark.parametrize("name", EVERY)
def test_a_topology_says_what_it_is_and_where_istio_documents_it(name: str) -> None:
    topology = known()[name]

    assert topology.summary.endswith(".")
    assert topology.documentation.startswith("https://istio.io/latest/docs/")


def test_every_role_is_used_by_some_topology() -> None:
    clusters = [cluster for topology in known().values() for cluster in topology.default_spec()]

    assert {cluster.role for cluster in clusters} == set(Role)


@pytest.mark.parametrize("clusters", [2, 3, 20])
def test_every_cluster_has_its_own_network_and_place(clusters: int) -> None:
    topology = known()["multi-network-multi-primary"]

    spec = topology.default_spec(clusters).validated()

    topology.check(spec)
    assert len(spec.clusters) == len(spec.networks) == clusters
    assert [(one.name, one.network, str(one.locality)) for one in spec][:2] == [
        ("cluster1", "network1", "region1/zone1/cluster1"),
        ("cluster2", "network2", "region2/zone2/cluster2"),
    ]


def test_remotes_follow_the_primary_of_their_region() -> None:
    spec = known()["ha-multi-primary-remote"].default_spec()

    assert [(one.name, one.network, one.control_plane, one.locality.region) for one in spec] == [
        ("cluster1", "network1", "", "region1"),
        ("cluster2", "network1", "cluster1", "region1"),
        ("cluster3", "network2", "", "region2"),
        ("cluster4", "network2", "cluster3", "region2"),
    ]


def test_every_federated_mesh_has_an_id_and_a_trust_domain_of_its_own() -> None:
    spec = known()["federated"].default_spec(3)

    assert [(spec.mesh_id_of(one), spec.trust_domain_of(one)) for one in spec] == [
        ("mesh1", "mesh1.lab"),
        ("mesh2", "mesh2.lab"),
        ("mesh3", "mesh3.lab"),
    ]
    assert not any(spec.watched_by(plane) for plane in spec.control_planes)
