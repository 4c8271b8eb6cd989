"""Shares of localities, clusters as localities, and services without outlier detection."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_istio_mc import localities
from pytest_istio_mc.checks import locality_shares_live
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.localities import Journey, Split, Unprotected
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.probes.localities import by_subzone, cluster_first, distributions, unprotected
from pytest_istio_mc.probes.traffic import MISS_PROBABILITY
from pytest_istio_mc.snapshot import Snapshot


@pytest.mark.mesh_check("MC-LOCALITY-006")
@pytest.mark.mesh_sees(observe=lambda run: distributions(run.traffic(), run.kubes(), localities.places(run.read_snapshot())))
def test_shares_of_localities_are_kept(mesh: Mesh, snapshot: Snapshot, seen: Sequence[Split], expect: Expect) -> None:
    """A fifth for the own locality, the rest for one other, nothing for further ones."""
    expect(locality_shares_live.shares_are_kept(mesh, snapshot, seen))


@pytest.mark.mesh_check("MC-LOCALITY-007")
@pytest.mark.mesh_sees(
    observe=lambda run: (
        cluster_first(run.traffic(), run.kubes()),
        by_subzone(run.traffic(), run.kubes(), localities.places(run.read_snapshot())),
    )
)
def test_a_cluster_can_be_a_locality(
    mesh: Mesh, snapshot: Snapshot, seen: tuple[Sequence[Journey], Sequence[Split]], expect: Expect
) -> None:
    """By failover priority on the cluster's label, and by a subzone that is the cluster's own."""
    journeys, splits = seen

    expect(locality_shares_live.cluster_as_locality(mesh, snapshot, journeys, splits))


@pytest.mark.mesh_check("MC-LOCALITY-008")
@pytest.mark.mesh_sees(observe=lambda run: unprotected(run.traffic(), run.kubes(), localities.places(run.read_snapshot())))
def test_nothing_fails_over_without_outlier_detection(mesh: Mesh, snapshot: Snapshot, seen: Sequence[Unprotected], expect: Expect) -> None:
    """Who answers a service without it, when all is well and when the nearest instances are ill."""
    expect(locality_shares_live.outlier_detection_is_needed(mesh, snapshot, seen, MISS_PROBABILITY))
