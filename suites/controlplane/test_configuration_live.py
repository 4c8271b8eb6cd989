"""In whose proxies configuration comes into force."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from pytest_istio_mc.checks.control_plane.live import configuration_source
from pytest_istio_mc.checks.control_plane.observe import config_in_force, reads_from
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.probes.traffic import Traffic


@pytest.mark.mesh_check("MC-CONTROL-009")
def test_configuration_is_read_from_the_right_cluster_only(
    mesh: Mesh,
    kubes: Mapping[str, Kube],
    traffic: Traffic,
    own_namespace: Callable[[str], str],
    expect: Expect,
) -> None:
    """A route that is applied in one cluster is in force for the proxies of the control plane that reads it there, and for no others."""
    seen, converged = config_in_force(traffic, kubes, own_namespace("config"))
    if converged is not None:
        expect.converged("configuration in force in the proxies that it is for", converged)

    expect(
        configuration_source(
            mesh,
            seen,
            {cluster.name: reads_from(mesh, cluster.name) for cluster in mesh.spec.data_planes},
        )
    )
