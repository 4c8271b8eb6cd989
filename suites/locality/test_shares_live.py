"""Shares of localities, clusters as localities, and services without outlier detection."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_istio_mc.checks.locality.facts import Journey, Split, Unprotected, places
from pytest_istio_mc.checks.locality.observe import (
    by_subzone,
    cluster_first,
    distributions,
    unprotected,
)
from pytest_istio_mc.checks.locality.shares import (
    cluster_as_locality,
    outlier_detection_is_needed,
    shares_are_kept,
)
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.statistics import MISS_PROBABILITY


@pytest.mark.mesh_check("MC-LOCALITY-006")
@pytest.mark.mesh_sees(
    observe=lambda run: distributions(run.traffic(), run.kubes(), places(run.read_snapshot()))
)
def test_shares_of_localities_are_kept(
    mesh: Mesh, snapshot: Snapshot, seen: Sequence[Split], expect: Expect
) -> None:
    """A fifth for the own locality, the rest for one other, nothing for further ones."""
    expect(shares_are_kept(mesh, snapshot, seen))


@pytest.mark.mesh_check("MC-LOCALITY-007")
@pytest.mark.mesh_sees(
    observe=lambda run: (
        cluster_first(run.traffic(), run.kubes()),
        by_subzone(run.traffic(), run.kubes(), places(run.read_snapshot())),
    )
)
def test_a_cluster_can_be_a_locality(
    mesh: Mesh, snapshot: Snapshot, seen: tuple[Sequence[Journey], Sequence[Split]], expect: Expect
) -> None:
    """By failover priority on the cluster's label, and by a subzone that is the cluster's own."""
    journeys, splits = seen

    expect(cluster_as_locality(mesh, snapshot, journeys, splits))


@pytest.mark.mesh_check("MC-LOCALITY-008")
@pytest.mark.mesh_sees(
    observe=lambda run: unprotected(run.traffic(), run.kubes(), places(run.read_snapshot()))
)
def test_nothing_fails_over_without_outlier_detection(
    mesh: Mesh, snapshot: Snapshot, seen: Sequence[Unprotected], expect: Expect
) -> None:
    """Who answers a service without it, when all is well and when the nearest instances are ill."""
    expect(outlier_detection_is_needed(mesh, snapshot, seen, MISS_PROBABILITY))
