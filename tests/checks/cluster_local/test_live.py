"""Judges of cluster-local services: a mesh that heeds its settings, and what each is to say of one that does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pytest_istio_mc.checks.cluster_local import live
from pytest_istio_mc.checks.cluster_local.facts import (
    ALL,
    BEFORE,
    ELSEWHERE,
    LIFTED,
    NAMESPACE,
    ONE,
    OTHER,
    SOLO,
    SOME,
    SYSTEM,
    ClusterLocal,
    Defaults,
    Held,
)
from pytest_istio_mc.checks.cluster_local.live import (
    every_service,
    lifted,
    one_control_plane,
    one_namespace,
    one_service,
)
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.samples import Stage
from pytest_istio_mc.spec import ClusterSpec, Role
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.live_mesh import mesh
from tests.checks.routed import cluster_local, refusals, sample, spoiled, with_stage

NAMES = ("east", "west")
Judge = Callable[[Mesh, ClusterLocal], Verdict]
JUDGES: dict[str, Judge] = {
    "001": one_service,
    "002": one_namespace,
    "003": every_service,
    "004": lifted,
    "005": one_control_plane,
}


@pytest.fixture
def here() -> Mesh:
    return mesh()


def changed(here: Mesh, stage: str, source: str, case: str, *answered: str) -> ClusterLocal:
    """The healthy pass, but in that stage that client's service is answered by these clusters, or refused where there are none."""
    seen = cluster_local(here)
    requests = (
        sample(here, source, case, NAMES, answered).requests if answered else refusals(here, source)
    )
    return with_stage(seen, spoiled(seen.stage(stage), source, case, requests))


def faults(verdict: Verdict) -> set[str]:
    assert verdict.outcome is Outcome.NON_CONFORMANT, verdict.reason
    return {finding.fault for finding in verdict.findings}


@pytest.mark.parametrize("number", JUDGES)
def test_a_mesh_that_heeds_its_settings_is_conformant(here: Mesh, number: str) -> None:
    verdict = JUDGES[number](here, cluster_local(here))

    assert (verdict.outcome, verdict.check) == (Outcome.CONFORMANT, f"MC-CLUSTERLOCAL-{number}"), (
        verdict.reason
    )
    assert (
        "in force 0.5 s after the change of istio-system/istio in east, istio-system/istio in west"
        in verdict.reason
    )


@pytest.mark.parametrize(
    ("number", "stage", "case"),
    [("001", SOME, ONE), ("002", SOME, NAMESPACE), ("003", ALL, OTHER), ("005", SOME, SOLO)],
    ids=["001", "002", "003", "005"],
)
def test_a_cluster_local_service_that_crosses_over_is_found(
    here: Mesh, number: str, stage: str, case: str
) -> None:
    verdict = JUDGES[number](here, changed(here, stage, "east", case, "east", "west"))

    assert faults(verdict) == {"cluster-local-not-heeded"}
    assert verdict.findings[0].clusters == ("east", "west")
    assert verdict.findings[0].seen == "east 6, west 6"
    assert (
        "--context=k-east -n istio-system get configmap istio -o yaml" in verdict.findings[0].remedy
    )
    assert "deploy/istiod -- pilot-discovery request GET /debug/mesh" in verdict.findings[0].remedy


@pytest.mark.parametrize("number", ["001", "002"])
def test_a_setting_that_keeps_more_than_it_names_is_found(here: Mesh, number: str) -> None:
    verdict = JUDGES[number](here, changed(here, SOME, "west", OTHER, "west"))

    assert faults(verdict) == {"cl-overbroad"}
    assert (
        verdict.findings[0].summary
        == "west: a service (never named) is not answered by east, although no setting names it"
    )


def test_traffic_that_does_not_come_back_is_found(here: Mesh) -> None:
    verdict = lifted(here, changed(here, LIFTED, "east", ONE, "east"))

    assert faults(verdict) == {"cl-not-lifted"}


def test_what_was_never_local_was_not_lifted(here: Mesh) -> None:
    assert (
        lifted(here, changed(here, ALL, "east", ONE, "east", "west")).outcome
        is Outcome.INCONCLUSIVE
    )


def test_a_setting_that_other_control_planes_heed_too_is_found(here: Mesh) -> None:
    verdict = one_control_plane(here, changed(here, SOME, "west", SOLO, "west"))

    assert faults(verdict) == {"cl-one-primary"}
    assert "although only east was told to keep it local" in verdict.findings[0].summary


@pytest.mark.parametrize("number", JUDGES)
def test_a_mesh_in_which_nothing_crossed_before_says_nothing(here: Mesh, number: str) -> None:
    seen = cluster_local(here)
    stage = Stage(
        BEFORE,
        tuple(
            sample(here, one.source, one.case, NAMES, [one.source])
            for one in seen.stage(BEFORE).samples
        ),
        None,
    )

    verdict = JUDGES[number](here, with_stage(with_stage(seen, stage), replace(stage, name=LIFTED)))

    assert verdict.outcome is Outcome.INCONCLUSIVE, verdict.reason


@pytest.mark.parametrize(
    ("number", "stage", "case"),
    [("001", SOME, ONE), ("003", ALL, ONE), ("004", LIFTED, ONE), ("005", SOME, SOLO)],
)
def test_failed_requests_are_found_whoever_should_have_answered(
    here: Mesh, number: str, stage: str, case: str
) -> None:
    verdict = JUDGES[number](here, changed(here, stage, "east", case))

    assert "cluster-local-requests-fail" in faults(verdict)


def test_failed_requests_are_a_matter_of_the_clusters_that_should_have_answered(here: Mesh) -> None:
    seen = cluster_local(here)
    half = [*sample(here, "east", ONE, NAMES, ["east"]).requests, *refusals(here, "east")]

    verdict = JUDGES["004"](here, with_stage(seen, spoiled(seen.stage(LIFTED), "east", ONE, half)))

    assert [
        one.clusters for one in verdict.findings if one.fault == "cluster-local-requests-fail"
    ] == [("east", "west")]


def test_remotes_are_told_by_their_primary(here: Mesh) -> None:
    remote = mesh(
        ClusterSpec("east", "network1", context="k-east"),
        ClusterSpec("west", "network2", role=Role.REMOTE, control_plane="east", context="k-west"),
        ClusterSpec("north", "network3", context="k-north"),
    )
    seen = cluster_local(remote)

    verdict = one_control_plane(remote, seen)

    assert verdict.outcome is Outcome.CONFORMANT, verdict.reason
    assert verdict.reason.startswith("kept local in east and west, served by east, only")


def defaults(here: Mesh) -> Defaults:
    """The defaults of a healthy mesh, with requests."""
    held = tuple(
        Held(source, "kube-dns.kube-system", "53", (f"10.{place}.0.9",), (f"10.{place}.0.9",))
        for place, source in enumerate(NAMES)
    )
    twins = tuple(
        Held(source, "helloworld.ns", "5000", ("10.0.0.3", "198.19.2.1"), ("10.0.0.3",))
        for source in NAMES
    )
    asked = [sample(here, source, SYSTEM, [source]) for source in NAMES] + [
        sample(here, source, ELSEWHERE, NAMES) for source in NAMES
    ]
    return Defaults(held, twins, Stage("defaults", tuple(asked), 0.5))


def test_defaults_that_are_kept_are_conformant_with_and_without_requests(here: Mesh) -> None:
    asked = live.defaults(here, defaults(here))
    looked = live.defaults(here, replace(defaults(here), stage=None))

    assert (asked.outcome, looked.outcome) == (Outcome.CONFORMANT, Outcome.CONFORMANT), (
        asked.reason,
        looked.reason,
    )
    assert asked.reason == "1 services have endpoints of the own cluster only; 48 requests"
    assert looked.reason.endswith("no request sent (--mesh-disruptive)")


def test_another_clusters_endpoint_of_a_system_service_is_found(here: Mesh) -> None:
    seen = defaults(here)
    leaking = replace(seen.held[0], addresses=("10.0.0.9", "198.19.2.1"))

    verdict = live.defaults(here, replace(seen, held=(leaking, seen.held[1])))

    assert faults(verdict) == {"default-cluster-local-lost"}
    assert (verdict.findings[0].clusters, verdict.findings[0].seen) == (("east",), "198.19.2.1")
    assert "grep -A4 'clusterLocal: false'" in verdict.findings[0].remedy


def test_another_clusters_answer_for_a_system_service_is_found(here: Mesh) -> None:
    seen = defaults(here)
    assert seen.stage is not None
    crossing = spoiled(seen.stage, "west", SYSTEM, sample(here, "west", SYSTEM, NAMES).requests)

    verdict = live.defaults(here, replace(seen, stage=crossing))

    assert faults(verdict) == {"default-cluster-local-lost"}
    assert verdict.findings[0].summary == "west: a service in kube-system is answered by east"


def test_proxies_that_know_no_other_cluster_at_all_say_nothing(here: Mesh) -> None:
    seen = defaults(here)
    lonely = tuple(replace(twin, addresses=twin.own) for twin in seen.twins)

    assert live.defaults(here, replace(seen, twins=lonely)).outcome is Outcome.INCONCLUSIVE
    assert live.defaults(here, replace(seen, held=())).outcome is Outcome.INCONCLUSIVE


def test_a_twin_that_does_not_cross_says_nothing(here: Mesh) -> None:
    seen = defaults(here)
    assert seen.stage is not None
    local = spoiled(
        seen.stage, "west", ELSEWHERE, sample(here, "west", ELSEWHERE, ["west"]).requests
    )

    assert live.defaults(here, replace(seen, stage=local)).outcome is Outcome.INCONCLUSIVE
