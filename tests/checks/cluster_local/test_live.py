"""Judges of cluster-local services, on meshes that heed settings or do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pytest_istio_mc.checks.cluster_local.facts import (
    ALL_LOCAL,
    BEFORE,
    IN_ANOTHER_NAMESPACE,
    IN_KUBE_SYSTEM,
    IN_NAMED_NAMESPACE,
    LIFTED,
    NAMED_ALONE,
    NAMED_IN_ONE,
    NEVER_NAMED,
    SOME_LOCAL,
    ClusterLocal,
    Defaults,
    ServiceEndpoints,
)
from pytest_istio_mc.checks.cluster_local.live import (
    defaults,
    every_service,
    lifted,
    one_control_plane,
    one_namespace,
    one_service,
)
from pytest_istio_mc.checks.site import Here
from pytest_istio_mc.samples import Stage
from pytest_istio_mc.spec import ClusterSpec, Role
from pytest_istio_mc.verdicts import Convergence, Outcome, Verdict
from tests.checks.live_mesh import here, mesh
from tests.checks.routed import cluster_local, refusals, sample, spoiled, with_stage

NAMES = ("east", "west")
MESH = mesh()
HERE = here(MESH)
JUDGES: dict[str, Callable[[Here, ClusterLocal], Verdict]] = {
    "001": one_service,
    "002": one_namespace,
    "003": every_service,
    "004": lifted,
    "005": one_control_plane,
}


def changed(stage: str, source: str, case: str, *answered: str) -> ClusterLocal:
    """The healthy pass, but these clusters answer one client's service in a stage."""
    seen = cluster_local(MESH)
    requests = refusals(MESH, source)
    if answered:
        requests = list(sample(MESH, source, case, NAMES, answered).requests)
    return with_stage(seen, spoiled(seen.stage(stage), source, case, requests))


def faults(verdict: Verdict) -> set[str]:
    assert verdict.outcome is Outcome.NON_CONFORMANT, verdict.reason
    return {finding.fault for finding in verdict.findings}


@pytest.mark.parametrize("number", JUDGES)
def test_a_mesh_that_heeds_its_settings_is_conformant(number: str) -> None:
    verdict = JUDGES[number](HERE, cluster_local(MESH))

    assert verdict.outcome is Outcome.CONFORMANT, verdict.reason
    assert verdict.check == f"MC-CLUSTERLOCAL-{number}"
    places = "istio-system/istio in east, istio-system/istio in west"
    assert f"in force 0.5 s after the change of {places}" in verdict.reason


def test_how_long_each_stage_took_is_told_once() -> None:
    stages = ("before", "some", "all", "lifted")

    assert lifted(HERE, cluster_local(MESH)).convergence == tuple(
        Convergence(f"mesh configuration in force ({stage})", 0.5, 0.5) for stage in stages
    )
    assert one_service(HERE, cluster_local(MESH)).convergence == ()


@pytest.mark.parametrize(
    ("number", "stage", "case"),
    [
        ("001", SOME_LOCAL, NAMED_ALONE),
        ("002", SOME_LOCAL, IN_NAMED_NAMESPACE),
        ("003", ALL_LOCAL, NEVER_NAMED),
        ("005", SOME_LOCAL, NAMED_IN_ONE),
    ],
    ids=["001", "002", "003", "005"],
)
def test_a_cluster_local_service_that_crosses_over_is_found(
    number: str, stage: str, case: str
) -> None:
    verdict = JUDGES[number](HERE, changed(stage, "east", case, "east", "west"))

    assert faults(verdict) == {"cluster-local-not-heeded"}
    finding = verdict.findings[0]
    assert finding.clusters == ("east", "west")
    assert finding.seen == "east 6, west 6"
    assert "--context=k-east -n istio-system get configmap/istio -o yaml" in finding.remedy
    assert "deploy/istiod -- pilot-discovery request GET /debug/mesh" in finding.remedy


@pytest.mark.parametrize("number", ["001", "002"])
def test_a_setting_that_keeps_more_than_it_names_is_found(number: str) -> None:
    verdict = JUDGES[number](HERE, changed(SOME_LOCAL, "west", NEVER_NAMED, "west"))

    assert faults(verdict) == {"cl-overbroad"}
    assert (
        verdict.findings[0].summary
        == "west: a service (never named) is not answered by east, although no setting names it"
    )


def test_traffic_that_does_not_come_back_is_found() -> None:
    verdict = lifted(HERE, changed(LIFTED, "east", NAMED_ALONE, "east"))

    assert faults(verdict) == {"cl-not-lifted"}


def test_what_was_never_local_was_not_lifted() -> None:
    seen = changed(ALL_LOCAL, "east", NAMED_ALONE, "east", "west")

    assert lifted(HERE, seen).outcome is Outcome.INCONCLUSIVE


def test_a_setting_that_other_control_planes_heed_too_is_found() -> None:
    verdict = one_control_plane(HERE, changed(SOME_LOCAL, "west", NAMED_IN_ONE, "west"))

    assert faults(verdict) == {"cl-one-primary"}
    assert "although only east was told to keep it local" in verdict.findings[0].summary


@pytest.mark.parametrize("number", JUDGES)
def test_a_mesh_in_which_nothing_crossed_before_says_nothing(number: str) -> None:
    seen = cluster_local(MESH)
    alone = (
        sample(MESH, one.source, one.case, NAMES, [one.source])
        for one in seen.stage(BEFORE).samples
    )
    stage = Stage(BEFORE, tuple(alone), None)

    verdict = JUDGES[number](HERE, with_stage(with_stage(seen, stage), replace(stage, name=LIFTED)))

    assert verdict.outcome is Outcome.INCONCLUSIVE, verdict.reason


@pytest.mark.parametrize(
    ("number", "stage", "case"),
    [
        ("001", SOME_LOCAL, NAMED_ALONE),
        ("003", ALL_LOCAL, NAMED_ALONE),
        ("004", LIFTED, NAMED_ALONE),
        ("005", SOME_LOCAL, NAMED_IN_ONE),
    ],
)
def test_failed_requests_are_found_whoever_should_have_answered(
    number: str, stage: str, case: str
) -> None:
    verdict = JUDGES[number](HERE, changed(stage, "east", case))

    assert "cluster-local-requests-fail" in faults(verdict)


def test_failed_requests_are_a_matter_of_the_clusters_that_should_have_answered() -> None:
    stage = cluster_local(MESH).stage(LIFTED)
    own = sample(MESH, "east", NAMED_ALONE, NAMES, ["east"]).requests
    half = spoiled(stage, "east", NAMED_ALONE, [*own, *refusals(MESH, "east")])

    found = lifted(HERE, with_stage(cluster_local(MESH), half)).findings

    failing = [one.clusters for one in found if one.fault == "cluster-local-requests-fail"]
    assert failing == [("east", "west")]


def without_every_service(seen: ClusterLocal) -> ClusterLocal:
    """The pass of a run that may not keep every service local."""
    return replace(seen, stages=tuple(one for one in seen.stages if one.name != ALL_LOCAL))


@pytest.mark.parametrize("number", ["001", "002", "004", "005"])
def test_all_but_one_are_judged_where_not_every_service_may_be_kept_local(number: str) -> None:
    verdict = JUDGES[number](HERE, without_every_service(cluster_local(MESH)))

    assert verdict.outcome is Outcome.CONFORMANT, verdict.reason


def test_what_was_not_allowed_is_no_verdict() -> None:
    verdict = every_service(HERE, without_every_service(cluster_local(MESH)))

    assert (verdict.outcome, verdict.findings) == (Outcome.INCONCLUSIVE, ())


@pytest.mark.parametrize("case", [NAMED_ALONE, IN_NAMED_NAMESPACE, NAMED_IN_ONE])
def test_a_setting_that_stays_is_found_without_the_stage_of_every_service(case: str) -> None:
    verdict = lifted(HERE, without_every_service(changed(LIFTED, "east", case, "east")))

    assert faults(verdict) == {"cl-not-lifted"}


def test_what_was_never_kept_local_cannot_be_lifted_without_that_stage_either() -> None:
    seen = changed(SOME_LOCAL, "east", NAMED_ALONE, "east", "west")

    verdict = lifted(HERE, without_every_service(seen))

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "never cluster-local" in verdict.reason


def test_remotes_are_told_by_their_primary() -> None:
    remote = mesh(
        ClusterSpec("east", "network1", context="k-east"),
        ClusterSpec("west", "network2", role=Role.REMOTE, control_plane="east", context="k-west"),
        ClusterSpec("north", "network3", context="k-north"),
    )

    verdict = one_control_plane(here(remote), cluster_local(remote))

    assert verdict.outcome is Outcome.CONFORMANT, verdict.reason
    assert verdict.reason.startswith("kept local in east and west, served by east, only")


def healthy() -> Defaults:
    """The defaults of a healthy mesh, with requests."""
    own = [(source, (f"10.{place}.0.9",)) for place, source in enumerate(NAMES)]
    both, first = ("10.0.0.3", "198.19.2.1"), ("10.0.0.3",)
    system = (sample(MESH, source, IN_KUBE_SYSTEM, [source]) for source in NAMES)
    others = (sample(MESH, source, IN_ANOTHER_NAMESPACE, NAMES) for source in NAMES)
    return Defaults(
        tuple(ServiceEndpoints(name, "kube-dns.kube-system", "53", at, at) for name, at in own),
        tuple(ServiceEndpoints(name, "helloworld.ns", "5000", both, first) for name in NAMES),
        Stage("defaults", (*system, *others), 0.5),
    )


def asked(case: str, *answered: str) -> Defaults:
    """The same, but these clusters answer the service of that case in the west."""
    stage = healthy().stage
    assert stage is not None
    requests = sample(MESH, "west", case, answered).requests
    return replace(healthy(), stage=spoiled(stage, "west", case, requests))


def test_defaults_that_are_kept_are_conformant_with_and_without_requests() -> None:
    sent = defaults(HERE, healthy())
    looked = defaults(HERE, replace(healthy(), stage=None))

    assert sent.outcome is Outcome.CONFORMANT, sent.reason
    assert looked.outcome is Outcome.CONFORMANT, looked.reason
    assert sent.reason == "1 services have endpoints of the own cluster only; 48 requests"
    assert looked.reason.endswith("no request sent (--mesh-disruptive)")


def test_another_clusters_endpoint_of_a_system_service_is_found() -> None:
    first, second = healthy().held
    leaking = replace(first, addresses=("10.0.0.9", "198.19.2.1"))

    verdict = defaults(HERE, replace(healthy(), held=(leaking, second)))

    assert faults(verdict) == {"default-cluster-local-lost"}
    assert (verdict.findings[0].clusters, verdict.findings[0].seen) == (("east",), "198.19.2.1")
    assert "grep -A4 'clusterLocal: false'" in verdict.findings[0].remedy


def test_another_clusters_answer_for_a_system_service_is_found() -> None:
    verdict = defaults(HERE, asked(IN_KUBE_SYSTEM, *NAMES))

    assert faults(verdict) == {"default-cluster-local-lost"}
    assert verdict.findings[0].summary == "west: a service in kube-system is answered by east"


def test_proxies_that_know_no_other_cluster_at_all_say_nothing() -> None:
    lonely = tuple(replace(twin, addresses=twin.own) for twin in healthy().twins)

    for seen in (replace(healthy(), twins=lonely), replace(healthy(), held=())):
        assert defaults(HERE, seen).outcome is Outcome.INCONCLUSIVE


def test_a_twin_that_does_not_cross_says_nothing() -> None:
    seen = asked(IN_ANOTHER_NAMESPACE, "west")

    assert defaults(HERE, seen).outcome is Outcome.INCONCLUSIVE
