"""Endpoints, as istiod and as proxies know them."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.discovery.static import endpoints_as_implied, shards_complete
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.snapshot import Snapshot


@pytest.mark.mesh_check("MC-DISCOVERY-001")
def test_every_istiod_holds_the_endpoints_of_every_cluster(
    snapshot: Snapshot, expect: Expect
) -> None:
    """In every replica, with the right network and TLS mode."""
    expect(shards_complete(snapshot))


@pytest.mark.mesh_check("MC-DISCOVERY-002")
def test_every_proxy_holds_exactly_the_endpoints_that_the_spec_implies(
    snapshot: Snapshot, expect: Expect
) -> None:
    """Pods of its own network, gateways of the others, in the right locality."""
    expect(endpoints_as_implied(snapshot))
