"""The judge of reach."""

from __future__ import annotations

from pytest_istio_mc.checks.discovery_live import every_cluster_reached
from pytest_istio_mc.spec import ClusterSpec
from pytest_istio_mc.verdicts import Outcome

from .live_mesh import failed, mesh, request, requests

MESH = mesh()


def test_answers_from_every_cluster_are_conformant() -> None:
    verdict = every_cluster_reached(MESH, requests(MESH), 1e-6)

    assert verdict.outcome is Outcome.CONFORMANT
    assert "1e-06" in verdict.reason


def test_a_cluster_that_never_answers_is_named_with_what_came_instead() -> None:
    sent = (
        [one for one in requests(MESH) if one.source == "west"]
        + [request(MESH, "east", "east")] * 10
        + [failed(MESH, "east", 503, "no healthy")] * 10
    )

    verdict = every_cluster_reached(MESH, sent, 1e-6)

    assert verdict.outcome is Outcome.NON_CONFORMANT
    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [("cluster-not-reached", ("east", "west"))]
    assert "east 10, west 0" in verdict.findings[0].seen
    assert "10× 503 no healthy" in verdict.findings[0].seen
    assert verdict.findings[0].remedy.startswith("istioctl --context=k-east proxy-config endpoints client-east.istio-mc-test")


def test_one_of_two_clusters_behind_one_gateway_is_missed_by_name() -> None:
    three = mesh(ClusterSpec("a", "network1"), ClusterSpec("b", "network2"), ClusterSpec("c", "network2"))
    sent = [one for one in requests(three) if (one.source, one.answer.cluster if one.answer else "") != ("a", "c")]

    verdict = every_cluster_reached(three, sent, 1e-6)

    assert [finding.clusters for finding in verdict.findings] == [("a", "c")]


def test_failures_are_found_though_every_cluster_answered() -> None:
    verdict = every_cluster_reached(MESH, [*requests(MESH), failed(MESH, "west", 503, "reset")], 1e-6)

    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [("requests-fail", ("west",))]


def test_a_cluster_that_is_not_in_the_mesh_is_found() -> None:
    other = mesh(ClusterSpec("east", "network1"), ClusterSpec("west", "network2"), ClusterSpec("south", "network2"))

    verdict = every_cluster_reached(MESH, [*requests(MESH), request(other, "east", "south")], 1e-6)

    assert [finding.fault for finding in verdict.findings] == ["unknown-cluster-answers"]


def test_a_client_that_sent_nothing_is_a_gap() -> None:
    sent = [one for one in requests(MESH) if one.source == "west"]

    assert every_cluster_reached(MESH, sent, 1e-6).outcome is Outcome.INCONCLUSIVE
