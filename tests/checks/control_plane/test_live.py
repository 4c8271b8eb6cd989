"""Live judges of the control plane."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_istio_mc.checks.control_plane.facts import ConfigInForce, Injection
from pytest_istio_mc.checks.control_plane.live import configuration_source, injection
from pytest_istio_mc.spec import ClusterSpec, Role
from pytest_istio_mc.verdicts import Outcome
from tests.checks.live_mesh import mesh

MESH = mesh()
REVISIONS = {"east": ("default",), "west": ("default",)}
READS = {"east": "east", "west": "west"}


def injections() -> list[Injection]:
    found = []
    for cluster in MESH.spec:
        found += [
            Injection(
                cluster.name,
                way,
                f"{way}-{cluster.name}",
                True,
                cluster.name,
                cluster.network,
                "mesh1",
                "default",
            )
            for way in ("admitted", "running")
        ]
        found.append(Injection(cluster.name, "opted-out", "opted-out"))
    return found


def spoiled(way: str, **changes: Any) -> list[Injection]:
    """All injections, with that of east changed."""
    return [
        replace(seen, **changes) if (seen.cluster, seen.way) == ("east", way) else seen
        for seen in injections()
    ]


def test_right_identities_everywhere_are_conformant() -> None:
    assert injection(MESH, injections(), REVISIONS).outcome is Outcome.CONFORMANT


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
        ({"error": "failed calling webhook: connection refused"}, "injection-refused"),
    ],
)
def test_what_is_given_wrongly_is_found(way: str, changes: dict[str, object], fault: str) -> None:
    verdict = injection(MESH, spoiled(way, **changes), REVISIONS)

    assert [(finding.fault, finding.clusters) for finding in verdict.findings] == [
        (fault, ("east",))
    ]
    assert "kubectl --context=k-east" in verdict.findings[0].remedy


def test_a_sidecar_for_who_wants_none_is_found() -> None:
    verdict = injection(MESH, spoiled("opted-out", injected=True), REVISIONS)

    assert [finding.fault for finding in verdict.findings] == ["injection-ignores-opt-out"]


def test_a_cluster_in_which_nothing_was_tried_is_a_gap() -> None:
    some = [seen for seen in injections() if seen.way != "opted-out"]

    assert injection(MESH, some, REVISIONS).outcome is Outcome.INCONCLUSIVE


def cells(*wrong: tuple[str, str, bool | None]) -> list[ConfigInForce]:
    changed = {(source, config): force for source, config, force in wrong}
    return [
        ConfigInForce(source, config, changed.get((source, config), READS[source] == config), "503")
        for source in READS
        for config in READS
    ]


def test_configuration_in_its_place_is_conformant() -> None:
    assert configuration_source(MESH, cells(), READS).outcome is Outcome.CONFORMANT


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (("east", "west", True), "config-read-from-elsewhere"),
        (("east", "east", False), "config-not-read"),
    ],
)
def test_configuration_out_of_place_is_found(wrong: tuple[str, str, bool], fault: str) -> None:
    verdict = configuration_source(MESH, cells(wrong), READS)

    assert [finding.fault for finding in verdict.findings] == [fault]


def test_a_client_that_cannot_tell_is_a_gap() -> None:
    assert (
        configuration_source(MESH, cells(("east", "west", None)), READS).outcome
        is Outcome.INCONCLUSIVE
    )
    assert configuration_source(MESH, cells()[:2], READS).outcome is Outcome.INCONCLUSIVE


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

    assert configuration_source(remote, right, reads).outcome is Outcome.CONFORMANT
    assert configuration_source(remote, cells(), reads).outcome is Outcome.NON_CONFORMANT
