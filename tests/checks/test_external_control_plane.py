"""Where an external istiod runs, and what it is taken for when it runs elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pytest_istio_mc.checks.controlplane import istiod_is_outside
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Outcome

from .topologies import found, recorded

TOPOLOGY = "external-control-plane"


def _spoiled(cluster: str, **changes: Any) -> Snapshot:
    snapshot = recorded(TOPOLOGY)
    return replace(snapshot, clusters={**snapshot.clusters, cluster: replace(snapshot.clusters[cluster], **changes)})


def test_an_istiod_outside_is_conformant() -> None:
    verdict = istiod_is_outside(recorded(TOPOLOGY))

    assert verdict.outcome is Outcome.CONFORMANT, verdict.reason
    assert verdict.reason.startswith("istiod runs in cluster1 only")


def test_an_istiod_in_a_served_cluster_is_found() -> None:
    snapshot = recorded(TOPOLOGY)
    pod = {"metadata": {"name": "istiod-1", "namespace": "istio-system", "labels": {"app": "istiod"}}}
    snapshot.clusters["cluster3"].objects["Pod"] = (*snapshot.clusters["cluster3"].objects["Pod"], pod)  # type: ignore[index]

    (finding,) = istiod_is_outside(snapshot).findings

    assert (finding.fault, finding.clusters) == ("xc-istiod-inside", ("cluster3", "cluster1"))
    assert "--context=cluster3 -n istio-system delete deployment" in finding.remedy


def test_a_service_that_selects_pods_does_not_lead_outside() -> None:
    snapshot = recorded(TOPOLOGY)
    found(snapshot, "cluster2", "Service", "istiod")["spec"]["selector"] = {"app": "istiod"}

    (finding,) = istiod_is_outside(snapshot).findings

    assert finding.fault == "xc-service-selects"


def test_an_istiod_without_access_to_its_config_cluster_reads_its_own() -> None:
    secrets = tuple(secret for secret in recorded(TOPOLOGY).clusters["cluster1"].secrets if secret.name != "istio-kubeconfig")

    (finding,) = istiod_is_outside(_spoiled("cluster1", secrets=secrets)).findings

    assert finding.fault == "xc-config-secret-missing"
    assert "--type=config --context=cluster2" in finding.remedy


def test_an_istiod_with_another_name_is_found() -> None:
    (istiod,) = recorded(TOPOLOGY).clusters["cluster1"].istiods
    misnamed = replace(istiod, environment={**istiod.environment, "CLUSTER_ID": "cluster1"})

    (finding,) = istiod_is_outside(_spoiled("cluster1", istiods=(misnamed,))).findings

    assert finding.fault == "xc-cluster-id"


def test_without_an_istiod_nothing_is_known() -> None:
    assert istiod_is_outside(_spoiled("cluster1", istiods=())).outcome is Outcome.INCONCLUSIVE
