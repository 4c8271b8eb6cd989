"""The remote secrets by which control planes watch other clusters."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.access.remote_secrets import no_stale_secrets, remote_secrets
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.snapshot import Snapshot


@pytest.mark.mesh_check("MC-ACCESS-001")
def test_every_control_plane_holds_one_remote_secret_for_each_other_cluster(
    snapshot: Snapshot, expect: Expect
) -> None:
    """In istiod's namespace, with its label, under the name of the cluster."""
    expect(remote_secrets(snapshot))


@pytest.mark.mesh_check("MC-ACCESS-008")
def test_no_remote_secret_is_left_over(snapshot: Snapshot, expect: Expect) -> None:
    """None for a cluster that is gone, none twice, none for the cluster itself."""
    expect(no_stale_secrets(snapshot))
