"""Which instances answer: the nearest, the next nearest when those are gone or ill, and the nearest again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_istio_mc.checks.locality.facts import Journey, places
from pytest_istio_mc.checks.locality.live import (
    fails_over_in_order,
    local_first,
    map_decides,
    returns,
)
from pytest_istio_mc.checks.locality.observe import (
    EJECTION_SECONDS,
    FAILURES_TO_EJECT,
    failover_maps,
    failovers,
)
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.session.run import Run
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.statistics import MISS_PROBABILITY


def journeys(run: Run) -> Sequence[Journey]:
    """From every cluster: its nearest endpoints taken away and given back, made ill and well again, and who answered meanwhile."""
    return failovers(run.traffic(), run.kubes(), places(run.read_snapshot()))


@pytest.mark.mesh_check("MC-LOCALITY-002")
@pytest.mark.mesh_sees(observe=journeys)
def test_the_nearest_instances_answer(
    mesh: Mesh, snapshot: Snapshot, seen: Sequence[Journey], expect: Expect
) -> None:
    """All instances are there, and the service has outlier detection."""
    expect(local_first(mesh, snapshot, seen, MISS_PROBABILITY))


@pytest.mark.mesh_check("MC-LOCALITY-003")
@pytest.mark.mesh_sees(observe=journeys)
def test_the_next_nearest_answer_when_the_nearest_are_gone_or_ill(
    mesh: Mesh, snapshot: Snapshot, seen: Sequence[Journey], expect: Expect
) -> None:
    """Tier by tier, first without endpoints, then with endpoints that answer with errors."""
    expect(fails_over_in_order(mesh, snapshot, seen, FAILURES_TO_EJECT))


@pytest.mark.mesh_check("MC-LOCALITY-004")
@pytest.mark.mesh_sees(observe=journeys)
def test_requests_return_to_the_nearest_when_these_are_back(
    mesh: Mesh, snapshot: Snapshot, seen: Sequence[Journey], expect: Expect
) -> None:
    """Once with their endpoints, and once when their ejection is over."""
    expect(returns(mesh, snapshot, seen, EJECTION_SECONDS))


@pytest.mark.mesh_check("MC-LOCALITY-005")
@pytest.mark.mesh_sees(
    observe=lambda run: failover_maps(run.traffic(), run.kubes(), places(run.read_snapshot()))
)
def test_a_failover_map_decides_which_region_is_next(
    mesh: Mesh, snapshot: Snapshot, seen: Sequence[Journey], expect: Expect
) -> None:
    """The last of the other regions is named as the next; then that is taken away, too."""
    expect(map_decides(mesh, snapshot, seen))
