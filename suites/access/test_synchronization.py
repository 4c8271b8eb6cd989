"""What istiod makes of its remote clusters."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.access.synced import replicas_agree, synced_now
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.snapshot import Snapshot


@pytest.mark.mesh_check("MC-ACCESS-006")
def test_every_istiod_replica_is_synced_with_every_cluster_now(
    snapshot: Snapshot, expect: Expect
) -> None:
    """Synced once is not enough: the cluster answers at this moment."""
    expect(synced_now(snapshot))


@pytest.mark.mesh_check("MC-ACCESS-007")
def test_istiod_replicas_agree(snapshot: Snapshot, expect: Expect) -> None:
    """They hold the same remote clusters, gateways and endpoints."""
    expect(replicas_agree(snapshot))
