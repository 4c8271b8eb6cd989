"""Where nodes, proxies and endpoints are."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.locality.static import localities_known
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.snapshot import Snapshot


@pytest.mark.mesh_check("MC-LOCALITY-001")
def test_proxies_know_their_own_and_each_endpoints_locality(
    snapshot: Snapshot, expect: Expect
) -> None:
    """Node labels against the spec; what istiod takes proxies for, and what proxies take endpoints for, against the nodes."""
    expect(localities_known(snapshot))
