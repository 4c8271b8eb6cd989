"""Services of other meshes, under the names that ServiceEntries give them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from pytest_istio_mc.checks.federation.live import imported_services_answer, only_exported_services
from pytest_istio_mc.checks.federation.observe import imported_calls, not_exported
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import GatewayAddress
from pytest_istio_mc.probes.traffic import Traffic
from pytest_istio_mc.snapshot import Snapshot


@pytest.mark.mesh_check("MC-FEDERATION-001")
def test_an_imported_service_answers_with_mutual_tls(
    mesh: Mesh,
    snapshot: Snapshot,
    kubes: Mapping[str, Kube],
    traffic: Traffic,
    gateways: Sequence[GatewayAddress],
    own_namespace: Callable[[str], str],
    expect: Expect,
) -> None:
    """Every mesh imports the probe service of every other one; its clients are answered there, and both sides see who the other is."""
    calls, converged = imported_calls(traffic, kubes, gateways, own_namespace("imports"))
    if converged is not None:
        expect.converged("imported services answer", converged)

    expect(imported_services_answer(mesh, snapshot, calls))


@pytest.mark.mesh_check("MC-FEDERATION-003")
def test_only_exported_services_are_reachable(
    mesh: Mesh,
    kubes: Mapping[str, Kube],
    traffic: Traffic,
    gateways: Sequence[GatewayAddress],
    expect: Expect,
) -> None:
    """Of two services that differ in nothing else, the one that is kept to its namespace is refused at the gateway."""
    attempts = not_exported(traffic, kubes, gateways)

    expect(only_exported_services(mesh, attempts))
