"""Services that exist in one cluster only."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_istio_mc.checks.discovery.elsewhere import service_in_one_cluster
from pytest_istio_mc.checks.discovery.observe import services_elsewhere
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.probes.traffic import Traffic


@pytest.mark.mesh_check("MC-DISCOVERY-006")
def test_a_service_of_one_cluster_is_reached_from_the_others(
    mesh: Mesh, kubes: Mapping[str, Kube], traffic: Traffic, expect: Expect
) -> None:
    """Under its name where that resolves, and else through any address, since the sidecar goes by the name in the request."""
    calls, converged = services_elsewhere(traffic, kubes)
    if converged is not None:
        expect.converged("services of one cluster answer in all others", converged)

    expect(service_in_one_cluster(mesh, calls))
