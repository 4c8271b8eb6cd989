"""The address plan of a lab."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.lab.plan import MOST_CLUSTERS, LabPlan, plan_nodes
from pytest_istio_mc.spec import ClusterSpec, Locality, MeshSpec

PATHS = (Path("/home"), Path("/bin"), Path("/cni"), Path("/containerd"))


def mesh_of(count: int, networks: int) -> MeshSpec:
    clusters = (
        ClusterSpec(f"c{n}", f"network{n % networks}", locality=Locality(f"region{n}", "a"))
        for n in range(1, count + 1)
    )
    return MeshSpec("multi-network-multi-primary", tuple(clusters))


def test_no_two_ranges_of_a_lab_overlap() -> None:
    nodes = plan_nodes(mesh_of(MOST_CLUSTERS, 2))
    texts = [text for node in nodes for text in (node.pod_range, node.service_range)]
    texts += [node.load_balancer_range for node in nodes]
    texts += [f"198.18.{node.number}.0/24" for node in nodes]
    ranges = [ipaddress.ip_network(text) for text in texts]

    assert not [(a, b) for a, b in combinations(ranges, 2) if a.overlaps(b)]


def test_programs_of_kubernetes_may_come_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "kubelet").touch()
    plan = LabPlan("x", *PATHS, plan_nodes(mesh_of(2, 2)), kubernetes=tmp_path)

    assert plan.program("kubelet") == tmp_path / "kubelet"
    assert plan.program("etcd") == Path("/bin/etcd")
    assert LabPlan.from_dict(plan.to_dict()) == plan


def test_a_plan_of_before_there_were_several_versions_is_read() -> None:
    plan = LabPlan("x", *PATHS, plan_nodes(mesh_of(2, 2)), istio=("1.31",))
    document = plan.to_dict()
    del document["istio"], document["kubernetes"]

    assert LabPlan.from_dict(document) == replace(plan, istio=())


def test_neighbours_share_a_network() -> None:
    nodes = plan_nodes(mesh_of(4, 2))
    plan = LabPlan("x", *PATHS, nodes)

    assert [other.name for other in plan.neighbours(nodes[0])] == ["c3"]


def test_a_plan_survives_the_way_to_its_supervisor() -> None:
    plan = LabPlan("x", *PATHS, plan_nodes(mesh_of(2, 2)), detached=True, audited=True)

    assert LabPlan.from_dict(plan.to_dict()) == plan


def test_more_clusters_than_addresses_are_refused() -> None:
    with pytest.raises(UsageProblem, match=f"room for {MOST_CLUSTERS}"):
        plan_nodes(mesh_of(MOST_CLUSTERS + 1, 2))
