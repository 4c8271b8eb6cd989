"""The judge of services that exist in one cluster only."""

from __future__ import annotations

from pytest_istio_mc.checks.discovery.elsewhere import service_in_one_cluster
from pytest_istio_mc.checks.discovery.facts import Elsewhere
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.live_mesh import failed, here, mesh, request

MESH = mesh()


def _call(source: str, target: str, *addresses: str) -> Elsewhere:
    sent = request(MESH, source, target)
    return Elsewhere(source, target, f"only-in-{target}.istio-mc-test", addresses, sent)


def _calls(*addresses: str) -> list[Elsewhere]:
    return [_call("east", "west", *addresses), _call("west", "east", *addresses)]


def judge(calls: list[Elsewhere]) -> Verdict:
    return service_in_one_cluster(here(MESH), (tuple(calls), 0.5))


def test_services_of_one_cluster_that_answer_under_their_names_are_conformant() -> None:
    verdict = judge(_calls("10.0.0.1"))

    assert verdict.outcome is Outcome.CONFORMANT
    assert verdict.reason == (
        "2 requests for services of one cluster were answered there, "
        "under names that resolve everywhere"
    )


def test_names_that_do_not_resolve_are_no_fault_but_it_is_said_what_to_do() -> None:
    verdict = judge(_calls())

    assert verdict.outcome is Outcome.CONFORMANT
    assert "in east and west such names have no address" in verdict.reason
    assert "ISTIO_META_DNS_CAPTURE" in verdict.reason


def test_a_service_that_is_not_reached_is_named_with_both_clusters() -> None:
    broken = Elsewhere(
        "east",
        "west",
        "only-in-west.istio-mc-test",
        (),
        failed(MESH, "east", 503, "no healthy upstream"),
    )

    verdict = judge([broken, _calls()[1]])

    (finding,) = verdict.findings
    assert finding.fault == "single-cluster-service-not-reached"
    assert finding.clusters == ("east", "west")
    assert "no healthy upstream" in finding.seen
    assert "--context=k-east" in finding.remedy


def test_an_answer_from_a_cluster_without_the_service_is_wrong() -> None:
    astray = Elsewhere(
        "east", "west", "only-in-west.istio-mc-test", (), request(MESH, "east", "east")
    )

    verdict = judge([astray, _calls()[1]])

    assert [finding.fault for finding in verdict.findings] == ["answered-elsewhere"]


def test_a_pair_that_was_not_asked_makes_it_inconclusive() -> None:
    assert judge(_calls()[:1]).outcome is Outcome.INCONCLUSIVE
