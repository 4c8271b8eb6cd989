"""Faults of localities that static checks find, each as the one root cause."""

from __future__ import annotations

import pytest

from tests.checks.seeding import Case, Faults, endpoint_configs
from tests.fake_clusters import FakeMesh

fault = Faults()


@fault("MC-LOCALITY-001", "loc-wrong", "cluster1", "cluster2")
def endpoints_in_the_wrong_place(mesh: FakeMesh) -> None:
    for entry in endpoint_configs(mesh, "client-1"):
        entry["endpoint_config"]["endpoints"][1]["locality"] = {}


@fault(
    "MC-LOCALITY-001",
    "loc-node-labels",
    "cluster2",
    remedy="kubectl --context=ctx-2 label node/node2 --overwrite",
)
def nodes_without_a_region(mesh: FakeMesh) -> None:
    del mesh[2].objects["Node"][0]["metadata"]["labels"]


@fault("MC-LOCALITY-001", "loc-proxy", "cluster1", remedy="delete pod/client-1")
def proxy_that_connected_before_its_node_was_labelled(mesh: FakeMesh) -> None:
    mesh[1].istiod("adsz")["clients"][0]["locality"] = {}


@pytest.mark.parametrize("case", fault.cases)
def test_a_fault_is_the_one_root_cause(case: Case) -> None:
    case.assert_one_root_cause()
