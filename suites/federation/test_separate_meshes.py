"""What separate meshes must not share."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.federation.static import nothing_shared
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.snapshot import Snapshot


@pytest.mark.mesh_check("MC-FEDERATION-002")
def test_meshes_share_no_configuration(snapshot: Snapshot, expect: Expect) -> None:
    """No control plane has access to another mesh's API server, knows its endpoints, or serves its proxies."""
    expect(nothing_shared(snapshot))
