"""The judges of shares, of clusters as localities, and of services without outlier detection."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc.checks.locality.facts import (
    ELSEWHERE,
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
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Outcome
from tests.checks.live_mesh import failed
from tests.checks.locality.localities import (
    HOST,
    OUTLIER_DETECTION,
    answers,
    journeys,
    meetings,
    never,
    snapshot,
    splits,
    spoilt,
    three_regions,
    two_regions,
)

HERE = two_regions()


def own_first(here: Mesh) -> list[Journey]:
    def orders(mesh: Mesh, source: str) -> Order:
        others = tuple(cluster.name for cluster in mesh.spec.data_planes if cluster.name != source)
        return Order(source, (Tier(SAME_SUBZONE, (source,)), Tier(ELSEWHERE, others)))

    return journeys(here, orders, falls_ill=False)


def with_rule(here: Mesh, policy: dict[str, Any], cluster: str = "east", **more: Any) -> Snapshot:
    rule = {
        "metadata": {"name": "reviews", "namespace": "shop"},
        "spec": {"host": "reviews", "trafficPolicy": policy, **more},
    }
    recorded = snapshot(here)
    changed = replace(
        recorded.clusters[cluster], objects={"DestinationRule.networking.istio.io": (rule,)}
    )
    return replace(recorded, clusters={**recorded.clusters, cluster: changed})


@pytest.mark.parametrize("here", [two_regions(), three_regions()], ids=["two", "three"])
def test_shares_that_are_kept_are_conformant_and_the_statistics_are_stated(here: Mesh) -> None:
    verdict = shares_are_kept(here, snapshot(here), splits(here))

    assert verdict.outcome is Outcome.CONFORMANT, verdict
    assert "60 of 300" in verdict.reason
    assert "240 of 300" in verdict.reason
    assert "with 1e-06 for a false alarm" in verdict.reason


@pytest.mark.parametrize("own", [50, 100, 33, 0], ids=["even", "all-local", "third", "none"])
def test_another_spread_is_found(own: int) -> None:
    verdict = shares_are_kept(HERE, snapshot(HERE), splits(HERE, own=own))

    assert verdict.outcome is Outcome.NON_CONFORMANT
    assert {finding.fault for finding in verdict.findings} == {"share-not-kept"}
    assert f"east answered {3 * own} of 300 requests, for a share of 20 %" in verdict.reason


def test_an_answer_from_a_locality_without_a_share_is_found() -> None:
    here = three_regions()
    first, *rest = splits(here)
    astray = replace(first, requests=(*first.requests[:-1], *answers(here, "east", "west", each=1)))

    (finding,) = shares_are_kept(here, snapshot(here), [astray, *rest]).findings
    assert "west answers, though its locality has no share" in finding.summary


def test_requests_that_fail_are_found_and_not_sent_again() -> None:
    first, second = splits(HERE)
    lossy = replace(
        first, requests=(*first.requests[1:], failed(HERE, "east", 503, "no healthy upstream"))
    )

    (finding,) = shares_are_kept(HERE, snapshot(HERE), [lossy, second]).findings
    assert finding.fault == "requests-fail"
    assert "1 of 300" in finding.summary


def test_nothing_to_distribute_over_is_not_applicable() -> None:
    assert shares_are_kept(HERE, snapshot(HERE), []).outcome is Outcome.NOT_APPLICABLE


def test_shares_cannot_be_given_through_a_gateway_that_several_clusters_share() -> None:
    here = three_regions()
    first, second, third = here.spec
    shared = replace(
        here,
        spec=replace(here.spec, clusters=(first, second, replace(third, network=second.network))),
    )

    verdict = shares_are_kept(shared, snapshot(shared), [])

    assert verdict.outcome is Outcome.NOT_APPLICABLE
    assert "several clusters are behind one east-west gateway" in verdict.reason
    assert (
        "as several are behind one"
        in cluster_as_locality(shared, snapshot(shared), own_first(shared), []).reason
    )


def test_a_cluster_that_keeps_its_clients_is_conformant_and_subzones_not_seen_are_said() -> None:
    verdict = cluster_as_locality(HERE, snapshot(HERE), own_first(HERE), [])

    assert verdict.outcome is Outcome.CONFORMANT, verdict
    assert "not seen: clusters as subzones" in verdict.reason


def test_priority_by_cluster_that_is_ignored_is_found() -> None:
    here = three_regions()
    spread = spoilt(
        own_first(here),
        "middle",
        "all are there",
        **never(here, "middle", "east", "middle", "west"),
    )

    (finding,) = cluster_as_locality(here, snapshot(here), spread, []).findings
    assert (
        finding.summary
        == "middle, all are there: middle did not take over all requests within 20 s"
    )


def test_the_subzone_of_another_cluster_must_get_all() -> None:
    well = Split("east", HOST, {("west",): 100}, answers(HERE, "east", "west", each=300), 0.2, 20.0)
    astray = replace(well, requests=answers(HERE, "east", "west", "east", each=150))

    assert (
        "300 requests for the subzone"
        in cluster_as_locality(HERE, snapshot(HERE), own_first(HERE), [well]).reason
    )
    assert (
        cluster_as_locality(HERE, snapshot(HERE), own_first(HERE), [astray]).outcome
        is Outcome.NON_CONFORMANT
    )


def test_no_failover_without_outlier_detection_is_as_documented_and_its_cost_is_reported() -> None:
    verdict = outlier_detection_is_needed(HERE, snapshot(HERE), meetings(HERE), 1e-6)

    assert verdict.outcome is Outcome.CONFORMANT, verdict
    assert (
        "without it, 20 of 40 requests (50 %) crossed zones, and 20 of 40 (50 %) failed"
        in verdict.reason
    )
    assert '"cross_zone_share": 0.5' in verdict.evidence[0].text


def test_a_rule_that_asks_for_failover_without_outlier_detection_is_named() -> None:
    policy = {
        "loadBalancer": {"localityLbSetting": {"failover": [{"from": "region1", "to": "region2"}]}}
    }

    (finding,) = outlier_detection_is_needed(
        HERE, with_rule(HERE, policy), meetings(HERE), 1e-6
    ).findings

    assert finding.fault == "loc-no-outlier"
    assert (
        finding.summary
        == "DestinationRule shop/reviews of east sets failover, which does nothing without outlierDetection"
    )
    assert finding.remedy.startswith(
        "kubectl --context=k-east -n shop patch destinationrule reviews"
    )


@pytest.mark.parametrize(
    ("policy", "more"),
    [
        (
            {
                "loadBalancer": {"localityLbSetting": {"failoverPriority": ["a"]}},
                "outlierDetection": {"maxEjectionPercent": 100},
            },
            {},
        ),
        ({"loadBalancer": {"localityLbSetting": {"enabled": False, "failover": [{}]}}}, {}),
        ({"loadBalancer": {"simple": "ROUND_ROBIN"}}, {}),
        (
            {"outlierDetection": {"maxEjectionPercent": 100}},
            {
                "subsets": [
                    {
                        "name": "v1",
                        "trafficPolicy": {
                            "loadBalancer": {"localityLbSetting": {"failover": [{}]}}
                        },
                    }
                ]
            },
        ),
    ],
    ids=["has-it", "switched-off", "asks-for-none", "inherited-by-subset"],
)
def test_rules_that_are_right_are_not_accused(policy: dict[str, Any], more: dict[str, Any]) -> None:
    verdict = outlier_detection_is_needed(
        HERE, with_rule(HERE, policy, **more), meetings(HERE), 1e-6
    )

    assert verdict.outcome is Outcome.CONFORMANT
    assert "warning" not in verdict.reason


def test_outlier_detection_that_ejects_none_of_a_few_is_warned_of() -> None:
    verdict = outlier_detection_is_needed(
        HERE,
        with_rule(HERE, {"outlierDetection": {"consecutive5xxErrors": 5}}),
        meetings(HERE),
        1e-6,
    )

    assert verdict.outcome is Outcome.CONFORMANT
    assert "warning: DestinationRule shop/reviews of east ejects at most 10 %" in verdict.reason


def test_a_preference_that_nobody_asked_for_is_found() -> None:
    first, second = meetings(HERE)
    local = replace(first, well=answers(HERE, "east", "east"))

    (finding,) = outlier_detection_is_needed(HERE, snapshot(HERE), [local, second], 1e-6).findings
    assert (
        finding.summary == "east: west is passed over though the service has no outlier detection"
    )


def test_requests_that_miss_the_ill_instances_prove_nothing() -> None:
    first, second = meetings(HERE)
    lucky = replace(first, ill=answers(HERE, "east", "west"))

    assert (
        outlier_detection_is_needed(HERE, snapshot(HERE), [lucky, second], 1e-6).outcome
        is Outcome.INCONCLUSIVE
    )


def test_a_mesh_that_gives_every_service_outlier_detection_is_said_to() -> None:
    first, second = meetings(HERE)
    covered = replace(
        first,
        view=ClientView(first.view.endpoints, OUTLIER_DETECTION),
        well=answers(HERE, "east", "east"),
    )

    verdict = outlier_detection_is_needed(HERE, snapshot(HERE), [covered, second], 1e-6)

    assert verdict.outcome is Outcome.CONFORMANT
    assert verdict.reason.startswith("in east the mesh gives every service outlier detection")
