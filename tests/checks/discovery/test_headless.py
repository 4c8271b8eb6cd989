"""The judge of headless services."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_istio_mc.checks.discovery.facts import HeadlessCall, HeadlessName
from pytest_istio_mc.checks.discovery.headless import headless_instances_reached
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import Ending, Protocol
from pytest_istio_mc.spec import ClusterSpec
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.live_mesh import NAMESPACE, answer, here, mesh, request, spiffe

MESH = mesh()
FLAT = mesh(
    ClusterSpec("east", "network1", context="k-east"),
    ClusterSpec("west", "network1", context="k-west"),
)


def names(of: Mesh, *, captured: bool = False) -> list[HeadlessName]:
    """What every cluster's client sees when all is well."""
    probes = of.require_probes()
    found = []
    for source in of.spec:
        near = [target for target in of.spec if target.network == source.network]
        calls = []
        for target in near:
            pair = (source.name, target.name)
            for pod in probes.servers(target.name):
                http = request(of, *pair, answer=answer(of, target.name, source.name))
                tcp = replace(request(of, *pair), protocol=Protocol.TCP, port=5001, status=0)
                calls.append(HeadlessCall(*pair, pod.name, pod.ip, http, tcp))
        named = near if captured else [source]
        addresses = tuple(pod.ip for target in named for pod in probes.servers(target.name))
        found.append(
            HeadlessName(source.name, f"headless.{NAMESPACE}", addresses, captured, tuple(calls))
        )
    return found


def judge(of: Mesh, seen: list[HeadlessName]) -> Verdict:
    return headless_instances_reached(here(of), (tuple(seen), 0.5))


def faults(verdict: Verdict) -> list[tuple[str, tuple[str, ...]]]:
    return [(finding.fault, finding.clusters) for finding in verdict.findings]


def test_instances_on_the_own_network_are_all_that_is_asked_between_networks() -> None:
    verdict = judge(MESH, names(MESH))

    assert verdict.outcome is Outcome.CONFORMANT, verdict
    assert verdict.reason.startswith(
        "2 times an instance on the client's network answered at its own address"
    )
    assert "those on other networks cannot be reached under it" in verdict.reason


@pytest.mark.parametrize("captured", [False, True], ids=["cluster's DNS", "sidecar's DNS"])
def test_on_one_network_every_clusters_instances_answer(captured: bool) -> None:
    verdict = judge(FLAT, names(FLAT, captured=captured))

    assert verdict.outcome is Outcome.CONFORMANT, verdict
    assert verdict.reason.startswith("4 times")
    assert ("of every cluster on the network" in verdict.reason) is captured
    assert "other networks" not in verdict.reason


def test_an_instance_of_another_cluster_that_does_not_answer_is_named() -> None:
    seen = names(FLAT)
    broken = replace(seen[0].calls[1].tcp, answer=None, ending=Ending.RESET, error="reset by peer")
    seen[0] = replace(seen[0], calls=(seen[0].calls[0], replace(seen[0].calls[1], tcp=broken)))

    verdict = judge(FLAT, seen)

    assert faults(verdict) == [("headless-instance-not-reached", ("east", "west"))]
    assert "over TCP" in verdict.findings[0].summary
    assert "--address=10.2.0.3" in verdict.findings[0].remedy


def test_another_pod_at_an_instances_address_is_wrong() -> None:
    seen = names(FLAT)
    seen[0] = replace(
        seen[0], calls=(replace(seen[0].calls[0], http=request(FLAT, "east", "west")),)
    )

    assert ("headless-answered-elsewhere", ("east",)) in faults(judge(FLAT, seen))


def test_an_answer_without_mutual_tls_is_wrong() -> None:
    seen = names(MESH)
    call = seen[0].calls[0]
    assert call.http.answer is not None
    for caller in ("", spiffe("somebody")):
        plain = replace(
            call, http=replace(call.http, answer=replace(call.http.answer, caller=caller))
        )
        verdict = judge(MESH, [replace(seen[0], calls=(plain,)), seen[1]])
        assert faults(verdict) == [("headless-without-identity", ("east",))]
        assert verdict.findings[0].expected == spiffe("client")


def test_a_name_that_leads_to_another_network_leads_astray() -> None:
    seen = names(MESH)
    seen[0] = replace(seen[0], addresses=(*seen[0].addresses, "10.2.0.3"))

    assert faults(judge(MESH, seen)) == [("headless-name-astray", ("east", "west"))]


def test_a_name_that_does_not_lead_to_the_own_instances_is_incomplete() -> None:
    seen = names(MESH)
    seen[1] = replace(seen[1], addresses=())

    verdict = judge(MESH, seen)

    assert faults(verdict) == [("headless-name-incomplete", ("west",))]
    assert verdict.findings[0].seen == "none"


def test_a_sidecar_that_answers_for_the_name_must_know_the_other_clusters() -> None:
    seen = [replace(name, captured=True) for name in names(FLAT)]

    assert faults(judge(FLAT, seen)) == [
        ("headless-name-incomplete", ("east", "west")),
        ("headless-name-incomplete", ("west", "east")),
    ]


def test_a_client_that_was_not_asked_makes_it_inconclusive() -> None:
    assert judge(MESH, names(MESH)[:1]).outcome is Outcome.INCONCLUSIVE
