"""What clusters and networks are called."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.control_plane.static import cluster_names, networks, one_mesh_id
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.snapshot import Snapshot


@pytest.mark.mesh_check("MC-CONTROL-001")
def test_there_is_one_mesh_id(snapshot: Snapshot, expect: Expect) -> None:
    """Injectors and proxies carry it."""
    expect(one_mesh_id(snapshot))


@pytest.mark.mesh_check("MC-CONTROL-002")
def test_cluster_names_are_unique_and_the_same_everywhere(
    snapshot: Snapshot, expect: Expect
) -> None:
    """In istiod, in its proxies, and in the remote secrets of the others."""
    expect(cluster_names(snapshot))


@pytest.mark.mesh_check("MC-CONTROL-003")
def test_networks_are_labelled_as_the_spec_says(snapshot: Snapshot, expect: Expect) -> None:
    """System namespace, injector, proxies and gateway agree."""
    expect(networks(snapshot))
