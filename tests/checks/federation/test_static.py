"""What separate meshes share beyond services is found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pytest_istio_mc.checks.federation.static import nothing_shared
from pytest_istio_mc.recorded import KubeconfigFacts, SecretFacts
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.verdicts import Outcome
from tests.checks.topologies import changed, recorded

SECRET = SecretFacts(
    "istio-system",
    "istio-remote-secret-cluster2",
    labels={"istio/multiCluster": "true"},
    kubeconfigs={"cluster2": KubeconfigFacts("https://198.18.2.2:6443")},
)


def _spoiled(**changes: Any) -> Snapshot:
    return changed(recorded("federated"), "cluster1", **changes)


def _debugging(**debug: Any) -> Snapshot:
    (istiod,) = recorded("federated").clusters["cluster1"].istiods
    return _spoiled(istiods=(replace(istiod, debug={**istiod.debug, **debug}),))


def test_meshes_that_know_only_themselves_are_conformant() -> None:
    verdict = nothing_shared(recorded("federated"))

    assert verdict.outcome is Outcome.CONFORMANT, verdict.reason
    assert verdict.pairs == ("cluster1-apart-from-cluster2", "cluster2-apart-from-cluster1")


def test_a_remote_secret_is_taken_back() -> None:
    (finding,) = nothing_shared(_spoiled(secrets=(SECRET,))).findings

    assert (finding.fault, finding.clusters) == ("fed-remote-secret", ("cluster1", "cluster2"))
    assert (
        "--context=cluster1 -n istio-system label secret/istio-remote-secret-cluster2 "
        "istio/multiCluster-" in finding.remedy
    )


def test_an_unlabelled_secret_shares_nothing() -> None:
    assert (
        nothing_shared(_spoiled(secrets=(replace(SECRET, labels={}),))).outcome
        is Outcome.CONFORMANT
    )


def test_a_control_plane_that_serves_another_mesh_is_found() -> None:
    (finding,) = nothing_shared(
        _debugging(syncz=[{"proxy": "client.app", "cluster_id": "cluster2"}])
    ).findings

    assert finding.fault == "fed-shared-control-plane"
    assert "serves proxies of cluster2" in finding.summary


def test_endpoints_of_another_mesh_are_found() -> None:
    shards: dict[str, Any] = {"echo.app.svc.cluster.local": {"app": {"Kubernetes/cluster2": []}}}

    (finding,) = nothing_shared(_debugging(endpointShardz=shards)).findings

    assert "holds endpoints of cluster2" in finding.summary


def test_without_an_istiod_nothing_is_known() -> None:
    assert nothing_shared(_spoiled(istiods=())).outcome is Outcome.INCONCLUSIVE
