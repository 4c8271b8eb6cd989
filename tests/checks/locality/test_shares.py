"""Judges of shares, of clusters as localities, and of services without outlier detection."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc.checks.locality.facts import (
    OTHER_REGION,
    SAME_SUBZONE,
    ClientView,
    Journey,
    Order,
    Split,
    Tier,
)
from pytest_istio_mc.checks.locality.shares import (
    cluster_as_locality,
    outlier_detection_is_needed,
    shares_are_kept,
)
from pytest_istio_mc.checks.site import Here
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.verdicts import Outcome
from tests.checks.live_mesh import failed, here
from tests.checks.locality.localities import (
    HOST,
    OUTLIER_DETECTION,
    answers,
    journeys,
    meetings,
    never,
    sharing_a_gateway,
    splits,
    spoilt,
    three_regions,
    two_regions,
)

MESH = two_regions()
HERE = here(MESH)


def own_first(of: Mesh) -> tuple[Journey, ...]:
    def orders(of: Mesh, source: str) -> Order:
        others = tuple(cluster.name for cluster in of.spec.data_planes if cluster.name != source)
        return Order(source, (Tier(SAME_SUBZONE, (source,)), Tier(OTHER_REGION, others)))

    return journeys(of, orders, falls_ill=False)


def with_rule(policy: dict[str, Any], **more: Any) -> Here:
    """A mesh with a DestinationRule in the east."""
    rule = {
        "metadata": {"name": "reviews", "namespace": "shop"},
        "spec": {"host": "reviews", "trafficPolicy": policy, **more},
    }
    rules = {"DestinationRule.networking.istio.io": (rule,)}
    recorded = HERE.snapshot
    east = recorded.clusters["east"]
    east = replace(east, objects={**east.objects, **rules})
    return here(MESH, replace(recorded, clusters={**recorded.clusters, "east": east}))


@pytest.mark.parametrize("of", [two_regions(), three_regions()], ids=["two", "three"])
def test_shares_that_are_kept_are_conformant_and_the_statistics_are_stated(of: Mesh) -> None:
    verdict = shares_are_kept(here(of), splits(of))

    assert verdict.outcome is Outcome.CONFORMANT, verdict
    assert "60 of 300" in verdict.reason
    assert "240 of 300" in verdict.reason
    assert "with 1e-06 for a false alarm" in verdict.reason


@pytest.mark.parametrize("own", [50, 100, 33, 0], ids=["even", "all-local", "third", "none"])
def test_another_spread_is_found(own: int) -> None:
    verdict = shares_are_kept(HERE, splits(MESH, own=own))

    assert verdict.outcome is Outcome.NON_CONFORMANT
    assert {finding.fault for finding in verdict.findings} == {"share-not-kept"}
    assert f"east answered {3 * own} of 300 requests, for a share of 20 %" in verdict.reason


def test_an_answer_from_a_locality_without_a_share_is_found() -> None:
    of = three_regions()
    first, *rest = splits(of)
    astray = replace(first, requests=(*first.requests[:-1], *answers(of, "east", "west", each=1)))

    (finding,) = shares_are_kept(here(of), (astray, *rest)).findings
    assert "west answers, though its locality has no share" in finding.summary


def test_requests_that_fail_are_found_and_not_sent_again() -> None:
    first, second = splits(MESH)
    lost = failed(MESH, "east", 503, "no healthy upstream")
    lossy = replace(first, requests=(*first.requests[1:], lost))

    (finding,) = shares_are_kept(HERE, (lossy, second)).findings
    assert finding.fault == "requests-fail"
    assert "1 of 300" in finding.summary


def test_nothing_to_distribute_over_is_not_applicable() -> None:
    assert shares_are_kept(HERE, ()).outcome is Outcome.NOT_APPLICABLE


def test_shares_cannot_be_given_through_a_gateway_that_several_clusters_share() -> None:
    shared = sharing_a_gateway()

    verdict = shares_are_kept(here(shared), ())

    assert verdict.outcome is Outcome.NOT_APPLICABLE
    assert "several clusters are behind one east-west gateway" in verdict.reason
    subzones = cluster_as_locality(here(shared), own_first(shared), ()).reason
    assert "as several are behind one" in subzones


def test_a_cluster_that_keeps_its_clients_is_conformant_and_subzones_not_seen_are_said() -> None:
    verdict = cluster_as_locality(HERE, own_first(MESH), ())

    assert verdict.outcome is Outcome.CONFORMANT, verdict
    assert "not seen: clusters as subzones" in verdict.reason


def test_priority_by_cluster_that_is_ignored_is_found() -> None:
    of = three_regions()
    changes = never("east", "middle", "west")
    spread = spoilt(own_first(of), "middle", "all are there", **changes)

    (finding,) = cluster_as_locality(here(of), spread, ()).findings
    summary = "middle, all are there: middle did not take over all requests within 20 s"
    assert finding.summary == summary


def test_the_subzone_of_another_cluster_must_get_all() -> None:
    well = Split("east", HOST, {("west",): 100}, answers(MESH, "east", "west", each=300), 0.2, 20.0)
    astray = replace(well, requests=answers(MESH, "east", "west", "east", each=150))

    kept, broken = (cluster_as_locality(HERE, own_first(MESH), (one,)) for one in (well, astray))

    assert "300 requests for the subzone" in kept.reason
    assert broken.outcome is Outcome.NON_CONFORMANT


def test_no_failover_without_outlier_detection_is_as_documented_and_its_cost_is_reported() -> None:
    verdict = outlier_detection_is_needed(HERE, meetings(MESH))

    assert verdict.outcome is Outcome.CONFORMANT, verdict
    cost = "without it, 20 of 40 requests (50 %) crossed zones, and 20 of 40 (50 %) failed"
    assert cost in verdict.reason
    assert '"cross_zone_share": 0.5' in verdict.evidence[0].text


def test_a_rule_that_asks_for_failover_without_outlier_detection_is_named() -> None:
    setting = {"failover": [{"from": "region1", "to": "region2"}]}
    ruled = with_rule({"loadBalancer": {"localityLbSetting": setting}})

    (finding,) = outlier_detection_is_needed(ruled, meetings(MESH)).findings

    assert finding.fault == "loc-no-outlier"
    assert (
        finding.summary == "DestinationRule shop/reviews of east sets failover, "
        "which does nothing without outlierDetection"
    )
    assert finding.remedy == (
        "kubectl --context=k-east -n shop patch destinationrule/reviews --type=merge -p "
        '\'{"spec":{"trafficPolicy":{"outlierDetection":'
        '{"consecutive5xxErrors":5,"maxEjectionPercent":100}}}}\''
    )


ASKING: dict[str, Any] = {"loadBalancer": {"localityLbSetting": {"failover": [{}]}}}
EJECTING = {"outlierDetection": {"maxEjectionPercent": 100}}


@pytest.mark.parametrize(
    ("policy", "more"),
    [
        ({"loadBalancer": {"localityLbSetting": {"failoverPriority": ["a"]}}, **EJECTING}, {}),
        ({"loadBalancer": {"localityLbSetting": {"enabled": False, "failover": [{}]}}}, {}),
        ({"loadBalancer": {"simple": "ROUND_ROBIN"}}, {}),
        (EJECTING, {"subsets": [{"name": "v1", "trafficPolicy": ASKING}]}),
    ],
    ids=["has-it", "switched-off", "asks-for-none", "inherited-by-subset"],
)
def test_rules_that_are_right_are_not_accused(policy: dict[str, Any], more: dict[str, Any]) -> None:
    verdict = outlier_detection_is_needed(with_rule(policy, **more), meetings(MESH))

    assert verdict.outcome is Outcome.CONFORMANT
    assert "warning" not in verdict.reason


def test_outlier_detection_that_ejects_none_of_a_few_is_warned_of() -> None:
    ruled = with_rule({"outlierDetection": {"consecutive5xxErrors": 5}})

    verdict = outlier_detection_is_needed(ruled, meetings(MESH))

    assert verdict.outcome is Outcome.CONFORMANT
    assert "warning: DestinationRule shop/reviews of east ejects at most 10 %" in verdict.reason


def test_a_preference_that_nobody_asked_for_is_found() -> None:
    first, second = meetings(MESH)
    local = replace(first, well=answers(MESH, "east", "east"))

    (finding,) = outlier_detection_is_needed(HERE, (local, second)).findings
    summary = "east: west is passed over though the service has no outlier detection"
    assert finding.summary == summary


def test_requests_that_miss_the_ill_instances_prove_nothing() -> None:
    first, second = meetings(MESH)
    lucky = replace(first, ill=answers(MESH, "east", "west"))

    verdict = outlier_detection_is_needed(HERE, (lucky, second))

    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_a_mesh_that_gives_every_service_outlier_detection_is_said_to() -> None:
    first, second = meetings(MESH)
    held = ClientView(first.view.endpoints, OUTLIER_DETECTION)
    covered = replace(first, view=held, well=answers(MESH, "east", "east"))

    verdict = outlier_detection_is_needed(HERE, (covered, second))

    assert verdict.outcome is Outcome.CONFORMANT
    assert verdict.reason.startswith("in east the mesh gives every service outlier detection")
