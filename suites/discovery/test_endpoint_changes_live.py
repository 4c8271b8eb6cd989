"""Endpoints that come and go, seen from every cluster while requests never stop."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.discovery.changes import (
    arrival,
    departure,
    leaving_endpoints_gone,
    new_endpoints_seen,
)
from pytest_istio_mc.checks.discovery.facts import EndpointChanges
from pytest_istio_mc.checks.discovery.observe_changes import appearing, leaving
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.evidence.pictures import timeline_evidence
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.mesh import Mesh


@pytest.mark.mesh_check("MC-DISCOVERY-004")
@pytest.mark.mesh_sees(observe=lambda run: appearing(run.traffic(), run.kubes()))
def test_a_new_endpoint_is_seen_everywhere(
    mesh: Mesh, seen: EndpointChanges, timeouts: Timeouts, expect: Expect
) -> None:
    """A service without instances gets its first one, in each cluster in turn of its own service, while everybody asks for it."""
    if (converged := arrival(seen)) is not None:
        expect.converged("a new endpoint answers in every cluster", converged)

    evidence = timeline_evidence(seen.timeline, "new endpoints")
    expect(new_endpoints_seen(mesh, seen, timeouts.endpoint_propagation, evidence))


@pytest.mark.mesh_check("MC-DISCOVERY-005")
@pytest.mark.mesh_sees(observe=lambda run: leaving(run.traffic(), run.kubes()))
def test_an_endpoint_leaves_without_a_failed_request(
    mesh: Mesh, seen: EndpointChanges, timeouts: Timeouts, expect: Expect
) -> None:
    """A service with instances everywhere loses those of one cluster, while everybody asks for it over new and kept connections."""
    if (converged := departure(seen)) is not None:
        expect.converged("an endpoint that left is not asked any more", converged)

    evidence = timeline_evidence(seen.timeline, "endpoints that leave")
    expect(leaving_endpoints_gone(mesh, seen, timeouts.endpoint_propagation, evidence))
