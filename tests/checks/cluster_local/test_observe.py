"""Cluster-local settings on a real mesh, right and spoilt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from pytest_istio_mc.checks.cluster_local import observe
from pytest_istio_mc.checks.cluster_local.facts import LIFTED
from pytest_istio_mc.checks.cluster_local.live import (
    defaults,
    every_service,
    lifted,
    one_control_plane,
    one_namespace,
    one_service,
)
from pytest_istio_mc.checks.cluster_local.observe import cluster_local, kept_local
from pytest_istio_mc.faults import mesh_config
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.probes import sampling
from pytest_istio_mc.probes.traffic import Traffic
from pytest_istio_mc.samples import Stage
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.lab_site import SYSTEM, faults_by_clusters, not_conformant
from tests.checks.open_site import OpenSite

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("nothing_is_left")]

JUDGES = (one_service, one_namespace, every_service, lifted, one_control_plane)
BOTH = (("cluster1", "cluster2"), ("cluster2", "cluster1"))


def judged(probed: OpenSite) -> list[Verdict]:
    """The verdicts of all judges of settings, on one pass."""
    seen = cluster_local(probed)
    return [judge(probed.here, seen) for judge in JUDGES]


def test_settings_keep_what_they_name_and_are_lifted(probed: OpenSite) -> None:
    assert not_conformant(judged(probed)) == []


@pytest.mark.usefixtures("impatient")
def test_settings_that_no_control_plane_reads_are_told(
    probed: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        mesh_config.MeshConfigs, "set_service_settings", lambda self, settings: None
    )

    one, namespace, every, lifted, solo = judged(probed)

    for verdict in (one, namespace, every):
        assert faults_by_clusters(verdict) == {("cluster-local-not-heeded", way) for way in BOTH}
    assert faults_by_clusters(solo) == {("cluster-local-not-heeded", ("cluster1", "cluster2"))}
    assert lifted.outcome is Outcome.INCONCLUSIVE, "what was never in force was not lifted"


@pytest.mark.usefixtures("impatient")
def test_settings_that_keep_too_much_are_told(
    probed: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mesh_config.MeshConfigs.set_service_settings
    everything = [{"settings": {"clusterLocal": True}, "hosts": ["*"]}]
    monkeypatch.setattr(
        mesh_config.MeshConfigs,
        "set_service_settings",
        lambda self, settings: real(self, dict.fromkeys(settings, everything)),
    )

    one, namespace, every, lifted, solo = judged(probed)

    for verdict in (one, namespace):
        assert faults_by_clusters(verdict) == {("cl-overbroad", way) for way in BOTH}
    assert faults_by_clusters(solo) == {("cl-one-primary", ("cluster2", "cluster1"))}
    assert not_conformant([every, lifted]) == []


@pytest.mark.usefixtures("impatient")
def test_settings_that_are_not_lifted_are_told(
    probed: OpenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else makes everything cluster-local just when ours is lifted."""
    real = sampling.settled

    def with_theirs(traffic: Traffic, name: str, wanted: Sequence[Any], size: int) -> Stage:
        if name != LIFTED:
            return real(traffic, name, wanted, size)
        with theirs(probed.kubes()["cluster1"], hosts=["*"], local=True):
            return real(traffic, name, wanted, size)

    monkeypatch.setattr(observe, "settled", with_theirs)

    verdict = lifted(probed.here, cluster_local(probed))

    assert faults_by_clusters(verdict) == {("cl-not-lifted", ("cluster1", "cluster2"))}


def test_what_is_local_unasked_is_and_an_exception_from_it_is_told(probed: OpenSite) -> None:
    good = defaults(probed.here, kept_local(probed))
    system = ["*.kube-system.svc.cluster.local"]
    with theirs(probed.kubes()["cluster1"], hosts=system, local=False):
        bad = defaults(probed.here, kept_local(probed))

    assert good.outcome is Outcome.CONFORMANT, good.reason
    assert faults_by_clusters(bad) == {("default-cluster-local-lost", ("cluster1",))}


@contextmanager
def theirs(kube: Kube, *, hosts: Sequence[str], local: bool) -> Iterator[None]:
    """A setting in the mesh configuration of one cluster that is not ours."""

    def patch(change: dict[str, Any]) -> None:
        kube.merge("ConfigMap", "istio", SYSTEM, change)

    before = kube.read("ConfigMap", "istio", SYSTEM)
    assert before is not None
    text, owners = before["data"]["mesh"], before["metadata"]["managedFields"]
    setting = {"settings": {"clusterLocal": local}, "hosts": list(hosts)}
    changed = yaml.safe_load(text) | {"serviceSettings": [setting]}
    patch({"data": {"mesh": yaml.safe_dump(changed)}})
    try:
        yield
    finally:
        patch({"data": {"mesh": text}})
        patch({"metadata": {"managedFields": owners}})
