"""Which instances answer: the nearest, the next nearest when those are gone or ill, and the nearest again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from pytest_istio_mc import localities
from pytest_istio_mc.checks import locality_live
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.localities import Journey
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.probes.localities import EJECTION_SECONDS, FAILURES_TO_EJECT, failover_maps, failovers
from pytest_istio_mc.probes.traffic import MISS_PROBABILITY, Traffic
from pytest_istio_mc.snapshot import Snapshot


@pytest.fixture(scope="module")
def journeys(snapshot: Snapshot, kubes: Mapping[str, Kube], traffic: Traffic) -> Sequence[Journey]:
    """From every cluster: its nearest endpoints taken away and given back, made ill and well again, and who answered meanwhile."""
    return failovers(traffic, kubes, localities.places(snapshot))


@pytest.mark.mesh_check("MC-LOCALITY-002")
def test_the_nearest_instances_answer(mesh: Mesh, snapshot: Snapshot, journeys: Sequence[Journey], expect: Expect) -> None:
    """All instances are there, and the service has outlier detection."""
    expect(locality_live.local_first(mesh, snapshot, journeys, MISS_PROBABILITY))


@pytest.mark.mesh_check("MC-LOCALITY-003")
def test_the_next_nearest_answer_when_the_nearest_are_gone_or_ill(
    mesh: Mesh, snapshot: Snapshot, journeys: Sequence[Journey], expect: Expect
) -> None:
    """Tier by tier, first without endpoints, then with endpoints that answer with errors."""
    expect(locality_live.fails_over_in_order(mesh, snapshot, journeys, FAILURES_TO_EJECT))


@pytest.mark.mesh_check("MC-LOCALITY-004")
def test_requests_return_to_the_nearest_when_these_are_back(
    mesh: Mesh, snapshot: Snapshot, journeys: Sequence[Journey], expect: Expect
) -> None:
    """Once with their endpoints, and once when their ejection is over."""
    expect(locality_live.returns(mesh, snapshot, journeys, EJECTION_SECONDS))


@pytest.mark.mesh_check("MC-LOCALITY-005")
def test_a_failover_map_decides_which_region_is_next(
    mesh: Mesh, snapshot: Snapshot, kubes: Mapping[str, Kube], traffic: Traffic, expect: Expect
) -> None:
    """The last of the other regions is named as the next; then that is taken away, too."""
    expect(locality_live.map_decides(mesh, snapshot, failover_maps(traffic, kubes, localities.places(snapshot))))
