"""Which instances answer: the nearest, the next nearest when those are gone or ill, and the nearest again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from pytest_istio_mc import localities
from pytest_istio_mc.checks import locality_live
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.localities import Stage
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.probes.localities import EJECTION_SECONDS, failovers
from pytest_istio_mc.probes.traffic import MISS_PROBABILITY, Traffic
from pytest_istio_mc.snapshot import Snapshot


@pytest.fixture(scope="module")
def stages(snapshot: Snapshot, kubes: Mapping[str, Kube], traffic: Traffic) -> Sequence[Stage]:
    """From every cluster: its nearest endpoints taken away and given back, made ill and healed, and who answered in each stage."""
    return failovers(traffic, kubes, localities.places(snapshot))


@pytest.mark.mesh_check("MC-LOCALITY-002")
def test_the_nearest_instances_answer(mesh: Mesh, snapshot: Snapshot, stages: Sequence[Stage], expect: Expect) -> None:
    """All instances are there, and the service has outlier detection."""
    expect(locality_live.local_first(mesh, snapshot, stages, MISS_PROBABILITY))


@pytest.mark.mesh_check("MC-LOCALITY-003")
def test_the_next_nearest_answer_when_the_nearest_are_gone_or_ill(
    mesh: Mesh, snapshot: Snapshot, stages: Sequence[Stage], expect: Expect
) -> None:
    """Tier by tier, first without endpoints, then with endpoints that answer with errors."""
    expect(locality_live.fails_over_in_order(mesh, snapshot, stages))


@pytest.mark.mesh_check("MC-LOCALITY-004")
def test_requests_return_to_the_nearest_when_these_are_back(
    mesh: Mesh, snapshot: Snapshot, stages: Sequence[Stage], expect: Expect
) -> None:
    """Once with their endpoints, and once when their ejection is over."""
    expect(locality_live.returns(mesh, snapshot, stages, EJECTION_SECONDS))
