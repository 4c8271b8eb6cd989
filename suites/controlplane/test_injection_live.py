"""What the sidecar injector of each cluster gives to pods."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_istio_mc.checks.control_plane.live import injection
from pytest_istio_mc.checks.control_plane.observe import injections, revisions
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh


@pytest.mark.mesh_check("MC-CONTROL-004")
def test_injection_yields_the_right_identity_in_every_cluster(
    mesh: Mesh, kubes: Mapping[str, Kube], expect: Expect
) -> None:
    """Pods get a sidecar with their cluster's id, network, mesh id and revision; those that opt out get none."""
    seen = injections(mesh, kubes)

    expect(injection(mesh, seen, revisions(mesh, kubes)))
