"""Where an external istiod runs, and what it is taken for when it runs elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pytest_istio_mc.checks.access.remote_secrets import remote_secrets
from pytest_istio_mc.checks.control_plane.external import istiod_is_outside
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Outcome
from tests.checks.topologies import changed, found, recorded

TOPOLOGY = "external-control-plane"


def _spoiled(cluster: str, **changes: Any) -> Snapshot:
    return changed(recorded(TOPOLOGY), cluster, **changes)


def test_an_istiod_outside_is_conformant() -> None:
    verdict = istiod_is_outside(recorded(TOPOLOGY))

    assert verdict.outcome is Outcome.CONFORMANT, verdict.reason
    assert verdict.reason.startswith("istiod runs in cluster1 only")


def test_an_istiod_in_a_served_cluster_is_found() -> None:
    snapshot = recorded(TOPOLOGY)
    pod = {
        "metadata": {"name": "istiod-1", "namespace": "istio-system", "labels": {"app": "istiod"}}
    }
    objects: Any = snapshot.clusters["cluster3"].objects
    objects["Pod"] = (*objects["Pod"], pod)

    (finding,) = istiod_is_outside(snapshot).findings

    assert (finding.fault, finding.clusters) == ("xc-istiod-inside", ("cluster3", "cluster1"))
    assert "--context=cluster3 -n istio-system scale deployment --replicas=0" in finding.remedy


def test_a_service_that_selects_pods_does_not_lead_outside() -> None:
    snapshot = recorded(TOPOLOGY)
    found(snapshot, "cluster2", "Service", "istiod")["spec"]["selector"] = {"app": "istiod"}

    (finding,) = istiod_is_outside(snapshot).findings

    assert finding.fault == "xc-service-selects"


def test_an_istiod_without_access_to_its_config_cluster_reads_its_own() -> None:
    secrets = tuple(
        secret
        for secret in recorded(TOPOLOGY).clusters["cluster1"].secrets
        if secret.name != "istio-kubeconfig"
    )

    (finding,) = istiod_is_outside(_spoiled("cluster1", secrets=secrets)).findings

    assert finding.fault == "xc-config-secret-missing"
    assert "--context=cluster2 create-remote-secret --type=config" in finding.remedy


def test_an_istiod_with_another_name_is_found() -> None:
    (istiod,) = recorded(TOPOLOGY).clusters["cluster1"].istiods
    misnamed = replace(istiod, environment={**istiod.environment, "CLUSTER_ID": "cluster1"})

    (finding,) = istiod_is_outside(_spoiled("cluster1", istiods=(misnamed,))).findings

    assert finding.fault == "xc-cluster-id"


def test_without_an_istiod_nothing_is_known() -> None:
    assert istiod_is_outside(_spoiled("cluster1", istiods=())).outcome is Outcome.INCONCLUSIVE


def test_an_istiod_that_reads_remote_secrets_beside_itself_is_found() -> None:
    (istiod,) = recorded(TOPOLOGY).clusters["cluster1"].istiods
    local = replace(
        istiod, environment={**istiod.environment, "LOCAL_CLUSTER_SECRET_WATCHER": "true"}
    )

    (finding,) = istiod_is_outside(_spoiled("cluster1", istiods=(local,))).findings

    assert (finding.fault, finding.clusters) == ("xc-local-secrets", ("cluster1", "cluster2"))
    assert "set env deployment -l app=istiod LOCAL_CLUSTER_SECRET_WATCHER-" in finding.remedy


def _with_rights(snapshot: Snapshot, *bound: str) -> Snapshot:
    """The roles of istiod in its config cluster, of which its account is bound to some."""
    objects = snapshot.clusters["cluster2"].objects
    subjects = [{"kind": "ServiceAccount", "name": "istiod", "namespace": "istio-system"}]
    roles = ("istiod-clusterrole-istio-system", "istiod-gateway-controller-istio-system")
    objects["ClusterRole"] += tuple({"metadata": {"name": role}, "rules": []} for role in roles)  # type: ignore[index]
    objects["ClusterRoleBinding"] += tuple(  # type: ignore[index]
        {"metadata": {"name": role}, "roleRef": {"name": role}, "subjects": subjects}
        for role in bound
    )
    return snapshot


def test_an_istiod_without_rights_in_its_config_cluster_is_found() -> None:
    (finding,) = istiod_is_outside(_with_rights(recorded(TOPOLOGY))).findings

    assert (finding.fault, finding.clusters) == ("xc-config-rights", ("cluster1", "cluster2"))
    assert (
        "--context=cluster2 create clusterrolebinding istiod-clusterrole-istio-system"
        in finding.remedy
    )
    assert finding.remedy.endswith("rollout status deployment -l app=istiod --timeout=3m")


def test_an_istiod_with_rights_in_its_config_cluster_is_conformant() -> None:
    verdict = istiod_is_outside(_with_rights(recorded(TOPOLOGY), "istiod-clusterrole-istio-system"))

    assert verdict.outcome is Outcome.CONFORMANT, verdict.reason


def test_a_remote_secret_beside_the_external_istiod_is_in_the_wrong_cluster() -> None:
    snapshot = recorded(TOPOLOGY)
    secret = snapshot.clusters["cluster2"].secret("istio-system", "istio-remote-secret-cluster3")
    assert secret is not None
    beside = (*snapshot.clusters["cluster1"].secrets, secret)
    misplaced = changed(changed(snapshot, "cluster1", secrets=beside), "cluster2", secrets=())

    (finding,) = remote_secrets(misplaced).findings

    assert (finding.fault, finding.clusters) == (
        "xc-remote-secret-misplaced",
        ("cluster1", "cluster2", "cluster3"),
    )
    note = "apply -f -  # and if no other mesh reads the misplaced one\n"
    assert note in finding.remedy
    assert "delete" not in finding.remedy
