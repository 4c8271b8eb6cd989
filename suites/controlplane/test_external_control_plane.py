"""Where an external control plane runs."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.control_plane.external import istiod_is_outside
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.snapshot import Snapshot


@pytest.mark.mesh_check("MC-CONTROL-010")
def test_the_external_istiod_is_outside(snapshot: Snapshot, expect: Expect) -> None:
    """No istiod runs in a cluster that it serves, and it reads its configuration in its config cluster."""
    expect(istiod_is_outside(snapshot))
