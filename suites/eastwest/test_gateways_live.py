"""What east-west gateways let through, and what not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_istio_mc.checks.eastwest.live import (
    names_lead_to_services,
    only_way,
    reachable,
    tls_passes_through,
    unknown_names_refused,
)
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import GatewayAddress, NamedCall
from pytest_istio_mc.probes import trials
from pytest_istio_mc.probes.traffic import Traffic
from pytest_istio_mc.snapshot import Snapshot


@pytest.fixture(scope="module")
def named_calls(traffic: Traffic, gateways: Sequence[GatewayAddress]) -> tuple[NamedCall, ...]:
    """Handshakes with every gateway that named the probe services, with a request inside each."""
    return trials.named_calls(traffic, gateways)


@pytest.mark.mesh_check("MC-EASTWEST-003")
def test_the_gateway_is_reachable_from_every_other_network(
    mesh: Mesh,
    snapshot: Snapshot,
    traffic: Traffic,
    gateways: Sequence[GatewayAddress],
    expect: Expect,
) -> None:
    """The clients of every other network can connect to every address of every gateway."""
    connections = trials.gateway_connections(traffic, gateways)

    expect(reachable(mesh, snapshot, gateways, connections))


@pytest.mark.mesh_check("MC-EASTWEST-004")
def test_every_name_leads_to_exactly_its_service_and_subset(
    mesh: Mesh,
    snapshot: Snapshot,
    gateways: Sequence[GatewayAddress],
    named_calls: Sequence[NamedCall],
    expect: Expect,
) -> None:
    """The server name alone decides which service, port and subset answers; no VirtualService is needed."""
    expect(names_lead_to_services(mesh, snapshot, gateways, named_calls))


@pytest.mark.mesh_check("MC-EASTWEST-005")
def test_the_gateway_does_not_terminate_tls(
    mesh: Mesh, gateways: Sequence[GatewayAddress], named_calls: Sequence[NamedCall], expect: Expect
) -> None:
    """The certificate that a client sees through the gateway is the workload's own, from the mesh's root."""
    expect(tls_passes_through(mesh, gateways, named_calls))


@pytest.mark.mesh_check("MC-EASTWEST-006")
def test_unknown_names_no_name_and_plaintext_are_refused(
    mesh: Mesh, traffic: Traffic, gateways: Sequence[GatewayAddress], expect: Expect
) -> None:
    """What is no service of the mesh gets no handshake at a gateway."""
    attempts = trials.unknown_names(traffic, gateways)

    expect(unknown_names_refused(mesh, attempts))


@pytest.mark.mesh_check("MC-EASTWEST-007")
def test_the_gateway_is_the_only_way_between_networks(
    mesh: Mesh, traffic: Traffic, expect: Expect
) -> None:
    """Pods of another network cannot be reached directly; those of the same network can."""
    attempts = trials.past_the_gateway(traffic)

    expect(only_way(mesh, attempts))
