"""Judges of subsets, on meshes that lead requests right or wrong."""

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
from pytest_istio_mc.observations import Ending, Request
from pytest_istio_mc.samples import Sample, Stage
from pytest_istio_mc.verdicts import Convergence, Outcome, Verdict
from tests.checks.live_mesh import answer, here, mesh, request
from tests.checks.routed import refusals, sample, spoiled, unknown_at_gateway

NAMES = ("east", "west")
MESH = mesh()
HERE = here(MESH)
PINNED = Stage(
    "subset",
    tuple(
        sample(MESH, source, f"subset {target}", [target]) for source in NAMES for target in NAMES
    ),
    0.5,
)
MIXED = Stage(
    "mixed",
    (
        *(
            sample(MESH, source, f"{role} in {to}", [to], role=role)
            for source in NAMES
            for to in NAMES
            for role in ("server", "client")
        ),
        *(sample(MESH, source, "v2 in east", []) for source in NAMES),
    ),
    0.5,
)


def weighted(counts: dict[str, int]) -> Stage:
    """Every source's requests are answered so many times by each cluster."""

    def sent(source: str) -> tuple[Request, ...]:
        return tuple(
            request(MESH, source, to) for to, count in counts.items() for _ in range(count)
        )

    samples = (Sample(source, "weights", "weights.ns", NAMES, sent(source)) for source in NAMES)
    return Stage("weights", tuple(samples), 0.5)


def judged(seen: Stage) -> Verdict:
    """The verdict on weights."""
    return weights_are_kept(HERE, (seen, shares(NAMES)))


def fault(verdict: Verdict) -> str:
    """The one kind of fault that was found."""
    assert verdict.outcome is Outcome.NON_CONFORMANT, verdict.reason
    commands = ("istioctl --context=k-", "kubectl --context=k-")
    assert all(finding.remedy.startswith(commands) for finding in verdict.findings)
    (found,) = {finding.fault for finding in verdict.findings}
    return found


def test_subsets_that_pin_their_cluster_are_conformant() -> None:
    verdict = clusters_are_pinned(HERE, PINNED)

    assert (verdict.outcome, verdict.check) == (Outcome.CONFORMANT, "MC-SUBSET-001")
    assert verdict.reason == "48 requests for 2 subsets"
    assert verdict.pairs == ("east to west", "west to east")
    what = "routes and subsets in force everywhere"
    assert verdict.convergence == (Convergence(what, 0.5, 0.5),)


def test_one_request_that_another_cluster_answers_is_one_too_many() -> None:
    stray = [*PINNED.samples[1].requests[1:], request(MESH, "east", "east")]

    verdict = clusters_are_pinned(HERE, spoiled(PINNED, "east", "subset west", stray))

    assert fault(verdict) == "subset-not-heeded"
    (finding,) = verdict.findings
    assert finding.summary == "east: 1 of 12 requests for subset west are answered elsewhere"
    assert "server hello-east in east" in finding.seen


def test_a_subset_that_the_targets_gateway_does_not_know_is_named() -> None:
    broken = spoiled(PINNED, "east", "subset west", unknown_at_gateway(MESH, "east"))

    verdict = clusters_are_pinned(HERE, broken)

    assert fault(verdict) == "dr-subset-at-destination"
    assert verdict.findings[0].clusters == ("east", "west")
    assert "--context=k-west proxy-config listeners" in verdict.findings[0].remedy
    assert "apply the DestinationRule in west, too" in verdict.findings[0].remedy


def test_a_failure_on_the_way_to_the_own_cluster_is_no_gateways_fault() -> None:
    broken = spoiled(PINNED, "east", "subset east", refusals(MESH, "east"))

    assert fault(clusters_are_pinned(HERE, broken)) == "subset-requests-fail"


def test_requests_that_time_out_are_no_gateways_fault_and_being_late_is_told() -> None:
    dead = [
        replace(one, ending=Ending.TIMEOUT, status=0, error="timed out")
        for one in refusals(MESH, "east")
    ]
    late = replace(spoiled(PINNED, "east", "subset west", dead), first_seconds=None)

    verdict = clusters_are_pinned(HERE, late)

    assert fault(verdict) == "subset-requests-fail"
    assert verdict.findings[0].seen.endswith(
        "no answers; not everything was in force within the time that configuration may take"
    )
    assert verdict.convergence == ()


def test_some_failures_among_answers_are_a_finding_too() -> None:
    some = [*PINNED.samples[1].requests, *refusals(MESH, "east", 1)]

    verdict = clusters_are_pinned(HERE, spoiled(PINNED, "east", "subset west", some))

    assert fault(verdict) == "subset-requests-fail"
    assert "1× 503 no healthy upstream; answers: west 12" in verdict.findings[0].seen


def test_nothing_sent_says_nothing() -> None:
    silent = spoiled(PINNED, "east", "subset west", [])

    assert clusters_are_pinned(HERE, silent).outcome is Outcome.INCONCLUSIVE


def test_routes_that_do_not_look_at_the_source_are_found() -> None:
    kept = [sample(MESH, source, "own cluster", [source]) for source in NAMES]
    sent = [
        sample(MESH, "east", "next cluster", ["west"]),
        sample(MESH, "west", "next cluster", ["east"]),
    ]
    stage = Stage("own cluster", (*kept, *sent), 0.5)
    assert sources_are_told_apart(HERE, stage).outcome is Outcome.CONFORMANT

    spread = sample(MESH, "west", "next cluster", ["east"], NAMES).requests
    verdict = sources_are_told_apart(HERE, spoiled(stage, "west", "next cluster", spread))

    assert fault(verdict) == "subset-not-heeded"
    assert verdict.findings[0].seen.startswith("east 6, west 6")


def test_versions_within_clusters_are_told_apart() -> None:
    verdict = versions_within_clusters(HERE, MIXED)

    assert verdict.outcome is Outcome.CONFORMANT, verdict.reason
    assert verdict.reason == "96 requests for 4 versions in clusters, 24 for empty ones"


def test_the_other_version_of_the_right_cluster_is_wrong() -> None:
    other = replace(request(MESH, "east", "west"), answer=answer(MESH, "west", role="client"))

    verdict = versions_within_clusters(HERE, spoiled(MIXED, "east", "server in west", [other] * 3))

    assert fault(verdict) == "subset-not-heeded"


def test_the_right_version_of_another_cluster_is_wrong() -> None:
    wrong = spoiled(MIXED, "east", "server in west", [request(MESH, "east", "east")] * 3)

    assert fault(versions_within_clusters(HERE, wrong)) == "subset-not-heeded"


def test_an_empty_subset_that_answers_is_found() -> None:
    leaking = [*refusals(MESH, "east", 2), request(MESH, "east", "west")]

    verdict = versions_within_clusters(HERE, spoiled(MIXED, "east", "v2 in east", leaking))

    assert fault(verdict) == "subset-not-heeded"
    assert verdict.findings[0].expected == "503 no healthy upstream"


def test_an_empty_subset_that_fails_otherwise_proves_nothing() -> None:
    dead = [replace(one, ending=Ending.TIMEOUT, status=0) for one in refusals(MESH, "east", 2)]

    verdict = versions_within_clusters(HERE, spoiled(MIXED, "east", "v2 in east", dead))

    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_weights_that_are_kept_are_conformant_and_the_odds_are_stated() -> None:
    verdict = judged(weighted({"east": 155, "west": 45}))

    assert verdict.outcome is Outcome.CONFORMANT, verdict.reason
    assert "of 200 requests from each cluster (east 80 %, west 20 %)" in verdict.reason
    odds = "false alarm at most 1e-06 (exact binomial bounds), even shares would pass with"
    assert odds in verdict.reason


@pytest.mark.parametrize(
    "counts",
    [{"east": 100, "west": 100}, {"east": 40, "west": 160}, {"east": 200}],
    ids=["even", "swapped", "all"],
)
def test_other_shares_are_found(counts: dict[str, int]) -> None:
    verdict = judged(weighted(counts))

    assert fault(verdict) == "weights-not-kept"
    assert {finding.clusters for finding in verdict.findings} == {
        (source, target) for source in NAMES for target in NAMES
    }


def test_failures_among_shares_are_not_mistaken_for_wrong_shares() -> None:
    kept, lost = weighted({"east": 160, "west": 40}), refusals(MESH, "east", 200)

    assert fault(judged(spoiled(kept, "east", "weights", lost))) == "subset-requests-fail"


def test_requests_that_are_lost_on_the_way_to_one_cluster_name_it() -> None:
    """What keeps that cluster from being reached at all then explains them."""
    lost = refusals(MESH, "east", 40)
    unreached = [*(request(MESH, "east", "east") for _ in range(160)), *lost]
    unsteady = [*(request(MESH, "east", to) for to in NAMES for _ in range(90)), *lost[:20]]

    def clusters(requests: list[Request]) -> tuple[str, ...]:
        kept = weighted({"east": 160, "west": 40})
        (finding,) = judged(spoiled(kept, "east", "weights", requests)).findings
        return finding.clusters

    assert clusters(unreached) == ("east", "west")
    assert clusters(unsteady) == ("east",)


def test_a_subset_that_was_never_ready_is_found_beside_the_shares() -> None:
    seen = weighted({"east": 160, "west": 40})
    never = sample(MESH, "east", "subset west", ["west"], ["east"])

    verdict = judged(replace(seen, samples=(*seen.samples, never), first_seconds=None))

    assert fault(verdict) == "subset-not-heeded"


@pytest.mark.parametrize("clusters", [2, 3, 4, 7, 20])
def test_shares_sum_to_a_hundred_and_leave_nobody_out(clusters: int) -> None:
    found = shares([f"c{number}" for number in range(clusters)])

    assert sum(found.values()) == 100
    assert min(found.values()) >= 1
    assert found["c0"] >= 80
