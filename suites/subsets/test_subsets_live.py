"""Where routes by subset, by source and by weight lead requests."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_istio_mc.checks.subsets.live import (
    clusters_are_pinned,
    sources_are_told_apart,
    versions_within_clusters,
    weights_are_kept,
)
from pytest_istio_mc.checks.subsets.observe import by_source, mixed, pinned, weighted
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.samples import Stage


@pytest.mark.mesh_check("MC-SUBSET-001")
@pytest.mark.mesh_sees(observe=lambda run: pinned(run.traffic(), run.kubes()))
def test_a_subset_pins_a_cluster(mesh: Mesh, seen: Stage, expect: Expect) -> None:
    """Every cluster's subset, asked for from every cluster."""
    if seen.converged is not None:
        expect.converged("routes and subsets in force everywhere", seen.converged)

    expect(clusters_are_pinned(mesh, seen))


@pytest.mark.mesh_check("MC-SUBSET-002")
@pytest.mark.mesh_sees(observe=lambda run: by_source(run.traffic(), run.kubes()))
def test_a_route_tells_sources_apart(mesh: Mesh, seen: Stage, expect: Expect) -> None:
    """A route that keeps each cluster's requests at home, and its twin that sends them all to the next cluster."""
    if seen.converged is not None:
        expect.converged("routes and subsets in force everywhere", seen.converged)

    expect(sources_are_told_apart(mesh, seen))


@pytest.mark.mesh_check("MC-SUBSET-003")
@pytest.mark.mesh_sees(observe=lambda run: mixed(run.traffic(), run.kubes()))
def test_a_subset_can_mean_a_version_in_a_cluster(mesh: Mesh, seen: Stage, expect: Expect) -> None:
    """Every version in every cluster, and versions that a cluster does not have."""
    if seen.converged is not None:
        expect.converged("routes and subsets in force everywhere", seen.converged)

    expect(versions_within_clusters(mesh, seen))


@pytest.mark.mesh_check("MC-SUBSET-004")
@pytest.mark.mesh_sees(observe=lambda run: weighted(run.traffic(), run.kubes()))
def test_weights_share_requests_among_clusters(
    mesh: Mesh, seen: tuple[Stage, Mapping[str, int]], expect: Expect
) -> None:
    """Enough requests to tell the shares from even ones."""
    stage, weights = seen
    if stage.converged is not None:
        expect.converged("routes and subsets in force everywhere", stage.converged)

    expect(weights_are_kept(mesh, stage, weights))
