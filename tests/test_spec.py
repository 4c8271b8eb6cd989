"""MeshSpec: what is refused and derived; its file format loses nothing."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.spec import ClusterSpec, Feature, Locality, MeshSpec, Role, with_contexts
from pytest_istio_mc.spec_file import document_of, spec_of, spec_schema
from tests.specs import meshes


def document(**changes: Any) -> dict[str, Any]:
    clusters = [{"name": "east", "network": "n1"}, {"name": "west", "network": "n2"}]
    return {"topology": "multi-network-multi-primary", "clusters": clusters} | changes


def one(**changes: Any) -> dict[str, Any]:
    return {"clusters": [{"name": "e", "network": "n1", **changes}]}


def two(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    east, west = {"name": "e", "network": "n1"}, {"name": "w", "network": "n2"}
    return {"clusters": [east | first, west | second]}


REMOTE = {"role": "remote", "controlPlane": "e"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"clusters": []}, "clusters: there are none"),
        ({"clusters": "east"}, "clusters: expected a list, found 'east'"),
        ({"clusters": ["east"]}, "clusters[0]: expected an object, found 'east'"),
        ({"clusters": [{"name": "east"}]}, "clusters[0].network: is missing"),
        (
            {"clusters": [{"name": 7, "network": "n"}]},
            "clusters[0].name: expected text, found the number 7",
        ),
        (
            one(role="boss"),
            "clusters[0].role: 'boss', known are 'primary', 'remote', 'config' or 'external'",
        ),
        (one(netwrok="m"), "clusters[0].netwrok: is not known, perhaps network"),
        ({"cluster": []}, "cluster: is not known, perhaps clusters"),
        ({"apiVersion": "v2"}, "apiVersion 'v2'"),
        ({"federated": "yes"}, "federated: expected true or false, found 'yes'"),
        ({"trustDomain": "10.0.0.1"}, "is an address; it must be a DNS name"),
        (one(), "1 cluster with workloads"),
        (two({}, {"name": "e", "network": "n1"}), 'cluster name "e" is used 2 times'),
        (two({}, {"name": "e"}), 'cluster "e" is in 2 networks (n1, n2)'),
        (two({"name": "East"}, {}), "clusters[0].name: 'East' is not a DNS label"),
        (two({"context": "x"}, {"context": "x"}), 'context "x" is given for 2 clusters'),
        (two({"role": "remote"}, {"role": "remote"}), "there is no control plane"),
        (two({}, REMOTE | {"controlPlane": "x"}), 'is served by "x", which is not in the spec'),
        (two({}, {"controlPlane": "e"}), 'primary "w" names "e" as its control plane'),
        (two({}, {"role": "external"}), 'external control plane "w" has no config cluster'),
        ({"federated": True} | two({}, REMOTE), "in federated meshes every cluster is a primary"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        spec_of(document(**change), "mesh.yaml")

    assert sentence in str(caught.value)
    assert "nothing was started" in str(caught.value)


def test_every_problem_is_told_at_once() -> None:
    clusters = [{"name": "A", "network": "n"}, {"name": "b", "network": "n\x1b[1m"}]

    with pytest.raises(UsageProblem) as caught:
        spec_of(document(clusters=clusters))

    assert "clusters[0].name: 'A' is not a DNS label" in str(caught.value)
    assert r"clusters[1].network: 'n\x1b[1m' is not a label's value" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("meshId", "x y/../z"),
        ("trustDomain", "not a domain!"),
        ("istioNamespace", "Istio"),
        ("kubeconfig", "a\x00b"),
        ("clusters[0].network", "n 1 !"),
        ("clusters[0].region", "a/b"),
        ("clusters[0].zone", "ü"),
        ("clusters[0].context", "prod\x1b[2J"),
    ],
)
def test_names_that_cannot_be_are_refused_with_their_place(key: str, text: str) -> None:
    change = one(**{key.rpartition(".")[2]: text}) if "[" in key else {key: text}

    with pytest.raises(UsageProblem, match=re.escape(f"{key}: ")):
        spec_of(document(**change))


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("context", "arn:aws:eks:eu-central-1:123456789012:cluster/prod"),
        ("context", "admin@prod (old) ü"),
        ("network", "vpc-0a.b_C"),
        ("meshId", "proj-123/mesh"),
        ("trustDomain", "prod_1.Example.com"),
        ("region", ""),
    ],
)
def test_names_that_real_meshes_have_pass(key: str, text: str) -> None:
    first, second = document()["clusters"]

    assert spec_of(document(clusters=[first | {key: text}, second]))


def test_the_schema_of_spec_files_is_the_one_that_is_published() -> None:
    validator = jsonschema.Draft202012Validator(spec_schema())

    assert list(validator.iter_errors(document())) == []
    assert [one.absolute_path[-1] for one in validator.iter_errors(document(meshId="x y"))]
    assert not validator.is_valid(document(cluster=[]))


def test_primaries_of_two_networks_watch_each_other() -> None:
    spec = spec_of(document())
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
    spec = spec_of(document(clusters=[{"name": "east", "network": "n1"}, west]))

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
    spec = spec_of(document(clusters=clusters))
    outside, config, remote = spec

    assert spec.config_cluster(outside) == config
    assert spec.watched_by(outside) == (remote,)
    assert spec.data_planes == (config, remote)
    assert Feature.EXTERNAL_CONTROL_PLANE in spec.features


def test_federated_meshes_watch_nobody() -> None:
    spec = spec_of(document(federated=True))

    assert spec.watched_by(spec.clusters[0]) == ()
    assert Feature.SHARED_SERVICES not in spec.features


def test_contexts_are_filled_in() -> None:
    spec = with_contexts(spec_of(document()), {"east": "prod-a"}, "/kube/config")

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
        plane = draw(st.sampled_from(names[:primaries]))
        return ClusterSpec(name, draw(networks), Role.REMOTE, plane, draw(localities))

    clusters = tuple(cluster(place, name) for place, name in enumerate(names))
    return MeshSpec("any", clusters, mesh_id=draw(_NAMES))


@given(specs())
def test_any_mix_of_primaries_and_remotes_survives_its_file(spec: MeshSpec) -> None:
    assert spec_of(document_of(spec)) == spec


@given(specs())
def test_every_cluster_is_served_by_exactly_one_control_plane(spec: MeshSpec) -> None:
    served = [cluster.name for plane in spec.control_planes for cluster in spec.served_by(plane)]

    names = [cluster.name for cluster in spec]
    assert sorted(served) == sorted(names)
    for plane in spec.control_planes:
        assert {cluster.name for cluster in spec.watched_by(plane)} == {*names} - {plane.name}
    assert all(spec.control_plane_of(name) in spec.control_planes for name in names)


@given(meshes())
def test_any_mix_of_roles_and_networks_is_valid_and_survives_its_file_format(
    spec: MeshSpec,
) -> None:
    assert spec_of(document_of(spec.validated())) == spec


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
        others = {cluster.name for cluster in spec.data_planes} - {own}
        assert watched == (set() if spec.federated else others)


def test_a_cluster_is_seen_alone_on_the_same_network_or_behind_a_gateway_of_its_own() -> None:
    networks = {"a": "one", "b": "two", "c": "two"}
    spec = MeshSpec("any", tuple(ClusterSpec(name, net) for name, net in networks.items()))

    assert spec.seen_alone("a", "b")
    assert spec.seen_alone("c", "b")
    assert not spec.seen_alone("c", "a")
