"""Mutual TLS between clusters, seen on the wire."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_istio_mc.checks.trust.live import (
    foreign_certificate_refused,
    mutual_tls,
    plaintext_refused,
)
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import GatewayAddress
from pytest_istio_mc.probes import trials
from pytest_istio_mc.probes.traffic import Traffic
from pytest_istio_mc.snapshot import Snapshot


@pytest.mark.mesh_check("MC-TRUST-008")
def test_every_pair_of_clusters_completes_mutual_tls(
    mesh: Mesh,
    snapshot: Snapshot,
    traffic: Traffic,
    gateways: Sequence[GatewayAddress],
    expect: Expect,
) -> None:
    """Every client reaches every cluster with mutual TLS, and both sidecars see the identity that they should."""
    requests = traffic.reach()
    handshakes = trials.mutual_tls(traffic, gateways)

    expect(mutual_tls(mesh, snapshot, requests, handshakes))


@pytest.mark.mesh_check("MC-TRUST-009")
def test_plaintext_to_a_strict_workload_is_refused(
    mesh: Mesh, traffic: Traffic, gateways: Sequence[GatewayAddress], expect: Expect
) -> None:
    """Without a client certificate nobody gets through to a STRICT port, from no cluster."""
    attempts = trials.plaintext(traffic, gateways)

    expect(plaintext_refused(mesh, attempts))


@pytest.mark.mesh_check("MC-TRUST-010")
def test_a_client_certificate_from_a_foreign_root_is_refused(
    mesh: Mesh, traffic: Traffic, gateways: Sequence[GatewayAddress], expect: Expect
) -> None:
    """A certificate that names the client, but comes from a root that the mesh does not know, opens nothing."""
    attempts = trials.foreign_certificate(traffic, gateways)

    expect(foreign_certificate_refused(mesh, attempts))
