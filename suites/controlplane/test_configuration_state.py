"""What proxies and services have of the configuration."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.control_plane.proxies import proxies_in_sync
from pytest_istio_mc.checks.control_plane.sameness import namespace_sameness
from pytest_istio_mc.checks.control_plane.versions import supported_skew
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.snapshot import Snapshot


@pytest.mark.mesh_check("MC-CONTROL-005")
def test_every_proxy_is_connected_and_in_sync(snapshot: Snapshot, expect: Expect) -> None:
    """None has rejected a configuration, none is stuck with an old one."""
    expect(proxies_in_sync(snapshot))


@pytest.mark.mesh_check("MC-CONTROL-006")
def test_versions_are_within_the_supported_skew(snapshot: Snapshot, expect: Expect) -> None:
    """Control planes among each other, and each with its proxies."""
    expect(supported_skew(snapshot))


@pytest.mark.mesh_check("MC-CONTROL-008")
def test_a_service_is_the_same_in_every_cluster(snapshot: Snapshot, expect: Expect) -> None:
    """Same ports, protocols and headlessness wherever its name exists."""
    expect(namespace_sameness(snapshot))
