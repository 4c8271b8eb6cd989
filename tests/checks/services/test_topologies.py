"""Services of users in every topology: healthy ones are not blamed, and mistakes are found."""

from __future__ import annotations

import pytest

from pytest_istio_mc.checks.tracing.call import Caller
from pytest_istio_mc.checks.tracing.explained import explain
from pytest_istio_mc.checks.tracing.trace import State
from pytest_istio_mc.verdicts import Finding, Outcome, Weight
from tests.checks.services.planted import Planted
from tests.checks.test_static import HEALTHY
from tests.static_checks import judge_all, texts

ROUTE = "VirtualService.networking.istio.io"
RULE = "DestinationRule.networking.istio.io"
DEMAND = "PeerAuthentication.security.istio.io"
POLICY = "AuthorizationPolicy.security.istio.io"
SHARED = [name for name in HEALTHY if name != "healthy-federated"]


def found(planted: Planted, *, gaps: bool = False) -> list[Finding]:
    verdicts = judge_all(planted.snapshot())
    mine = {id: one for id, one in verdicts.items() if "SERVICE" in id}
    open_ones = [
        f"{id}: {one.reason}"
        for id, one in mine.items()
        if one.outcome is Outcome.INCONCLUSIVE and not gaps
    ]
    assert open_ones == []
    assert any(one.outcome is not Outcome.NOT_APPLICABLE for one in mine.values())
    every = [finding for one in mine.values() for finding in one.findings]
    return [one for one in every if one.weight is not Weight.NOTE]


@pytest.mark.parametrize("mesh", HEALTHY)
def test_a_healthy_service_in_every_cluster_is_not_blamed(mesh: str) -> None:
    assert [texts(one) for one in found(Planted(mesh))] == []


@pytest.mark.parametrize("mesh", HEALTHY)
def test_a_service_with_pods_in_one_cluster_is_not_blamed(mesh: str) -> None:
    planted = Planted(mesh)
    first = planted.spec.data_planes[0].name

    assert [texts(one) for one in found(Planted(mesh, first))] == []


@pytest.mark.parametrize("mesh", HEALTHY)
def test_rightly_used_rules_are_not_blamed(mesh: str) -> None:
    planted = Planted(mesh)
    subset = {"name": "v1", "labels": {"version": "v1"}}
    mutual = {"tls": {"mode": "ISTIO_MUTUAL"}}
    rule = {"host": "cart", "trafficPolicy": mutual, "subsets": [subset]}
    planted.apply(RULE, "cart", rule)
    destination = {"host": planted.host, "subset": "v1", "port": {"number": 80}}
    routes = [{"route": [{"destination": destination}]}]
    planted.apply(ROUTE, "cart", {"hosts": ["cart"], "http": routes})
    planted.apply(DEMAND, "default", {"mtls": {"mode": "STRICT"}})
    source = {"source": {"namespaces": ["shop"]}}
    planted.apply(POLICY, "allow", {"action": "ALLOW", "rules": [{"from": [source]}]})

    assert [texts(one) for one in found(planted)] == []


@pytest.mark.parametrize("mesh", HEALTHY)
def test_a_route_to_nothing_is_found(mesh: str) -> None:
    planted = Planted(mesh)
    routes = [{"route": [{"destination": {"host": "kart"}}]}]
    planted.apply(ROUTE, "cart", {"hosts": ["cart"], "http": routes})

    faults = {(one.fault, one.weight) for one in found(planted)}

    assert faults == {("route-host-missing", Weight.BROKEN)}


@pytest.mark.parametrize("mesh", HEALTHY)
def test_plaintext_under_strict_is_found(mesh: str) -> None:
    planted = Planted(mesh)
    policy = {"tls": {"mode": "DISABLE"}}
    planted.apply(RULE, "cart", {"host": planted.host, "trafficPolicy": policy})
    planted.apply(DEMAND, "default", {"mtls": {"mode": "STRICT"}})

    assert "tls-strict" in {one.fault for one in found(planted)}


@pytest.mark.parametrize("mesh", HEALTHY)
def test_a_policy_for_nobody_is_found(mesh: str) -> None:
    planted = Planted(mesh)
    source = {"source": {"principals": ["old.example/ns/shop/sa/front"]}}
    planted.apply(POLICY, "allow", {"action": "ALLOW", "rules": [{"from": [source]}]})

    assert {one.fault for one in found(planted)} == {"policy-trust-domain"}


@pytest.mark.parametrize("mesh", SHARED)
def test_plaintext_keeps_other_networks_away_and_the_own_not(mesh: str) -> None:
    first = Planted(mesh).spec.data_planes[0]
    planted = Planted(mesh, first.name)
    planted.apply(
        RULE, "cart", {"host": planted.host, "trafficPolicy": {"tls": {"mode": "DISABLE"}}}
    )
    away = [one.name for one in planted.spec.data_planes if one.network != first.network]

    broken = [one for one in found(planted) if one.fault == "reach-plaintext"]

    assert bool(broken) is bool(away)
    assert {name for one in broken for name in one.clusters} == {
        *away,
        *([first.name] if away else ()),
    }


@pytest.mark.parametrize("mesh", SHARED)
def test_requests_are_explained_between_all_clusters(mesh: str) -> None:
    snapshot = Planted(mesh).snapshot()

    for cluster in snapshot.spec.data_planes:
        explained = explain(snapshot, Caller(cluster.name, "shop", "front"), "cart")
        assert {one.target for one in explained.traces} == {
            one.name for one in snapshot.spec.data_planes
        }
        hops = {
            str(hop) for one in explained.traces for hop in one.hops if hop.state is not State.GOOD
        }
        assert hops == set()
