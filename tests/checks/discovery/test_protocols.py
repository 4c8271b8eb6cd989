"""The judge of protocols."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_istio_mc.checks.discovery.reach import every_protocol_reaches
from pytest_istio_mc.observations import Ending, Protocol, Request
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.live_mesh import here, mesh, requests, unread
from tests.checks.tracing.test_traces import by_priority
from tests.fake_clusters import FakeMesh

MESH = mesh()
PORTS = {Protocol.TCP: 5001, Protocol.HTTP2: 5002}


def sent() -> dict[Protocol, list[Request]]:
    return {
        protocol: [replace(one, protocol=protocol, port=port) for one in requests(MESH)]
        for protocol, port in PORTS.items()
    }


def judge(made: dict[Protocol, list[Request]]) -> Verdict:
    return every_protocol_reaches(here(MESH, unread(MESH)), made)


def test_answers_from_every_cluster_over_every_protocol_are_conformant() -> None:
    verdict = judge(sent())

    assert verdict.outcome is Outcome.CONFORMANT
    assert verdict.reason == (
        "40 TCP connections and 40 HTTP/2 requests were all answered, by every cluster in each "
        "(a miss by chance: 1e-06)"
    )


@pytest.mark.parametrize(("protocol", "name"), [(Protocol.TCP, "TCP"), (Protocol.HTTP2, "HTTP/2")])
def test_a_cluster_that_one_protocol_does_not_reach_is_named(protocol: Protocol, name: str) -> None:
    made = sent()
    made[protocol] = [
        one
        for one in made[protocol]
        if (one.source, one.answer and one.answer.cluster) != ("east", "west")
    ]

    verdict = judge(made)

    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [
        ("protocol-does-not-reach", ("east", "west"))
    ]
    assert f"over {name}" in verdict.findings[0].summary
    assert f"--port={PORTS[protocol]}" in verdict.findings[0].remedy


def test_one_failure_is_enough() -> None:
    made = sent()
    made[Protocol.TCP][0] = replace(
        made[Protocol.TCP][0], answer=None, ending=Ending.RESET, status=0, error="reset by peer"
    )

    verdict = judge(made)

    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [
        ("protocol-fails", ("east",))
    ]
    assert "1× reset: reset by peer" in verdict.findings[0].seen


def test_a_protocol_that_was_not_tried_makes_it_inconclusive() -> None:
    assert judge({**sent(), Protocol.TCP: []}).outcome is Outcome.INCONCLUSIVE


def test_a_cluster_that_waits_behind_nearer_ones_need_not_answer() -> None:
    fake = FakeMesh()
    by_priority(fake)
    made = [replace(one, port=8080) for one in requests(fake.mesh)]
    reached = [
        one
        for one in made
        if one.answer and (one.source, one.answer.cluster) != ("cluster1", "cluster2")
    ]

    verdict = every_protocol_reaches(here(fake.mesh, fake.record()), {Protocol.TCP: reached})

    assert verdict.outcome is Outcome.CONFORMANT, verdict
    assert "cluster1 to cluster2 need not answer" in verdict.reason
