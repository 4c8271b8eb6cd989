"""East-west gateways as they are configured."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.eastwest.exposure import nothing_else_exposed
from pytest_istio_mc.checks.eastwest.static import gateways_configured, gateways_with_addresses
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.snapshot import Snapshot


@pytest.mark.mesh_check("MC-EASTWEST-001")
def test_every_network_has_a_gateway_with_an_address(snapshot: Snapshot, expect: Expect) -> None:
    """With ready pods, and known to every control plane."""
    expect(gateways_with_addresses(snapshot))


@pytest.mark.mesh_check("MC-EASTWEST-002")
def test_every_gateway_passes_the_hosts_of_the_mesh_through(
    snapshot: Snapshot, expect: Expect
) -> None:
    """Label, port, and a Gateway with AUTO_PASSTHROUGH."""
    expect(gateways_configured(snapshot))


@pytest.mark.mesh_check("MC-EASTWEST-009")
def test_no_gateway_exposes_hosts_outside_the_mesh(snapshot: Snapshot, expect: Expect) -> None:
    """Neither by its configuration nor by the SNI names that it accepts."""
    expect(nothing_else_exposed(snapshot))
