"""Routes and cluster-local settings on a real mesh: as they should be, and broken in the ways that the checks must tell."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import yaml

from pytest_istio_mc.checks.cluster_local import observe
from pytest_istio_mc.checks.cluster_local.facts import LIFTED, ClusterLocal
from pytest_istio_mc.checks.cluster_local.live import (
    defaults,
    every_service,
    lifted,
    one_control_plane,
    one_namespace,
    one_service,
)
from pytest_istio_mc.checks.cluster_local.observe import cluster_local, kept_local
from pytest_istio_mc.checks.subsets.live import (
    clusters_are_pinned,
    sources_are_told_apart,
    versions_within_clusters,
    weights_are_kept,
)
from pytest_istio_mc.checks.subsets.observe import CLUSTER_LABEL, by_source, mixed, pinned, weighted
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.faults import mesh_config
from pytest_istio_mc.faults.leftovers import leftover_objects
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.kube.connecting import connected
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.probes import objects, sampling, workloads
from pytest_istio_mc.probes.traffic import Traffic, open_traffic
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.samples import Stage
from pytest_istio_mc.spec import MeshSpec
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.conftest import LabMesh

pytestmark = pytest.mark.lab

IMPATIENT = replace(Timeouts(), config_propagation=8.0)
SYSTEM = "istio-system"
JUDGES = (
    one_service,
    one_namespace,
    every_service,
    lifted,
    one_control_plane,
)


@dataclass(frozen=True)
class Probed:
    """A mesh with probes, connections to it and traffic through it."""

    mesh: Mesh
    kubes: Mapping[str, Kube]
    traffic: Traffic


@pytest.fixture(scope="module")
def probed(lab_mesh: LabMesh) -> Iterator[Probed]:
    """Probes in the shared mesh."""
    mesh = replace(lab_mesh.mesh, run_id=f"routing-{os.getpid()}")
    with (
        connected(mesh, Timeouts()) as kubes,
        workloads.deployed(mesh, kubes, Timeouts(), Progress()) as mesh,
        open_traffic(mesh, kubes, Timeouts()) as traffic,
    ):
        yield Probed(mesh, kubes, traffic)


@pytest.fixture
def impatient(probed: Probed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for what will never be."""
    monkeypatch.setattr(probed.traffic, "timeouts", IMPATIENT)


@pytest.fixture(autouse=True)
def nothing_is_left(probed: Probed) -> Iterator[None]:
    """The mesh configuration, the probe namespace and kube-system are what they were."""
    before = remains(probed)
    yield
    assert remains(probed) == before
    assert [stray for kube in probed.kubes.values() for stray in leftover_objects(kube)] == []


def remains(probed: Probed) -> dict[str, Any]:
    """The mesh configuration, but for its version, and the names of what there is."""
    found: dict[str, Any] = {}
    assert probed.mesh.probes is not None
    for cluster, kube in probed.kubes.items():
        config = kube.read("ConfigMap", "istio", SYSTEM) or {}
        del config["metadata"]["resourceVersion"]
        kinds = (
            "Service",
            "DestinationRule.networking.istio.io",
            "VirtualService.networking.istio.io",
        )
        names = sorted(
            item["metadata"]["name"]
            for kind in kinds
            for item in kube.list(kind, probed.mesh.probes.namespace)
        )
        found[cluster] = (config, names)
    return found


def faults(verdict: Verdict) -> set[tuple[str, tuple[str, ...]]]:
    """What was found, and in which clusters."""
    assert verdict.outcome is Outcome.NON_CONFORMANT, (verdict.outcome, verdict.reason)
    return {(finding.fault, finding.clusters) for finding in verdict.findings}


def spoiled(
    make: Callable[..., dict[str, Any]], spoil: Callable[[dict[str, Any]], None]
) -> Callable[..., dict[str, Any]]:
    """Manifests as they would be made, but spoiled."""

    def made(*arguments: Any, **named: Any) -> dict[str, Any]:
        manifest = make(*arguments, **named)
        spoil(manifest["spec"])
        return manifest

    return made


def test_routes_lead_where_they_should(probed: Probed) -> None:
    traffic, kubes = probed.traffic, probed.kubes

    verdicts = [
        clusters_are_pinned(probed.mesh, pinned(traffic, kubes)),
        sources_are_told_apart(probed.mesh, by_source(traffic, kubes)),
        versions_within_clusters(probed.mesh, mixed(traffic, kubes)),
        weights_are_kept(probed.mesh, *weighted(traffic, kubes)),
    ]

    assert [
        (verdict.outcome, verdict.reason)
        for verdict in verdicts
        if verdict.outcome is not Outcome.CONFORMANT
    ] == []


@pytest.mark.usefixtures("impatient")
def test_a_subset_that_only_the_clients_cluster_knows_is_told(
    probed: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mistake of Istio issue 40673: the rule is not applied where the gateway needs it."""
    monkeypatch.setattr(MeshSpec, "config_clusters", property(lambda self: ("cluster1",)))

    verdict = clusters_are_pinned(probed.mesh, pinned(probed.traffic, probed.kubes))

    assert ("dr-subset-at-destination", ("cluster1", "cluster2")) in faults(verdict)
    (finding,) = (one for one in verdict.findings if one.fault == "dr-subset-at-destination")
    assert "503" in finding.seen


def test_a_route_whose_source_labels_match_nobody_is_told(
    probed: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def misspell(spec: dict[str, Any]) -> None:
        for route in spec["http"]:
            for match in route.get("match", ()):
                if "sourceLabels" in match:
                    match["sourceLabels"] = {CLUSTER_LABEL: "cluster-1"}

    monkeypatch.setattr(objects, "virtual_service", spoiled(objects.virtual_service, misspell))

    verdict = sources_are_told_apart(probed.mesh, by_source(probed.traffic, probed.kubes))

    assert {fault for fault, _ in faults(verdict)} == {"subset-not-heeded"}
    assert len(verdict.findings) == 4


@pytest.mark.usefixtures("impatient")
def test_subsets_that_forget_the_cluster_are_told(
    probed: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget(spec: dict[str, Any]) -> None:
        for subset in spec.get("subsets", ()):
            del subset["labels"][CLUSTER_LABEL]

    monkeypatch.setattr(objects, "destination_rule", spoiled(objects.destination_rule, forget))

    verdict = versions_within_clusters(probed.mesh, mixed(probed.traffic, probed.kubes))

    assert {fault for fault, _ in faults(verdict)} == {"subset-not-heeded"}
    assert any(
        "an empty subset (v2 in cluster1) are answered" in finding.summary
        for finding in verdict.findings
    )
    assert any(
        "requests for server in cluster2 are answered elsewhere" in finding.summary
        for finding in verdict.findings
    )


def test_even_weights_are_told_from_uneven_ones(
    probed: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def even(spec: dict[str, Any]) -> None:
        for goal in spec["http"][-1]["route"]:
            goal["weight"] = 50

    monkeypatch.setattr(objects, "virtual_service", spoiled(objects.virtual_service, even))

    verdict = weights_are_kept(probed.mesh, *weighted(probed.traffic, probed.kubes))

    assert {fault for fault, _ in faults(verdict)} == {"weights-not-kept"}


def test_settings_keep_what_they_name_and_are_lifted(probed: Probed) -> None:
    seen = cluster_local(probed.traffic, probed.kubes)

    verdicts = [judge(probed.mesh, seen) for judge in JUDGES]
    assert [
        (verdict.check, verdict.reason)
        for verdict in verdicts
        if verdict.outcome is not Outcome.CONFORMANT
    ] == []


@pytest.mark.usefixtures("impatient")
def test_settings_that_no_control_plane_reads_are_told(
    probed: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        mesh_config.MeshConfigs, "set_service_settings", lambda self, settings: None
    )

    seen = cluster_local(probed.traffic, probed.kubes)

    one, namespace, every, lifted, solo = (judge(probed.mesh, seen) for judge in JUDGES)
    for verdict in (one, namespace, every):
        assert faults(verdict) == {
            ("cluster-local-not-heeded", ("cluster1", "cluster2")),
            ("cluster-local-not-heeded", ("cluster2", "cluster1")),
        }
    assert faults(solo) == {("cluster-local-not-heeded", ("cluster1", "cluster2"))}
    assert lifted.outcome is Outcome.INCONCLUSIVE, "what was never in force was not lifted"


@pytest.mark.usefixtures("impatient")
def test_settings_that_keep_too_much_are_told(
    probed: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mesh_config.MeshConfigs.set_service_settings
    everything = [{"settings": {"clusterLocal": True}, "hosts": ["*"]}]
    monkeypatch.setattr(
        mesh_config.MeshConfigs,
        "set_service_settings",
        lambda self, settings: real(self, dict.fromkeys(settings, everything)),
    )

    seen = cluster_local(probed.traffic, probed.kubes)

    one, namespace, every, lifted, solo = (judge(probed.mesh, seen) for judge in JUDGES)
    both = {("cl-overbroad", ("cluster1", "cluster2")), ("cl-overbroad", ("cluster2", "cluster1"))}
    assert (faults(one), faults(namespace)) == (both, both)
    assert faults(solo) == {("cl-one-primary", ("cluster2", "cluster1"))}
    assert (every.outcome, lifted.outcome) == (Outcome.CONFORMANT, Outcome.CONFORMANT), (
        every.reason,
        lifted.reason,
    )


@pytest.mark.usefixtures("impatient")
def test_settings_that_are_not_lifted_are_told(
    probed: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else makes everything cluster-local just when ours is lifted."""
    real = sampling.settled

    def with_theirs(traffic: Traffic, name: str, wanted: Sequence[Any], size: int) -> Stage:
        if name != LIFTED:
            return real(traffic, name, wanted, size)
        with theirs(probed.kubes["cluster1"], hosts=["*"], local=True):
            return real(traffic, name, wanted, size)

    monkeypatch.setattr(observe, "settled", with_theirs)

    seen: ClusterLocal = cluster_local(probed.traffic, probed.kubes)

    assert faults(lifted(probed.mesh, seen)) == {("cl-not-lifted", ("cluster1", "cluster2"))}


def test_what_is_local_unasked_is_and_an_exception_from_it_is_told(probed: Probed) -> None:
    good = defaults(probed.mesh, kept_local(probed.traffic, probed.kubes, may_write=True))
    with theirs(probed.kubes["cluster1"], hosts=["*.kube-system.svc.cluster.local"], local=False):
        bad = defaults(probed.mesh, kept_local(probed.traffic, probed.kubes, may_write=True))

    assert good.outcome is Outcome.CONFORMANT, good.reason
    assert faults(bad) == {("default-cluster-local-lost", ("cluster1",))}


@contextmanager
def theirs(kube: Kube, *, hosts: Sequence[str], local: bool) -> Iterator[None]:
    """A setting in the mesh configuration of one cluster that is not ours."""
    before = kube.read("ConfigMap", "istio", SYSTEM)
    assert before is not None
    document = yaml.safe_load(before["data"]["mesh"]) | {
        "serviceSettings": [{"settings": {"clusterLocal": local}, "hosts": list(hosts)}]
    }
    kube.merge("ConfigMap", "istio", SYSTEM, {"data": {"mesh": yaml.safe_dump(document)}})
    try:
        yield
    finally:
        kube.merge("ConfigMap", "istio", SYSTEM, {"data": {"mesh": before["data"]["mesh"]}})
        kube.merge(
            "ConfigMap",
            "istio",
            SYSTEM,
            {"metadata": {"managedFields": before["metadata"]["managedFields"]}},
        )
