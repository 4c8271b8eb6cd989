"""Judges of control planes: what injection gives, and whose configuration is in force."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc.checks.control_plane.facts import ConfigInForce, Injection
from pytest_istio_mc.checks.control_plane.live import configuration_source, injection
from pytest_istio_mc.spec import ClusterSpec, Role
from pytest_istio_mc.verdicts import Convergence, Outcome
from tests.checks.live_mesh import here, mesh

MESH = mesh()
HERE = here(MESH)
WEBHOOK_DOWN = (
    "HTTP 500: Internal error occurred: failed calling webhook "
    '"namespace.sidecar-injector.istio.io": failed to call webhook: connection refused'
)
KYVERNO = (
    'HTTP 400: admission webhook "validate.kyverno.svc-fail" denied the request: '
    "require-limits: label sidecar.istio.io/inject or limits are required"
)
QUOTA = 'HTTP 403: pods "admitted" is forbidden: exceeded quota: compute in istio-mc-0a1b2c3d'
POD_SECURITY = 'HTTP 403: pods "admitted" is forbidden: violates PodSecurity "restricted:latest"'
POLICY = "HTTP 422: ValidatingAdmissionPolicy 'limits.example.com' denied request"
OTHER_ADMISSION = (KYVERNO, QUOTA, POD_SECURITY, POLICY)
REVISIONS = {"east": ("default",), "west": ("default",)}
READS = {"east": "east", "west": "west"}


def injections() -> list[Injection]:
    found = []
    for cluster in MESH.spec:
        name, given = cluster.name, (cluster.name, cluster.network, "mesh1", "default")
        ways = ("admitted", "running")
        found += [Injection(name, way, f"{way}-{name}", True, *given) for way in ways]
        found.append(Injection(name, "opted-out", "opted-out"))
    return found


def spoiled(way: str, **changes: Any) -> list[Injection]:
    """All injections, with that of east changed."""
    return [
        replace(seen, **changes) if (seen.cluster, seen.way) == ("east", way) else seen
        for seen in injections()
    ]


def test_right_identities_everywhere_are_conformant() -> None:
    assert injection(HERE, injections(), REVISIONS).outcome is Outcome.CONFORMANT


@pytest.mark.parametrize("way", ["admitted", "running"])
@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"injected": False}, "sidecar-missing"),
        ({"cluster_id": "Kubernetes"}, "injected-cluster-id-wrong"),
        ({"network": ""}, "injected-network-wrong"),
        ({"network": "network2"}, "injected-network-wrong"),
        ({"mesh_id": "mesh2"}, "injected-mesh-id-wrong"),
        ({"revision": "canary"}, "injected-revision-wrong"),
        ({"error": WEBHOOK_DOWN}, "injection-refused"),
    ],
)
def test_what_is_given_wrongly_is_found(way: str, changes: dict[str, object], fault: str) -> None:
    verdict = injection(HERE, spoiled(way, **changes), REVISIONS)

    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [
        (fault, ("east",))
    ]
    assert "kubectl --context=k-east" in verdict.findings[0].remedy


@pytest.mark.parametrize("refusal", OTHER_ADMISSION)
def test_the_refusal_of_other_admission_is_not_held_against_the_injector(refusal: str) -> None:
    verdict = injection(HERE, spoiled("admitted", error=refusal), REVISIONS)

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "--mesh-probe-patch" in verdict.reason


def test_a_sidecar_for_who_wants_none_is_found() -> None:
    verdict = injection(HERE, spoiled("opted-out", injected=True), REVISIONS)

    assert [finding.fault for finding in verdict.findings] == ["injection-ignores-opt-out"]


def test_a_cluster_in_which_nothing_was_tried_is_a_gap() -> None:
    some = [seen for seen in injections() if seen.way != "opted-out"]

    assert injection(HERE, some, REVISIONS).outcome is Outcome.INCONCLUSIVE


def cells(*wrong: tuple[str, str, bool | None]) -> list[ConfigInForce]:
    changed = {(source, config): force for source, config, force in wrong}
    return [
        ConfigInForce(source, config, changed.get((source, config), READS[source] == config), "503")
        for source in READS
        for config in READS
    ]


def test_configuration_in_its_place_is_conformant() -> None:
    verdict = configuration_source(HERE, (cells(), 1.5))

    what = "configuration in force in the proxies that it is for"
    assert verdict.outcome is Outcome.CONFORMANT
    assert verdict.convergence == (Convergence(what, 1.5, 1.5),)


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (("east", "west", True), "config-read-from-elsewhere"),
        (("east", "east", False), "config-not-read"),
    ],
)
def test_configuration_out_of_place_is_found(wrong: tuple[str, str, bool], fault: str) -> None:
    verdict = configuration_source(HERE, (cells(wrong), None))

    assert [finding.fault for finding in verdict.findings] == [fault]


def test_a_client_that_cannot_tell_is_a_gap() -> None:
    assert (
        configuration_source(HERE, (cells(("east", "west", None)), None)).outcome
        is Outcome.INCONCLUSIVE
    )
    assert configuration_source(HERE, (cells()[:2], None)).outcome is Outcome.INCONCLUSIVE


def test_a_remote_reads_its_primarys_configuration() -> None:
    remote = mesh(
        ClusterSpec("east", "network1"), ClusterSpec("west", "network2", Role.REMOTE, "east")
    )
    reads = {"east": "east", "west": "east"}
    right = [
        ConfigInForce(source, config, config == "east", "503")
        for source in reads
        for config in reads
    ]

    assert configuration_source(here(remote), (right, None)).outcome is Outcome.CONFORMANT
    assert configuration_source(here(remote), (cells(), None)).outcome is Outcome.NON_CONFORMANT
