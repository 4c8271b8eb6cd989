"""East-west gateways that lose a pod."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from pytest_istio_mc.checks.eastwest.fault import gateway_pod_lost
from pytest_istio_mc.checks.eastwest.observe import lose_gateway
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.faults import Faults
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import GatewayAddress
from pytest_istio_mc.probes.traffic import Traffic


@pytest.mark.mesh_check("MC-EASTWEST-008")
def test_a_gateway_gets_over_the_loss_of_a_pod(
    mesh: Mesh,
    traffic: Traffic,
    kubes: Mapping[str, Kube],
    faults: Faults,
    gateways: Sequence[GatewayAddress],
    timeouts: Timeouts,
    expect: Expect,
) -> None:
    """Requests from other networks go on meanwhile: with one pod, and with two."""
    losses = lose_gateway(traffic, kubes, faults, gateways[-1])

    expect(gateway_pod_lost(mesh, losses, timeouts))
