"""What stays within clusters because the mesh configuration says so."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_istio_mc.checks.cluster_local.facts import ClusterLocal
from pytest_istio_mc.checks.cluster_local.live import (
    defaults,
    every_service,
    lifted,
    one_control_plane,
    one_namespace,
    one_service,
)
from pytest_istio_mc.checks.cluster_local.observe import cluster_local as cluster_local__observe
from pytest_istio_mc.checks.cluster_local.observe import kept_local
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.probes.traffic import Traffic
from pytest_istio_mc.session.run import Run


@pytest.fixture(scope="session")
def seen(mesh_run: Run, kubes: Mapping[str, Kube], traffic: Traffic) -> ClusterLocal:
    """Traffic before, while and after the mesh configuration of every control plane kept services local; observed once in a run."""
    return mesh_run.once(
        "cluster-local", ClusterLocal, lambda: cluster_local__observe(traffic, kubes)
    )


@pytest.mark.mesh_check("MC-CLUSTERLOCAL-006")
def test_what_istio_keeps_local_unasked_stays_local(
    mesh_run: Run, mesh: Mesh, kubes: Mapping[str, Kube], traffic: Traffic, expect: Expect
) -> None:
    """By the endpoints that proxies have, and where we may add a service to kube-system, by requests for it."""
    seen = kept_local(traffic, kubes, may_write=mesh_run.settings.may_disrupt)

    expect(defaults(mesh, seen))


@pytest.mark.mesh_check("MC-CLUSTERLOCAL-001")
def test_a_service_that_is_cluster_local_is_answered_by_its_own_cluster(
    mesh: Mesh, seen: ClusterLocal, expect: Expect
) -> None:
    """One service is named; another one is still answered by every cluster."""
    expect(one_service(mesh, seen))


@pytest.mark.mesh_check("MC-CLUSTERLOCAL-002")
def test_a_namespace_can_be_cluster_local(mesh: Mesh, seen: ClusterLocal, expect: Expect) -> None:
    """The pattern of a namespace keeps its services, and those of no other namespace."""
    expect(one_namespace(mesh, seen))


@pytest.mark.mesh_check("MC-CLUSTERLOCAL-003")
def test_everything_can_be_cluster_local(mesh: Mesh, seen: ClusterLocal, expect: Expect) -> None:
    """With the pattern of all hosts nothing crosses over."""
    expect(every_service(mesh, seen))


@pytest.mark.mesh_check("MC-CLUSTERLOCAL-004")
def test_lifting_it_restores_traffic_between_clusters(
    mesh: Mesh, seen: ClusterLocal, expect: Expect
) -> None:
    """Without the settings, every service is answered by every cluster again."""
    for stage in seen.stages:
        if stage.converged is not None:
            expect.converged(f"mesh configuration in force ({stage.name})", stage.converged)

    expect(lifted(mesh, seen))


@pytest.mark.mesh_check("MC-CLUSTERLOCAL-005")
def test_each_control_plane_decides_for_itself(
    mesh: Mesh, seen: ClusterLocal, expect: Expect
) -> None:
    """A setting in one primary keeps the traffic of the clusters that it serves."""
    expect(one_control_plane(mesh, seen))
