"""Facts that could not be had make checks inconclusive and are never faults."""

from __future__ import annotations

import pytest

from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.verdicts import Outcome
from tests.fake_clusters import FakeMesh
from tests.static_checks import judge_all

ENDPOINTS = ("clusterz", "syncz", "networkz", "endpointShardz", "mesh", "adsz")
KINDS = ("Secret", "Service", "Pod", "Namespace", "ConfigMap", "EndpointSlice.discovery.k8s.io")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_debug_endpoint_that_refuses_is_inconclusive_and_never_a_fault(endpoint: str) -> None:
    mesh = FakeMesh()
    for port in (8080, 15014):
        refusal = KubeError("istiod-1", endpoint, "Unauthorized", status=401)
        mesh[1].answers[("istiod-1", port, f"/debug/{endpoint}")] = refusal

    outcomes = {verdict.outcome for verdict in judge_all(mesh.record()).values()}

    assert Outcome.INCONCLUSIVE in outcomes
    assert Outcome.NON_CONFORMANT not in outcomes


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_may_not_be_listed_is_inconclusive_and_never_a_fault(kind: str) -> None:
    mesh = FakeMesh()
    mesh[1].refused = (kind,)

    verdicts = judge_all(mesh.record()).values()

    wrong = [one for one in verdicts if one.outcome is Outcome.NON_CONFORMANT]
    assert [f"{one.check}: {one.reason}" for one in wrong] == []
    assert any(one.outcome is Outcome.INCONCLUSIVE for one in verdicts)
