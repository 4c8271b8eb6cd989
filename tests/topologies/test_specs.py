"""Specs that are not of a topology: each is refused with a sentence."""

from __future__ import annotations

import pytest

from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.spec import ClusterSpec, Locality, MeshSpec, Role
from pytest_istio_mc.topologies import known

SHARING = "federated is not true, so that istiods would be given remote secrets of the other meshes"
EXTERNAL, CONFIG, REMOTE = Role.EXTERNAL, Role.CONFIG, Role.REMOTE


def cluster(
    name: str, network: int, role: Role = Role.PRIMARY, plane: str = "", region: str = ""
) -> ClusterSpec:
    """A cluster on the network of that number."""
    return ClusterSpec(name, f"n{network}", role, plane, Locality(region))


def primary(name: str, region: int) -> ClusterSpec:
    """A primary whose region and network have that number."""
    return cluster(name, region, region=f"r{region}")


def remote(name: str, region: int, plane: str) -> ClusterSpec:
    """A remote whose region and network have that number."""
    return cluster(name, region, REMOTE, plane, f"r{region}")


TWO_IN_ONE_PLACE = (primary("a", 1), remote("b", 1, "a"), primary("c", 1), remote("d", 1, "c"))
ASTRAY = (primary("a", 1), remote("b", 2, "a"), primary("c", 2), remote("d", 2, "c"))

REFUSED: dict[str, list[tuple[tuple[ClusterSpec, ...], str]]] = {
    "multi-network-multi-primary": [
        ((cluster("a", 1), cluster("b", 1)), "1 network; this topology needs two or more"),
        ((cluster("a", 1), cluster("b", 1)), 'clusters "a", "b" are on one network, "n1"'),
        (
            (cluster("a", 1), cluster("b", 2, REMOTE, "a")),
            'cluster "b" is remote; in this topology every',
        ),
    ],
    "multi-network-primary-remote": [
        (
            (cluster("a", 1), cluster("b", 2)),
            "a, b are primaries; in this topology one primary serves all other clusters",
        ),
        ((cluster("a", 1, REMOTE, "c"), cluster("b", 2, REMOTE, "c")), "no cluster is a primary"),
        ((cluster("a", 1),), "no cluster is remote"),
        (
            (cluster("a", 1), cluster("b", 1, REMOTE, "a")),
            'clusters "a", "b" are on one network, "n1"',
        ),
        ((cluster("a", 1), cluster("b", 2, CONFIG, "a")), 'cluster "b" is config'),
    ],
    "flat-multi-primary": [
        (
            (cluster("a", 1), cluster("b", 2)),
            "a on n1, b on n2; in this topology all clusters are on one network",
        ),
        (
            (cluster("a", 1), cluster("b", 1, REMOTE, "a")),
            'cluster "b" is remote; in this topology every',
        ),
    ],
    "flat-primary-remote": [
        (
            (cluster("a", 1), cluster("b", 2, REMOTE, "a")),
            "a on n1, b on n2; in this topology all clusters are on one",
        ),
        ((cluster("a", 1), cluster("b", 1)), "a, b are primaries"),
    ],
    "external-control-plane": [
        (
            (cluster("a", 1), cluster("b", 2)),
            "0 clusters with role external (none); this topology has one external control plane",
        ),
        ((cluster("x", 1, EXTERNAL), cluster("b", 2, REMOTE, "x")), "0 clusters with role config"),
        (
            (cluster("x", 1, EXTERNAL), cluster("b", 2, CONFIG, "x"), cluster("c", 2, REMOTE, "x")),
            'clusters "b", "c" are on one network',
        ),
        (
            (cluster("x", 1, EXTERNAL), cluster("b", 2, CONFIG, "x"), cluster("c", 3)),
            'cluster "c" is primary; in this topology no cluster with workloads runs an istiod',
        ),
    ],
    "ha-multi-primary-remote": [
        (
            (primary("a", 1), remote("b", 1, "a")),
            "1 primary; this topology has two or more, so that one can be lost",
        ),
        ((primary("a", 1), primary("b", 2)), 'primary "a" serves no remote'),
        (TWO_IN_ONE_PLACE, 'primaries a, c are in one network, "n1"'),
        (TWO_IN_ONE_PLACE, 'primaries a, c are in one region, "r1"'),
        (ASTRAY, 'remote "b" is on "n2", its primary "a" on "n1"'),
        (ASTRAY, 'remote "b" is in region "r2", its primary in'),
        ((cluster("a", 1), cluster("b", 1, REMOTE, "a")), "a: no region is set"),
        (
            (primary("a", 1), remote("b", 1, "z")),
            'remote "b" is served by "z", which is not in the spec',
        ),
    ],
    "federated": [
        ((cluster("a", 1), cluster("b", 2)), 'clusters "a", "b" carry one mesh id, "mesh1"'),
        ((cluster("a", 1), ClusterSpec("b", "n1", mesh_id="other")), "on one network"),
        ((cluster("a", 1), cluster("b", 2, REMOTE, "a")), 'cluster "b" is remote'),
    ],
}


@pytest.mark.parametrize(
    ("name", "clusters", "sentence"),
    [(name, *refused) for name, entries in REFUSED.items() for refused in entries],
)
def test_a_spec_of_another_topology_is_refused_with_a_sentence(
    name: str, clusters: tuple[ClusterSpec, ...], sentence: str
) -> None:
    topology = known()[name]

    with pytest.raises(UsageProblem) as refused:
        topology.check(MeshSpec(name, clusters, federated=topology.federated))

    assert sentence in str(refused.value)
    assert "nothing was started" in str(refused.value)


@pytest.mark.parametrize("name", sorted(set(known()) - {"federated"}))
def test_separate_meshes_are_refused_where_all_clusters_are_one(name: str) -> None:
    spec = MeshSpec(name, (cluster("a", 1), cluster("b", 2)), federated=True)

    sentence = "federated is true; in this topology all clusters are one mesh"
    with pytest.raises(UsageProblem, match=sentence):
        known()[name].check(spec)


def test_meshes_that_are_to_share_remote_secrets_are_refused() -> None:
    topology = known()["federated"]
    spec = MeshSpec(topology.name, topology.default_spec().clusters)

    with pytest.raises(UsageProblem, match=SHARING):
        topology.check(spec)


@pytest.mark.parametrize(
    ("name", "clusters", "needs"),
    [
        (
            "external-control-plane",
            2,
            "the external istiod's cluster, its config cluster and a remote",
        ),
        ("ha-multi-primary-remote", 1, "two regions with a primary and a remote each"),
        ("ha-multi-primary-remote", 3, "two regions with a primary and a remote each"),
    ],
)
def test_too_few_clusters_are_refused(name: str, clusters: int, needs: str) -> None:
    with pytest.raises(UsageProblem, match=f"{clusters} clusters are too few: it has {needs}"):
        known()[name].default_spec(clusters)
