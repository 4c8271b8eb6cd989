"""MeshSpec: what is refused, what is derived, and that the file format loses nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.spec import ClusterSpec, Feature, Locality, MeshSpec, Role, with_contexts
from tests.specs import meshes


def document(**changes: Any) -> dict[str, Any]:
    clusters = [{"name": "east", "network": "n1"}, {"name": "west", "network": "n2"}]
    return {"topology": "multi-network-multi-primary", "clusters": clusters} | changes


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"clusters": []}, "'clusters' must be a list with at least one entry"),
        ({"clusters": "east"}, "'clusters' must be a list"),
        ({"clusters": ["east"]}, "clusters[1] must be a mapping"),
        ({"clusters": [{"name": "east"}]}, "clusters[1]: 'network' is missing"),
        ({"clusters": [{"name": 7, "network": "n"}]}, "'name' must be text, got 7"),
        (
            {"clusters": [{"name": "e", "network": "n", "role": "boss"}]},
            "role 'boss', known are primary, remote, config, external",
        ),
        (
            {"clusters": [{"name": "e", "network": "n", "netwrok": "m"}]},
            "clusters[1] has unknown keys netwrok",
        ),
        ({"cluster": []}, "the document has unknown keys cluster"),
        ({"apiVersion": "v2"}, "apiVersion 'v2'"),
        ({"federated": "yes"}, "'federated' must be true or false"),
        ({"trustDomain": "10.0.0.1"}, "is an address; it must be a DNS name"),
        ({"clusters": [{"name": "east", "network": "n1"}]}, "1 cluster with workloads"),
        (
            {"clusters": [{"name": "e", "network": "n1"}, {"name": "e", "network": "n1"}]},
            'cluster name "e" is used 2 times',
        ),
        (
            {"clusters": [{"name": "e", "network": "n1"}, {"name": "e", "network": "n2"}]},
            'cluster "e" is in 2 networks (n1, n2)',
        ),
        (
            {"clusters": [{"name": "East", "network": "n1"}, {"name": "w", "network": "n2"}]},
            '"East" is not a DNS label',
        ),
        (
            {
                "clusters": [
                    {"name": "e", "network": "n1", "context": "x"},
                    {"name": "w", "network": "n2", "context": "x"},
                ]
            },
            'context "x" is given for 2 clusters',
        ),
        (
            {
                "clusters": [
                    {"name": "e", "network": "n1", "role": "remote"},
                    {"name": "w", "network": "n2", "role": "remote"},
                ]
            },
            "there is no control plane",
        ),
        (
            {
                "clusters": [
                    {"name": "e", "network": "n1"},
                    {"name": "w", "network": "n2", "role": "remote", "controlPlane": "x"},
                ]
            },
            'is served by "x", which is not in the spec',
        ),
        (
            {
                "clusters": [
                    {"name": "e", "network": "n1"},
                    {"name": "w", "network": "n2", "controlPlane": "e"},
                ]
            },
            'primary "w" names "e" as its control plane',
        ),
        (
            {
                "clusters": [
                    {"name": "e", "network": "n1"},
                    {"name": "w", "network": "n2", "role": "external"},
                ]
            },
            'external control plane "w" has no config cluster',
        ),
        (
            {
                "federated": True,
                "clusters": [
                    {"name": "e", "network": "n1"},
                    {"name": "w", "network": "n2", "role": "remote", "controlPlane": "e"},
                ],
            },
            "in federated meshes every cluster is a primary",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        MeshSpec.from_dict(document(**change), "mesh.yaml")

    assert sentence in str(caught.value)
    assert "nothing was started" in str(caught.value)


def test_every_problem_is_told_at_once() -> None:
    clusters = [{"name": "A", "network": "n"}, {"name": "A", "network": "n"}]

    with pytest.raises(UsageProblem) as caught:
        MeshSpec.from_dict(document(clusters=clusters))

    assert "used 2 times" in str(caught.value)
    assert "not a DNS label" in str(caught.value)


def test_primaries_of_two_networks_watch_each_other() -> None:
    spec = MeshSpec.from_dict(document())
    east, west = spec

    assert spec.features == {
        Feature.CROSS_CLUSTER,
        Feature.SHARED_SERVICES,
        Feature.MULTI_PRIMARY,
        Feature.MULTI_NETWORK,
    }
    assert spec.watched_by(east) == (west,)
    assert spec.served_by(east) == (east,)
    assert spec.pairs == ((east, west), (west, east))
    assert spec.networks == ("n1", "n2")


def test_a_remote_is_served_and_watched_by_its_primary() -> None:
    west = {"name": "west", "network": "n2", "role": "remote", "controlPlane": "east"}
    spec = MeshSpec.from_dict(document(clusters=[{"name": "east", "network": "n1"}, west]))

    assert spec.control_planes == (spec.cluster("east"),)
    assert spec.served_by(spec.cluster("east")) == spec.clusters
    assert Feature.REMOTE_CLUSTERS in spec.features
    assert Feature.MULTI_PRIMARY not in spec.features


def test_an_external_control_plane_reads_its_configuration_in_its_config_cluster() -> None:
    clusters = [
        {"name": "outside", "network": "n0", "role": "external"},
        {"name": "config", "network": "n1", "role": "config", "controlPlane": "outside"},
        {"name": "remote", "network": "n2", "role": "remote", "controlPlane": "outside"},
    ]
    spec = MeshSpec.from_dict(document(clusters=clusters))
    outside, config, remote = spec

    assert spec.config_cluster(outside) == config
    assert spec.watched_by(outside) == (remote,)
    assert spec.data_planes == (config, remote)
    assert Feature.EXTERNAL_CONTROL_PLANE in spec.features


def test_federated_meshes_watch_nobody() -> None:
    spec = MeshSpec.from_dict(document(federated=True))

    assert spec.watched_by(spec.clusters[0]) == ()
    assert Feature.SHARED_SERVICES not in spec.features


def test_contexts_are_filled_in() -> None:
    spec = with_contexts(MeshSpec.from_dict(document()), {"east": "prod-a"}, "/kube/config")

    assert [cluster.context for cluster in spec] == ["prod-a", ""]
    assert spec.kubeconfig == "/kube/config"


_NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


@st.composite
def specs(draw: st.DrawFn) -> MeshSpec:
    names = draw(st.lists(_NAMES, min_size=2, max_size=6, unique=True))
    primaries = draw(st.integers(1, len(names)))
    networks = st.sampled_from(["n1", "n2", "n3"])
    localities = st.builds(Locality, st.sampled_from(["", "r1", "r2"]), st.sampled_from(["", "z1"]))

    def cluster(place: int, name: str) -> ClusterSpec:
        if place < primaries:
            return ClusterSpec(name, draw(networks), locality=draw(localities))
        return ClusterSpec(
            name,
            draw(networks),
            Role.REMOTE,
            draw(st.sampled_from(names[:primaries])),
            draw(localities),
        )

    return MeshSpec(
        "any", tuple(cluster(place, name) for place, name in enumerate(names)), mesh_id=draw(_NAMES)
    )


@given(specs())
def test_any_mix_of_primaries_and_remotes_survives_its_file(spec: MeshSpec) -> None:
    assert MeshSpec.from_dict(spec.to_dict()) == spec


@given(specs())
def test_every_cluster_is_served_by_exactly_one_control_plane(spec: MeshSpec) -> None:
    served = [cluster.name for plane in spec.control_planes for cluster in spec.served_by(plane)]

    assert sorted(served) == sorted(cluster.name for cluster in spec)
    for plane in spec.control_planes:
        assert {cluster.name for cluster in spec.watched_by(plane)} == {
            cluster.name for cluster in spec
        } - {plane.name}


@given(meshes())
def test_any_mix_of_roles_and_networks_is_valid_and_survives_its_file_format(
    spec: MeshSpec,
) -> None:
    assert MeshSpec.from_dict(spec.validated().to_dict()) == spec


@given(meshes())
def test_every_cluster_with_workloads_is_served_by_one_control_plane_and_watched_by_all_of_its_mesh(
    spec: MeshSpec,
) -> None:
    served = [cluster.name for plane in spec.control_planes for cluster in spec.served_by(plane)]

    assert sorted(served) == sorted(cluster.name for cluster in spec.data_planes)
    for plane in spec.control_planes:
        watched = {cluster.name for cluster in spec.watched_by(plane)}
        own = spec.config_cluster(plane).name
        assert own not in watched
        assert watched == (
            set() if spec.federated else {cluster.name for cluster in spec.data_planes} - {own}
        )


def test_a_cluster_is_seen_alone_on_the_same_network_or_behind_a_gateway_of_its_own() -> None:
    spec = MeshSpec(
        "any",
        tuple(
            ClusterSpec(name, network)
            for name, network in (("a", "one"), ("b", "two"), ("c", "two"))
        ),
    )

    assert spec.seen_alone("a", "b")
    assert spec.seen_alone("c", "b")
    assert not spec.seen_alone("c", "a")
