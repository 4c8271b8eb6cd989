"""The users' own services: every mistake is told by its object, and its twin is not blamed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_istio_mc.verdicts import Finding, Outcome, Weight
from tests.checks.services import mistakes
from tests.checks.services.mistakes import MISTAKES, Mistake
from tests.checks.services.shop import DOMAIN, Shop
from tests.static_checks import judge_all, taken_away, texts


def found(shop: Shop) -> dict[str, list[Finding]]:
    """What the checks of services find, by check, notes left out."""
    verdicts = judge_all(shop.record())
    wrong = [
        f"{one.check} {one.outcome.value}: {one.reason}"
        for one in verdicts.values()
        if one.outcome is Outcome.INCONCLUSIVE
        or (one.outcome is Outcome.NON_CONFORMANT and "SERVICE" not in one.check)
    ]
    assert wrong == []
    return {
        id: [item for item in one.findings if item.weight is not Weight.NOTE]
        for id, one in verdicts.items()
        if "SERVICE" in id
    }


def told(findings: dict[str, list[Finding]]) -> str:
    return "\n".join(
        f"{id} {one.fault} {one.weight.value}: {texts(one)}"
        for id, every in findings.items()
        for one in every
    )


@pytest.mark.parametrize("case", MISTAKES, ids=str)
def test_a_mistake_is_told_by_its_object_and_line(case: Mistake) -> None:
    shop = Shop()
    case.seed(shop)

    findings = found(shop)

    mine = [one for one in findings[case.check] if one.fault == case.fault]
    assert mine, told(findings)
    assert {one.weight for one in mine} == {case.weight}, told(findings)
    assert any(all(name in texts(one) for name in case.names) for one in mine), told(findings)
    assert all(case.remedy in one.remedy for one in mine), told(findings)
    assert all(one.remedy and one.seen and one.expected for one in mine), told(findings)
    assert not any(taken_away(one.remedy) for one in mine), told(findings)


@pytest.mark.parametrize("case", MISTAKES, ids=str)
def test_the_twin_of_a_mistake_is_not_blamed(case: Mistake) -> None:
    shop = Shop()
    case.twin(shop)

    findings = found(shop)

    assert told({case.check: findings[case.check]}) == ""
    broken = [one for every in findings.values() for one in every if one.weight is Weight.BROKEN]
    assert told({"": broken}) == ""


def test_there_are_many_mistakes() -> None:
    assert len(MISTAKES) >= 40


KINDS = (
    "Service",
    "Namespace",
    "Pod",
    "VirtualService.networking.istio.io",
    "DestinationRule.networking.istio.io",
    "Gateway.networking.istio.io",
    "PeerAuthentication.security.istio.io",
    "AuthorizationPolicy.security.istio.io",
)


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_listed_is_neither_blamed_nor_passed(kind: str) -> None:
    shop = Shop()
    mistakes.route_to_v1(shop)
    mistakes.demand(shop, "STRICT")
    shop[2].refused = (kind,)

    verdicts = {id: one for id, one in judge_all(shop.record()).items() if "SERVICE" in id}

    said = {id: f"{one.outcome.value}: {one.reason}" for id, one in verdicts.items()}
    outcomes = {one.outcome for one in verdicts.values()}
    assert Outcome.NON_CONFORMANT not in outcomes, said
    assert Outcome.INCONCLUSIVE in outcomes, said
    assert not [one for every in verdicts.values() for one in every.findings], said


@pytest.mark.parametrize("endpoint", ["mesh", "endpointShardz"])
def test_what_istiod_does_not_say_is_neither_blamed_nor_passed(endpoint: str) -> None:
    shop = Shop()
    shop.record()
    for number in (1, 2):
        del shop[number].answers[f"istiod-{number}", 8080, f"/debug/{endpoint}"]
    snapshot = shop.mesh.record()

    verdicts = {id: one for id, one in judge_all(snapshot).items() if "SERVICE" in id}

    said = {id: f"{one.outcome.value}: {one.reason}" for id, one in verdicts.items()}
    outcomes = {one.outcome for one in verdicts.values()}
    assert Outcome.NON_CONFORMANT not in outcomes, said
    assert Outcome.INCONCLUSIVE in outcomes, said


def test_a_host_that_an_unread_service_entry_may_have_is_not_blamed() -> None:
    shop = Shop()
    shop.route("cart", {"host": "api.example.com"})
    for number in (1, 2):
        shop[number].refused = ("ServiceEntry.networking.istio.io",)

    verdict = judge_all(shop.record())["MC-SERVICE-001"]

    assert verdict.outcome is Outcome.INCONCLUSIVE, verdict


def excluded_port(shop: Shop) -> None:
    mistakes.demand(shop, "STRICT")
    mistakes.tls(shop, "DISABLE")
    for number in (1, 2):
        for pod in shop.pods_of(number, "cart"):
            ports = {"traffic.sidecar.istio.io/excludeInboundPorts": "9000,8080"}
            pod["metadata"]["annotations"] |= ports


def a_rule_of_another_revision(shop: Shop) -> None:
    for item in shop.route("cart", {"host": "kart"}):
        item["metadata"]["labels"] = {"istio.io/rev": "canary"}


def a_rule_where_nothing_is_discovered(shop: Shop) -> None:
    shop.route("cart", {"host": "kart"}, namespace="kube-public")
    for number in (1, 2):
        for name in ("shop", "web"):
            shop[number].find("Namespace", name)["metadata"]["labels"]["mesh"] = "yes"
    shop.mesh_config(discoverySelectors=[{"matchLabels": {"mesh": "yes"}}])


def a_virtual_machine(shop: Shop) -> None:
    mistakes.a_subset_whose_labels_no_pod_has(shop)
    labels = {"app": "cart", "version": "v3"}
    shop.apply("WorkloadEntry", "vm", {"address": "192.0.2.1", "labels": labels})


def a_cluster_that_is_not_certified(shop: Shop) -> None:
    mistakes.a_subset_whose_labels_no_pod_has(shop)
    mistakes.callers_of_a_namespace_that_there_is_not(shop)
    for number in (1, 2):
        row = {"id": "third", "secretName": "istio-system/third", "syncStatus": "synced"}
        shop[number].istiod("clusterz").append(row)


def a_host_that_istiod_knows_from_elsewhere(shop: Shop) -> None:
    shop.route("cart", {"host": f"far.shop.{DOMAIN}"})
    for number in (1, 2):
        known = shop[number].istiod("endpointShardz")
        known[f"far.shop.{DOMAIN}"] = {"shop": {"Shards": {"Kubernetes/third": []}}}


def a_version_on_its_way(shop: Shop) -> None:
    shop.find(1, "Service", "cart")["spec"]["selector"] = {"app": "cart", "version": "v2"}
    shop.pods(2, "shop", "cart-v2", app="cart", version="v2")


def an_application_outside_the_mesh(shop: Shop) -> None:
    """One repository applies its Service everywhere; it runs in one cluster."""
    for number in (1, 2):
        shop.namespace(number, "batch", injected=False)
        shop.service(number, "nightly", namespace="batch")
    shop.pods(2, "batch", "nightly", sidecar=False, app="nightly")


@pytest.mark.parametrize(
    "seed",
    [
        an_application_outside_the_mesh,
        excluded_port,
        a_rule_of_another_revision,
        a_rule_where_nothing_is_discovered,
        a_virtual_machine,
        a_cluster_that_is_not_certified,
        a_host_that_istiod_knows_from_elsewhere,
        a_version_on_its_way,
    ],
)
def test_what_is_only_unusual_is_not_called_broken(seed: Callable[[Shop], None]) -> None:
    shop = Shop()
    seed(shop)

    verdicts = {id: one for id, one in judge_all(shop.record()).items() if "SERVICE" in id}

    every = {
        id: [one for one in verdict.findings if one.weight is Weight.BROKEN]
        for id, verdict in verdicts.items()
    }
    assert told(every) == ""
