"""Judges of subsets: a mesh that leads requests right, and what each is to say of one that does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_istio_mc.checks.subsets.live import (
    clusters_are_pinned,
    sources_are_told_apart,
    versions_within_clusters,
    weights_are_kept,
)
from pytest_istio_mc.checks.subsets.observe import shares
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.observations import Ending, Request
from pytest_istio_mc.samples import Sample, Stage
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.live_mesh import answer, mesh, request
from tests.checks.routed import refusals, sample, spoiled, unknown_at_gateway

NAMES = ("east", "west")


@pytest.fixture
def here() -> Mesh:
    return mesh()


@pytest.fixture
def pinned(here: Mesh) -> Stage:
    return Stage(
        "subset",
        tuple(
            sample(here, source, f"subset {target}", [target])
            for source in NAMES
            for target in NAMES
        ),
        0.5,
    )


@pytest.fixture
def mixed(here: Mesh) -> Stage:
    led = [
        sample(here, source, f"{role} in {to}", [to], role=role)
        for source in NAMES
        for to in NAMES
        for role in ("server", "client")
    ]
    return Stage(
        "mixed", (*led, *(sample(here, source, "v2 in east", []) for source in NAMES)), 0.5
    )


def weighted(here: Mesh, counts: dict[str, int]) -> Stage:
    """Every source's requests are answered so many times by each cluster."""
    requests = {
        source: tuple(
            request(here, source, to) for to, count in counts.items() for _ in range(count)
        )
        for source in NAMES
    }
    return Stage(
        "weights",
        tuple(
            Sample(source, "weights", "weights.ns", NAMES, sent)
            for source, sent in requests.items()
        ),
        0.5,
    )


def fault(verdict: Verdict) -> str:
    """The one kind of fault that was found."""
    assert verdict.outcome is Outcome.NON_CONFORMANT, verdict.reason
    assert all(
        finding.remedy.startswith(("istioctl --context=k-", "kubectl --context=k-"))
        for finding in verdict.findings
    )
    (found,) = {finding.fault for finding in verdict.findings}
    return found


def test_subsets_that_pin_their_cluster_are_conformant(here: Mesh, pinned: Stage) -> None:
    verdict = clusters_are_pinned(here, pinned)

    assert (verdict.outcome, verdict.check) == (Outcome.CONFORMANT, "MC-SUBSET-001")
    assert verdict.reason == "48 requests for 2 subsets"
    assert verdict.pairs == ("east to west", "west to east")


def test_one_request_that_another_cluster_answers_is_one_too_many(
    here: Mesh, pinned: Stage
) -> None:
    stray = [*pinned.samples[1].requests[1:], request(here, "east", "east")]

    verdict = clusters_are_pinned(here, spoiled(pinned, "east", "subset west", stray))

    assert fault(verdict) == "subset-not-heeded"
    assert (
        verdict.findings[0].summary
        == "east: 1 of 12 requests for subset west are answered elsewhere"
    )
    assert "server hello-east in east" in verdict.findings[0].seen


def test_a_subset_that_the_targets_gateway_does_not_know_is_named(
    here: Mesh, pinned: Stage
) -> None:
    broken = spoiled(pinned, "east", "subset west", unknown_at_gateway(here, "east"))

    verdict = clusters_are_pinned(here, broken)

    assert fault(verdict) == "dr-subset-at-destination"
    assert verdict.findings[0].clusters == ("east", "west")
    assert "--context=k-west proxy-config listeners" in verdict.findings[0].remedy
    assert "apply the DestinationRule in west, too" in verdict.findings[0].remedy


def test_a_failure_on_the_way_to_the_own_cluster_is_no_gateways_fault(
    here: Mesh, pinned: Stage
) -> None:
    assert fault(
        clusters_are_pinned(here, spoiled(pinned, "east", "subset east", refusals(here, "east")))
    ) == ("subset-requests-fail")


def test_requests_that_time_out_are_no_gateways_fault_and_being_late_is_told(
    here: Mesh, pinned: Stage
) -> None:
    dead = [
        replace(one, ending=Ending.TIMEOUT, status=0, error="timed out")
        for one in refusals(here, "east")
    ]

    verdict = clusters_are_pinned(
        here, replace(spoiled(pinned, "east", "subset west", dead), first_seconds=None)
    )

    assert fault(verdict) == "subset-requests-fail"
    assert verdict.findings[0].seen.endswith(
        "no answers; not everything was in force within the time that configuration may take"
    )


def test_some_failures_among_answers_are_a_finding_too(here: Mesh, pinned: Stage) -> None:
    some = [*pinned.samples[1].requests, *refusals(here, "east", 1)]

    verdict = clusters_are_pinned(here, spoiled(pinned, "east", "subset west", some))

    assert fault(verdict) == "subset-requests-fail"
    assert "1× 503 no healthy upstream; answers: west 12" in verdict.findings[0].seen


def test_nothing_sent_says_nothing(here: Mesh, pinned: Stage) -> None:
    assert (
        clusters_are_pinned(here, spoiled(pinned, "east", "subset west", [])).outcome
        is Outcome.INCONCLUSIVE
    )


def test_routes_that_do_not_look_at_the_source_are_found(here: Mesh) -> None:
    kept = [sample(here, source, "own cluster", [source]) for source in NAMES]
    sent = [
        sample(here, "east", "next cluster", ["west"]),
        sample(here, "west", "next cluster", ["east"]),
    ]
    stage = Stage("own cluster", (*kept, *sent), 0.5)
    assert sources_are_told_apart(here, stage).outcome is Outcome.CONFORMANT

    spread = sample(here, "west", "next cluster", ["east"], NAMES).requests
    verdict = sources_are_told_apart(here, spoiled(stage, "west", "next cluster", spread))

    assert fault(verdict) == "subset-not-heeded"
    assert verdict.findings[0].seen.startswith("east 6, west 6")


def test_versions_within_clusters_are_told_apart(here: Mesh, mixed: Stage) -> None:
    verdict = versions_within_clusters(here, mixed)

    assert verdict.outcome is Outcome.CONFORMANT, verdict.reason
    assert verdict.reason == "96 requests for 4 versions in clusters, 24 for empty ones"


def test_the_other_version_of_the_right_cluster_is_wrong(here: Mesh, mixed: Stage) -> None:
    wrong = [replace(request(here, "east", "west"), answer=answer(here, "west", role="client"))] * 3

    assert (
        fault(versions_within_clusters(here, spoiled(mixed, "east", "server in west", wrong)))
        == "subset-not-heeded"
    )


def test_the_right_version_of_another_cluster_is_wrong(here: Mesh, mixed: Stage) -> None:
    wrong = [request(here, "east", "east")] * 3

    assert (
        fault(versions_within_clusters(here, spoiled(mixed, "east", "server in west", wrong)))
        == "subset-not-heeded"
    )


def test_an_empty_subset_that_answers_is_found(here: Mesh, mixed: Stage) -> None:
    leaking = [*refusals(here, "east", 2), request(here, "east", "west")]

    verdict = versions_within_clusters(here, spoiled(mixed, "east", "v2 in east", leaking))

    assert fault(verdict) == "subset-not-heeded"
    assert verdict.findings[0].expected == "503 no healthy upstream"


def test_an_empty_subset_that_fails_otherwise_proves_nothing(here: Mesh, mixed: Stage) -> None:
    dead = [replace(one, ending=Ending.TIMEOUT, status=0) for one in refusals(here, "east", 2)]

    assert (
        versions_within_clusters(here, spoiled(mixed, "east", "v2 in east", dead)).outcome
        is Outcome.INCONCLUSIVE
    )


def test_weights_that_are_kept_are_conformant_and_the_odds_are_stated(here: Mesh) -> None:
    verdict = weights_are_kept(here, weighted(here, {"east": 155, "west": 45}), shares(NAMES))

    assert verdict.outcome is Outcome.CONFORMANT, verdict.reason
    assert "of 200 requests from each cluster (east 80 %, west 20 %)" in verdict.reason
    assert (
        "false alarm at most 1e-06 (exact binomial bounds), even shares would pass with"
        in verdict.reason
    )


@pytest.mark.parametrize(
    "counts",
    [{"east": 100, "west": 100}, {"east": 40, "west": 160}, {"east": 200}],
    ids=["even", "swapped", "all"],
)
def test_other_shares_are_found(here: Mesh, counts: dict[str, int]) -> None:
    verdict = weights_are_kept(here, weighted(here, counts), shares(NAMES))

    assert fault(verdict) == "weights-not-kept"
    assert {finding.clusters for finding in verdict.findings} == {
        (source, target) for source in NAMES for target in NAMES
    }


def test_failures_among_shares_are_not_mistaken_for_wrong_shares(here: Mesh) -> None:
    lossy = spoiled(
        weighted(here, {"east": 160, "west": 40}), "east", "weights", refusals(here, "east", 200)
    )

    assert fault(weights_are_kept(here, lossy, shares(NAMES))) == "subset-requests-fail"


def test_requests_that_are_lost_on_the_way_to_one_cluster_name_it(here: Mesh) -> None:
    """What keeps that cluster from being reached at all then explains them."""
    unreached = [*(request(here, "east", "east") for _ in range(160)), *refusals(here, "east", 40)]
    unsteady = [
        *(request(here, "east", to) for to in NAMES for _ in range(90)),
        *refusals(here, "east", 20),
    ]

    def clusters(requests: list[Request]) -> tuple[str, ...]:
        seen = spoiled(weighted(here, {"east": 160, "west": 40}), "east", "weights", requests)
        (finding,) = weights_are_kept(here, seen, shares(NAMES)).findings
        return finding.clusters

    assert clusters(unreached) == ("east", "west")
    assert clusters(unsteady) == ("east",)


def test_a_subset_that_was_never_ready_is_found_beside_the_shares(here: Mesh) -> None:
    seen = weighted(here, {"east": 160, "west": 40})
    never = sample(here, "east", "subset west", ["west"], ["east"])

    verdict = weights_are_kept(
        here, replace(seen, samples=(*seen.samples, never), first_seconds=None), shares(NAMES)
    )

    assert fault(verdict) == "subset-not-heeded"


@pytest.mark.parametrize("clusters", [2, 3, 4, 7, 20])
def test_shares_sum_to_a_hundred_and_leave_nobody_out(clusters: int) -> None:
    found = shares([f"c{number}" for number in range(clusters)])

    assert sum(found.values()) == 100
    assert min(found.values()) >= 1
    assert found["c0"] >= 80
