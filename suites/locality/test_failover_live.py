"""Which instances answer: the nearest, the next nearest when those are gone or ill, and the nearest again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_istio_mc import localities
from pytest_istio_mc.checks import locality_live
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.localities import Journey
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.probes.localities import EJECTION_SECONDS, FAILURES_TO_EJECT, failover_maps, failovers
from pytest_istio_mc.probes.traffic import MISS_PROBABILITY
from pytest_istio_mc.run import Run
from pytest_istio_mc.snapshot import Snapshot


def journeys(run: Run) -> Sequence[Journey]:
    """From every cluster: its nearest endpoints taken away and given back, made ill and well again, and who answered meanwhile."""
    return failovers(run.traffic(), run.kubes(), localities.places(run.read_snapshot()))


@pytest.mark.mesh_check("MC-LOCALITY-002")
@pytest.mark.mesh_sees(observe=journeys)
def test_the_nearest_instances_answer(mesh: Mesh, snapshot: Snapshot, seen: Sequence[Journey], expect: Expect) -> None:
    """All instances are there, and the service has outlier detection."""
    expect(locality_live.local_first(mesh, snapshot, seen, MISS_PROBABILITY))


@pytest.mark.mesh_check("MC-LOCALITY-003")
@pytest.mark.mesh_sees(observe=journeys)
def test_the_next_nearest_answer_when_the_nearest_are_gone_or_ill(
    mesh: Mesh, snapshot: Snapshot, seen: Sequence[Journey], expect: Expect
) -> None:
    """Tier by tier, first without endpoints, then with endpoints that answer with errors."""
    expect(locality_live.fails_over_in_order(mesh, snapshot, seen, FAILURES_TO_EJECT))


@pytest.mark.mesh_check("MC-LOCALITY-004")
@pytest.mark.mesh_sees(observe=journeys)
def test_requests_return_to_the_nearest_when_these_are_back(
    mesh: Mesh, snapshot: Snapshot, seen: Sequence[Journey], expect: Expect
) -> None:
    """Once with their endpoints, and once when their ejection is over."""
    expect(locality_live.returns(mesh, snapshot, seen, EJECTION_SECONDS))


@pytest.mark.mesh_check("MC-LOCALITY-005")
@pytest.mark.mesh_sees(observe=lambda run: failover_maps(run.traffic(), run.kubes(), localities.places(run.read_snapshot())))
def test_a_failover_map_decides_which_region_is_next(mesh: Mesh, snapshot: Snapshot, seen: Sequence[Journey], expect: Expect) -> None:
    """The last of the other regions is named as the next; then that is taken away, too."""
    expect(locality_live.map_decides(mesh, snapshot, seen))
