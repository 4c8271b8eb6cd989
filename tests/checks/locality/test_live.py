"""Judges of failover: the right check finds each sabotage, with its cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pytest_istio_mc.checks.locality.facts import ClientView, Journey, Order, failover_order
from pytest_istio_mc.checks.locality.live import (
    fails_over_in_order,
    local_first,
    map_decides,
    requests_return,
)
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import Protocol
from pytest_istio_mc.recorded import IstiodFacts
from pytest_istio_mc.spec import ClusterSpec, Locality
from pytest_istio_mc.timelines import Flow, Mark, Timeline
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.live_mesh import here, mesh
from tests.checks.locality.localities import (
    ill,
    journeys,
    nearest_first,
    never,
    record,
    records,
    sharing_a_gateway,
    spoilt,
    three_regions,
    three_tiers,
    two_regions,
    view,
    where,
)

MESH = two_regions()
HELD = view(MESH, nearest_first(MESH, "east"))


def judged(found: Sequence[Journey], of: Mesh = MESH) -> dict[str, Verdict]:
    seen = tuple(found)
    return {
        "002": local_first(here(of), seen),
        "003": fails_over_in_order(here(of), seen),
        "004": requests_return(here(of), seen),
    }


@pytest.mark.parametrize(
    "of",
    [two_regions(), three_tiers(), three_regions()],
    ids=["regions", "tiers", "three-regions"],
)
def test_a_healthy_failover_is_conformant(of: Mesh) -> None:
    for verdict in judged(journeys(of), of).values():
        assert verdict.outcome is Outcome.CONFORMANT, verdict


def test_the_reasons_give_figures_and_say_what_was_not_seen() -> None:
    found = judged(journeys(MESH))

    assert (
        "40 requests from 2 clusters were answered by their own cluster alone "
        "(by chance: 1e-06); 0 of them crossed" in found["002"].reason
    )
    assert "after 0.25 s at most and no request failed; when they were ill" in found["003"].reason
    assert "6 requests failed in 2 failovers (ejection takes 3 each)" in found["003"].reason
    assert (
        "not seen: the order among farther ones, "
        "as no client has instances at more than 2 distances" in found["003"].reason
    )
    assert "not seen" not in judged(journeys(three_tiers()), three_tiers())["003"].reason
    assert '"cross_zone_share": 0.0' in found["002"].evidence[0].text


def test_the_time_lines_of_all_clients_are_one_to_draw() -> None:
    flows = [
        Flow(source, source, "host", 5000, Protocol.HTTP, keep_alive=False, interval_seconds=0.0)
        for source in ("east", "west")
    ]
    mark = Mark(1.0, 2.0, "all are back")
    asked = tuple(
        replace(journey, timeline=Timeline((flow,), (mark,), 0.1))
        for journey, flow in zip(journeys(MESH), flows, strict=True)
    )

    for number in ("003", "004"):
        verdict = judged(asked)[number]
        assert verdict.timelines == (("failover", Timeline(tuple(flows), (mark, mark), 0.1)),)
        assert [item.name for item in verdict.evidence] == ["stages"]
    assert judged(journeys(MESH))["003"].timelines == ()


def test_answers_from_afar_are_no_local_preference() -> None:
    spread = spoilt(journeys(MESH), "east", "all are there", after=records("east", "west"))

    verdict = judged(spread)["002"]

    (finding,) = verdict.findings
    assert finding.summary == "east, all are there: west answers, too"
    assert finding.fault == "locality-ignored"
    assert '"crossed_zones": 10' in verdict.evidence[0].text


def test_without_outlier_detection_that_is_the_cause_and_the_remedy_adds_it() -> None:
    changes = never("east", "west", view=ClientView(HELD.endpoints, None))

    found = judged(spoilt(journeys(MESH), "east", "all are there", **changes))

    (finding,) = found["002"].findings
    assert finding.fault == "loc-no-outlier"
    assert "no outlier detection" in finding.summary
    assert finding.remedy.startswith(
        "kubectl --context=k-east -n istio-mc-test patch destinationrule/locality-x --type=merge"
    )
    assert "outlierDetection" in finding.remedy
    assert found["003"].outcome is Outcome.INCONCLUSIVE, "what could not be seen is not green"


def test_too_low_a_share_that_may_be_ejected_is_the_cause_of_no_failover() -> None:
    lax = replace(HELD, outlier_detection={"consecutive_5xx": 3})
    stuck = {**never(view=lax), "before": tuple(ill() for _ in range(50))}

    found = judged(spoilt(journeys(MESH), "east", "east failing", **stuck))

    (finding,) = found["003"].findings
    assert finding.fault == "loc-max-ejection"
    assert "at most 10 % of the endpoints may be ejected, which is none of 2" in finding.summary
    assert '"maxEjectionPercent":100' in finding.remedy
    assert "failures: 20× 500 ill" in finding.seen
    assert found["002"].outcome is Outcome.CONFORMANT
    assert found["004"].outcome is Outcome.CONFORMANT, "the other return was seen"


def test_a_farther_tier_that_answers_before_the_nearer_one_is_the_wrong_order() -> None:
    of = three_tiers()
    wrong = spoilt(journeys(of), "east", "east absent", after=records("middle", "west"))

    (finding,) = judged(wrong, of)["003"].findings
    assert finding.summary == "east, east absent: west answers, too"
    assert set(finding.clusters) == {"east", "middle"}
    assert finding.expected == "only middle to answer"


def test_a_request_that_is_lost_while_endpoints_go_is_a_finding_and_one_that_ejects_is_not() -> (
    None
):
    lossy = spoilt(journeys(MESH), "west", "west absent", before=(record("west"), ill()))

    (finding,) = judged(lossy)["003"].findings
    assert finding.fault == "requests-fail"
    lost = "1 of 22 requests failed although healthy instances were there all the time"
    assert lost in finding.summary


def test_requests_that_fail_after_the_ejection_are_a_finding() -> None:
    after = (*records("east", each=20), ill(), ill())
    lossy = spoilt(journeys(MESH), "west", "west failing", after=after)

    assert [finding.fault for finding in judged(lossy)["003"].findings] == ["requests-fail"]


def test_errors_of_those_that_are_ill_when_they_are_tried_again_are_no_finding() -> None:
    again = [replace(ill(), cluster="west", pod="hello-west")] * 5
    many = (*records("east", each=20), *again, record("east"))
    few = (*records("east", each=5), *again * 5)
    retried = spoilt(journeys(MESH), "west", "west failing", after=many)
    scarce = spoilt(journeys(MESH), "west", "west failing", after=few, wanted=8)

    assert judged(retried)["003"].outcome is Outcome.CONFORMANT
    assert judged(scarce)["003"].outcome is Outcome.INCONCLUSIVE, (
        "they tell nothing of those that answer instead, either"
    )


def test_no_return_is_found_by_the_check_of_the_return_alone() -> None:
    found = judged(spoilt(journeys(MESH), "east", "all are well again", **never("west")))

    (finding,) = found["004"].findings
    summary = "east, all are well again: east did not take over all requests within 20 s"
    assert finding.summary == summary
    assert found["002"].outcome is found["003"].outcome is Outcome.CONFORMANT


def test_locality_load_balancing_that_is_switched_off_is_named() -> None:
    recorded = here(MESH).snapshot
    istiod = IstiodFacts("istiod-1", debug={"mesh": {"localityLbSetting": {"enabled": False}}})
    east = replace(recorded.clusters["east"], istiods=(istiod,))
    off = replace(recorded, clusters={**recorded.clusters, "east": east})
    spread = spoilt(journeys(MESH), "east", "all are there", **never("east", "west"))

    (finding,) = local_first(here(MESH, off), spread).findings

    assert finding.fault == "loc-disabled"
    assert "switched off in east" in finding.summary


def test_endpoints_in_one_locality_are_named_as_the_cause() -> None:
    same = (replace(one, region="region1", zone="zone1", priority=0) for one in HELD.endpoints)
    changes = never("east", "west", view=replace(HELD, endpoints=tuple(same)))

    verdict = judged(spoilt(journeys(MESH), "east", "all are there", **changes))["002"]

    (finding,) = verdict.findings
    assert finding.fault == "loc-same-everywhere"
    assert "get nodes -L topology.kubernetes.io/region" in finding.remedy


def test_too_few_requests_while_the_ejection_lasted_prove_nothing() -> None:
    slow = spoilt(journeys(MESH), "west", "west failing", after=records("east", each=3))

    verdict = judged(slow)["003"]

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "3 requests after the shift are too few to tell, 20 are needed" in verdict.reason


def test_a_client_that_sent_nothing_makes_it_inconclusive() -> None:
    assert judged(journeys(MESH)[:1])["002"].outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    "place", [Locality(), Locality("region1", "zone1")], ids=["nowhere", "one-locality"]
)
def test_a_mesh_without_distances_is_not_applicable_with_the_reason(place: Locality) -> None:
    of = mesh(
        ClusterSpec("east", "network1", locality=place),
        ClusterSpec("west", "network2", locality=place),
    )

    for verdict in judged([], of).values():
        assert verdict.outcome is Outcome.NOT_APPLICABLE
        assert "equally near" in verdict.reason or "one locality" in verdict.reason


def mapped() -> tuple[Journey, ...]:
    def orders(of: Mesh, source: str) -> Order:
        return failover_order(of.spec, where(of.spec), source)[0]

    return journeys(three_regions(), orders, falls_ill=False)


def test_the_region_of_the_map_is_next() -> None:
    verdict = map_decides(here(three_regions()), mapped())

    assert verdict.outcome is Outcome.CONFORMANT, verdict
    first = "east to west, middle to west, west to middle first, as mapped"
    assert verdict.reason.startswith(first)


def test_another_region_than_the_maps_is_wrong() -> None:
    other = spoilt(mapped(), "east", "east absent", **never("middle"))

    (finding,) = map_decides(here(three_regions()), other).findings
    assert finding.summary == "east, east absent: west did not take over all requests within 20 s"
    assert "middle 10" in finding.seen


def test_with_two_regions_a_map_has_nothing_to_decide() -> None:
    verdict = map_decides(here(MESH), ())

    assert verdict.outcome is Outcome.NOT_APPLICABLE
    assert "--mesh-spec" in verdict.reason


def test_clusters_that_share_a_gateway_are_one_tier_to_the_other_network() -> None:
    shared = sharing_a_gateway()

    verdicts = judged(journeys(shared), shared)

    assert {verdict.outcome for verdict in verdicts.values()} == {Outcome.CONFORMANT}
    assert nearest_first(shared, "east").tiers[-1].clusters == ("middle", "west")
