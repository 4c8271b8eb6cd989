"""Whether requests reach the instances of every cluster."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_istio_mc.checks.discovery.reach import every_cluster_reached
from pytest_istio_mc.fixtures.expect import Expect
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import GatewayAddress
from pytest_istio_mc.probes import trials
from pytest_istio_mc.probes.traffic import Traffic
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.statistics import MISS_PROBABILITY


@pytest.mark.mesh_check("MC-DISCOVERY-003")
def test_every_workload_reaches_every_clusters_instances(
    mesh: Mesh,
    snapshot: Snapshot,
    traffic: Traffic,
    gateways: Sequence[GatewayAddress],
    expect: Expect,
) -> None:
    """Enough requests from every cluster to see the instances of every cluster answer, each told by its identity."""
    requests = traffic.reach_instances()
    handshakes = trials.mutual_tls(traffic, gateways)

    expect(every_cluster_reached(mesh, snapshot, requests, handshakes, MISS_PROBABILITY))
