"""What requests may speak, and services whose names lead straight to their instances."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_istio_mc.checks.discovery.facts import HeadlessName
from pytest_istio_mc.checks.discovery.headless import headless_instances_reached
from pytest_istio_mc.checks.discovery.observe import headless_calls
from pytest_istio_mc.checks.discovery.reach import every_protocol_reaches
from pytest_istio_mc.eventually import Converged, Timeouts
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import Protocol
from pytest_istio_mc.probes.traffic import Traffic
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.statistics import MISS_PROBABILITY


@pytest.mark.mesh_check("MC-DISCOVERY-007")
@pytest.mark.mesh_sees(observe=lambda run: headless_calls(run.traffic(), run.kubes()))
def test_a_headless_service_leads_to_each_of_its_instances(
    mesh: Mesh,
    seen: tuple[tuple[HeadlessName, ...], Converged[Any] | None],
    timeouts: Timeouts,
    expect: Expect,
) -> None:
    """Under its name, and at the address of each instance on the client's network, which is what its name is for."""
    calls, converged = seen
    if converged is not None:
        expect.converged("a headless service answers at every instance's address", converged)

    expect(headless_instances_reached(mesh, calls, timeouts.endpoint_propagation))


@pytest.mark.mesh_check("MC-DISCOVERY-008")
def test_every_protocol_reaches_every_cluster(
    mesh: Mesh, snapshot: Snapshot, traffic: Traffic, expect: Expect
) -> None:
    """Enough TCP connections and HTTP/2 requests from every cluster to see the instances of every cluster answer."""
    sent = {protocol: traffic.reach(protocol) for protocol in (Protocol.TCP, Protocol.HTTP2)}

    expect(every_protocol_reaches(mesh, snapshot, sent, MISS_PROBABILITY))
