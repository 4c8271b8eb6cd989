"""Where routes by subset, by source and by weight lead requests."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_istio_mc.checks import subsets_live
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.probes import subsets
from pytest_istio_mc.probes.traffic import Traffic


@pytest.mark.mesh_check("MC-SUBSET-001")
def test_a_subset_pins_a_cluster(mesh: Mesh, kubes: Mapping[str, Kube], traffic: Traffic, expect: Expect) -> None:
    """Every cluster's subset, asked for from every cluster."""
    seen = subsets.pinned(traffic, kubes)
    if seen.converged is not None:
        expect.converged("routes and subsets in force everywhere", seen.converged)

    expect(subsets_live.clusters_are_pinned(mesh, seen))


@pytest.mark.mesh_check("MC-SUBSET-002")
def test_a_route_tells_sources_apart(mesh: Mesh, kubes: Mapping[str, Kube], traffic: Traffic, expect: Expect) -> None:
    """A route that keeps each cluster's requests at home, and its twin that sends them all to the next cluster."""
    seen = subsets.by_source(traffic, kubes)
    if seen.converged is not None:
        expect.converged("routes and subsets in force everywhere", seen.converged)

    expect(subsets_live.sources_are_told_apart(mesh, seen))


@pytest.mark.mesh_check("MC-SUBSET-003")
def test_a_subset_can_mean_a_version_in_a_cluster(mesh: Mesh, kubes: Mapping[str, Kube], traffic: Traffic, expect: Expect) -> None:
    """Every version in every cluster, and versions that a cluster does not have."""
    seen = subsets.mixed(traffic, kubes)
    if seen.converged is not None:
        expect.converged("routes and subsets in force everywhere", seen.converged)

    expect(subsets_live.versions_within_clusters(mesh, seen))


@pytest.mark.mesh_check("MC-SUBSET-004")
def test_weights_share_requests_among_clusters(mesh: Mesh, kubes: Mapping[str, Kube], traffic: Traffic, expect: Expect) -> None:
    """Enough requests to tell the shares from even ones."""
    seen, weights = subsets.weighted(traffic, kubes)
    if seen.converged is not None:
        expect.converged("routes and subsets in force everywhere", seen.converged)

    expect(subsets_live.weights_are_kept(mesh, seen, weights))
