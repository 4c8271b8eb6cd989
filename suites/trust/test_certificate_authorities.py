"""The certificate authorities of a mesh and the roots that they hand out."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.trust.cacerts import well_formed_cacerts
from pytest_istio_mc.checks.trust.expiry import nothing_expires
from pytest_istio_mc.checks.trust.static import (
    common_root,
    distributed_root,
    plugged_in_authorities,
)
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.snapshot import Snapshot


@pytest.mark.mesh_check("MC-TRUST-001")
def test_all_control_planes_chain_to_one_root(snapshot: Snapshot, expect: Expect) -> None:
    """What one cluster signs is accepted under the root of every other one."""
    expect(common_root(snapshot))


@pytest.mark.mesh_check("MC-TRUST-002")
def test_every_control_plane_signs_with_a_plugged_in_authority(
    snapshot: Snapshot, expect: Expect
) -> None:
    """No istiod made a root of its own, which nobody else would trust."""
    expect(plugged_in_authorities(snapshot))


@pytest.mark.mesh_check("MC-TRUST-003")
def test_cacerts_is_well_formed(snapshot: Snapshot, expect: Expect) -> None:
    """istiod can start with it, and peers can follow the chain that it hands out."""
    expect(well_formed_cacerts(snapshot))


@pytest.mark.mesh_check("MC-TRUST-004")
def test_every_namespace_has_the_root_of_its_control_plane(
    snapshot: Snapshot, expect: Expect
) -> None:
    """New pods verify istiod and their peers with the right root."""
    expect(distributed_root(snapshot))


@pytest.mark.mesh_check("MC-TRUST-005")
def test_nothing_expires_within_the_horizon(snapshot: Snapshot, expect: Expect) -> None:
    """Roots, intermediates, workload certificates and remote tokens are renewed in time."""
    expect(nothing_expires(snapshot))
