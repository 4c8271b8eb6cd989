"""The judge of networks, where clusters are on one."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.control_plane.static import networks
from pytest_istio_mc.istio_names import NETWORK_LABEL
from pytest_istio_mc.verdicts import Outcome
from tests.checks.topologies import found, recorded


@pytest.mark.parametrize("topology", ["flat-multi-primary", "flat-primary-remote"])
def test_one_name_for_one_network_is_conformant(topology: str) -> None:
    assert networks(recorded(topology)).outcome is Outcome.CONFORMANT


def test_a_network_may_go_without_a_name() -> None:
    snapshot = recorded("flat-multi-primary")
    for cluster in ("cluster1", "cluster2"):
        found(snapshot, cluster, "Namespace", "istio-system")["metadata"]["labels"].pop(
            NETWORK_LABEL, None
        )

    assert networks(snapshot).outcome is Outcome.CONFORMANT


def test_two_names_for_one_network_are_found() -> None:
    snapshot = recorded("flat-multi-primary")
    found(snapshot, "cluster2", "Namespace", "istio-system")["metadata"]["labels"][
        NETWORK_LABEL
    ] = "network2"
    found(snapshot, "cluster2", "ConfigMap", "istio-sidecar-injector")["data"]["values"][
        "network"
    ] = "network2"

    (finding,) = networks(snapshot).findings

    assert (finding.fault, finding.clusters) == ("cp-network-split", ("cluster1", "cluster2"))
    label = f"label namespace/istio-system {NETWORK_LABEL}=network1 --overwrite"
    assert f"--context=cluster2 {label}" in finding.remedy
    assert """sed -E 's/("network": *)"network2"/\\1"network1"/'""" in finding.remedy
