"""How clusters without an istiod of their own hang on to the one that serves them."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.control_plane.remote_clusters import remote_clusters_attached
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.snapshot import Snapshot


@pytest.mark.mesh_check("MC-CONTROL-007")
def test_remote_clusters_are_attached_to_their_control_plane(
    snapshot: Snapshot, expect: Expect
) -> None:
    """Annotation, injection path, CA bundle, address, and a handshake on both ports from a pod of the remote cluster."""
    expect(remote_clusters_attached(snapshot))
