"""The judge of reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from pytest_istio_mc.checks.discovery.reach import every_cluster_reached
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import Ending, Protocol, Request, Trial
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.spec import ClusterSpec
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.live_mesh import failed, handshake, here, mesh, request, requests, unread, way
from tests.checks.seeding import forget
from tests.checks.tracing.test_traces import by_priority, no_gateway_pod, no_service, nobody_may
from tests.fake_clusters import FakeMesh

MESH = mesh()


def judge(
    of: Mesh,
    sent: list[Request],
    snapshot: Snapshot | None = None,
    handshakes: Sequence[Trial] = (),
) -> Verdict:
    return every_cluster_reached(here(of, snapshot or unread(of)), sent, handshakes)


def test_answers_from_every_cluster_are_conformant() -> None:
    verdict = judge(MESH, requests(MESH))

    assert verdict.outcome is Outcome.CONFORMANT
    assert "1e-06" in verdict.reason


def test_a_cluster_that_never_answers_is_named_with_what_came_instead() -> None:
    sent = (
        [one for one in requests(MESH) if one.source == "west"]
        + [request(MESH, "east", "east")] * 10
        + [failed(MESH, "east", 503, "no healthy")] * 10
    )

    verdict = judge(MESH, sent)

    assert verdict.outcome is Outcome.NON_CONFORMANT
    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [
        ("cluster-not-reached", ("east", "west"))
    ]
    assert "east 10, west 0" in verdict.findings[0].seen
    assert "10× 503 no healthy" in verdict.findings[0].seen
    assert verdict.findings[0].remedy.startswith(
        "istioctl --context=k-east proxy-config endpoints client-east.istio-mc-test"
    )


def test_one_of_two_clusters_behind_one_gateway_is_missed_by_name() -> None:
    three = mesh(
        ClusterSpec("a", "network1"), ClusterSpec("b", "network2"), ClusterSpec("c", "network2")
    )
    sent = [
        one
        for one in requests(three)
        if (one.source, one.answer.cluster if one.answer else "") != ("a", "c")
    ]

    verdict = judge(three, sent)

    assert [finding.clusters for finding in verdict.findings] == [("a", "c")]


def test_behind_a_shared_gateway_http_may_stick_to_one_cluster_if_tcp_gets_to_all() -> None:
    three = mesh(
        ClusterSpec("a", "network1"), ClusterSpec("b", "network2"), ClusterSpec("c", "network2")
    )
    over_tcp = [replace(one, protocol=Protocol.TCP) for one in requests(three)]

    def over_http(*missed: str) -> list[Request]:
        return [
            one
            for one in requests(three)
            if one.source != "a" or (one.answer and one.answer.cluster not in missed)
        ]

    assert judge(three, over_http("c") + over_tcp).outcome is Outcome.CONFORMANT
    assert {
        finding.clusters for finding in judge(three, over_http("b", "c") + over_tcp).findings
    } == {("a", "b"), ("a", "c")}


def test_failures_are_found_though_every_cluster_answered() -> None:
    verdict = judge(MESH, [*requests(MESH), failed(MESH, "west", 503, "reset")])

    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [
        ("requests-fail", ("west",))
    ]


def test_a_cluster_that_is_not_in_the_mesh_is_found() -> None:
    other = mesh(
        ClusterSpec("east", "network1"),
        ClusterSpec("west", "network2"),
        ClusterSpec("south", "network2"),
    )

    verdict = judge(MESH, [*requests(MESH), request(other, "east", "south")])

    assert [finding.fault for finding in verdict.findings] == ["unknown-cluster-answers"]


def test_a_client_that_sent_nothing_is_a_gap() -> None:
    sent = [one for one in requests(MESH) if one.source == "west"]

    assert judge(MESH, sent).outcome is Outcome.INCONCLUSIVE


def local_only(of: Mesh) -> list[Request]:
    """cluster1's client is answered by cluster1 only."""
    sent = [
        one
        for one in requests(of)
        if (one.source, one.answer.cluster if one.answer else "") != ("cluster1", "cluster2")
    ]
    return [replace(one, port=8080) for one in sent]


def past_the_sidecar(of: Mesh, *, answered: bool) -> Trial:
    twin = handshake(of, "cluster1", "cluster2")
    closed = replace(twin, ending=Ending.CLOSED, completed=False, status=0, answer=None)
    return Trial(
        "cluster1", "cluster2", way("cluster1", "cluster2"), twins=(twin if answered else closed,)
    )


def test_a_cluster_that_waits_for_nearer_ones_to_fail_is_conformant_if_it_would_answer() -> None:
    fake = FakeMesh()
    by_priority(fake)

    verdict = judge(
        fake.mesh,
        local_only(fake.mesh),
        fake.record(),
        [past_the_sidecar(fake.mesh, answered=True)],
    )

    assert verdict.outcome is Outcome.CONFORMANT
    assert (
        "cluster1 to cluster2 only past the sidecar, because nearer instances come first"
        in verdict.reason
    )


def test_a_cluster_that_waits_but_would_not_answer_is_found() -> None:
    fake = FakeMesh()
    by_priority(fake)

    verdict = judge(
        fake.mesh,
        local_only(fake.mesh),
        fake.record(),
        [past_the_sidecar(fake.mesh, answered=False)],
    )

    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [
        ("cluster-not-reached", ("cluster1", "cluster2"))
    ]
    assert "first broken hop: remote gateway: TLS from cluster1" in verdict.findings[0].seen


def test_failed_requests_are_not_excused_by_priorities() -> None:
    fake = FakeMesh()
    by_priority(fake)
    sent = [
        *local_only(fake.mesh),
        replace(failed(fake.mesh, "cluster1", 503, "no healthy upstream"), port=8080),
    ]

    verdict = judge(fake.mesh, sent, fake.record(), [past_the_sidecar(fake.mesh, answered=True)])

    assert verdict.outcome is Outcome.NON_CONFORMANT


@pytest.mark.parametrize(
    ("break_it", "hop", "remedy"),
    [
        (forget, "endpoint", "proxy-config endpoints"),
        (no_gateway_pod, "remote gateway", "get deployments,pods,services"),
    ],
)
def test_a_cluster_that_is_not_reached_comes_with_the_first_broken_hop(
    break_it: Callable[[FakeMesh], None], hop: str, remedy: str
) -> None:
    fake = FakeMesh()
    break_it(fake)

    verdict = judge(
        fake.mesh,
        local_only(fake.mesh),
        fake.record(),
        [past_the_sidecar(fake.mesh, answered=False)],
    )

    assert f"; first broken hop: {hop}: " in verdict.findings[0].seen
    assert remedy in verdict.findings[0].remedy
    assert [item.name for item in verdict.evidence] == ["hops from cluster1 to cluster2"]


def test_a_cluster_that_waits_and_cannot_be_asked_is_a_gap() -> None:
    fake = FakeMesh()
    by_priority(fake)

    assert judge(fake.mesh, local_only(fake.mesh), fake.record()).outcome is Outcome.INCONCLUSIVE


def test_who_is_not_let_in_is_told_so() -> None:
    fake = FakeMesh()
    nobody_may(fake)
    denied = [replace(failed(fake.mesh, "cluster1", 403, "RBAC: access denied"), port=8080)] * 5

    verdict = judge(fake.mesh, [*local_only(fake.mesh), *denied], fake.record())

    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [
        ("authz-denied", ("cluster1", "cluster2"))
    ]
    assert "cluster1 does not reach cluster2 (broken at: authorisation)" in verdict.reason
    assert '/ns/istio-mc-test/sa/client"]' in verdict.findings[0].remedy
    assert "delete" not in verdict.findings[0].remedy


def test_failures_are_not_blamed_on_a_cluster_that_answers() -> None:
    fake = FakeMesh()
    denied = [replace(failed(fake.mesh, "cluster1", 403, "RBAC: access denied"), port=8080)] * 5

    verdict = judge(
        fake.mesh,
        [*(replace(one, port=8080) for one in requests(fake.mesh)), *denied],
        fake.record(),
    )

    assert [finding.fault for finding in verdict.findings] == ["requests-fail"]
    assert "first broken hop" not in verdict.findings[0].seen


def test_failures_beside_answers_name_the_cluster_whose_way_is_broken() -> None:
    """So that a gateway that has just lost its pods explains them."""
    fake = FakeMesh()
    no_gateway_pod(fake)
    late = replace(failed(fake.mesh, "cluster1", 503, "reset"), port=8080)

    verdict = judge(
        fake.mesh, [*(replace(one, port=8080) for one in requests(fake.mesh)), late], fake.record()
    )

    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [
        ("requests-fail", ("cluster1", "cluster2"))
    ]


def _unresolved(fake: FakeMesh) -> list[Request]:
    return [
        replace(
            failed(fake.mesh, "cluster1", 0, "gaierror: Temporary failure"),
            port=8080,
            ending=Ending.UNRESOLVED,
        )
    ] * 3


@pytest.mark.parametrize(
    ("captured", "who"),
    [(False, "get pods -l k8s-app=kube-dns"), (True, "logs pod/client-1 -c istio-proxy")],
)
def test_a_name_that_does_not_resolve_is_about_the_dns_of_the_client(
    captured: bool, who: str
) -> None:
    fake = FakeMesh()
    if captured:
        fake[1].dump("client-1")["configs"][0]["bootstrap"]["node"]["metadata"]["DNS_CAPTURE"] = (
            "true"
        )

    verdict = judge(fake.mesh, [*requests(fake.mesh), *_unresolved(fake)], fake.record())

    (finding,) = verdict.findings
    assert (finding.fault, finding.clusters) == ("dns-unresolved", ("cluster1",))
    assert "had no address for 3 of 23 requests" in finding.summary
    assert "first broken hop: DNS" in finding.seen
    assert finding.remedy.startswith("kubectl --context=ctx-1 ")
    assert who in finding.remedy


def test_a_name_without_a_service_gets_one() -> None:
    fake = FakeMesh()
    no_service(fake)

    verdict = judge(
        fake.mesh,
        [*(one for one in requests(fake.mesh) if one.source != "cluster1"), *_unresolved(fake)],
        fake.record(),
    )

    assert [finding.fault for finding in verdict.findings] == ["dns-unresolved"]
    assert "create service clusterip --tcp=8080:8080" in verdict.findings[0].remedy
