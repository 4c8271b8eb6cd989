"""Faults of remote access that static checks find, each as the one root cause."""

from __future__ import annotations

import time

import pytest

from pytest_istio_mc.collect import collect
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.verdicts import Outcome
from tests.checks.seeding import Case, Faults, forget, lose_remote_endpoints, replace_remote_secret
from tests.fake_clusters import SYSTEM, FakeMesh, encoded, jwt, reader_token, remote_secret
from tests.static_checks import judge_all, root_causes

CREATE = (
    "istioctl create-remote-secret --context=ctx-2 --name=cluster2 "
    "--server=https://198.18.2.1:6443 | kubectl --context=ctx-1 apply -f -"
)

fault = Faults()


@fault("MC-ACCESS-001", "rs-missing", "cluster1", "cluster2", remedy=CREATE)
def no_remote_secret(mesh: FakeMesh) -> None:
    mesh[1].remove("Secret", "istio-remote-secret-cluster2", SYSTEM)
    forget(mesh)


@fault(
    "MC-ACCESS-001",
    "rs-wrong-namespace",
    "cluster1",
    "cluster2",
    remedy=f"{CREATE}  # and if no other mesh reads the misplaced one\n# kubectl",
)
def remote_secret_elsewhere(mesh: FakeMesh) -> None:
    secret = mesh[1].find("Secret", "istio-remote-secret-cluster2", SYSTEM)
    secret["metadata"]["namespace"] = "default"
    forget(mesh)


@fault(
    "MC-ACCESS-001",
    "rs-unlabelled",
    "cluster1",
    "cluster2",
    remedy="label secret/istio-remote-secret-cluster2 istio/multiCluster=true",
)
def remote_secret_without_label(mesh: FakeMesh) -> None:
    del mesh[1].find("Secret", "istio-remote-secret-cluster2", SYSTEM)["metadata"]["labels"]
    forget(mesh)


@fault("MC-ACCESS-001", "rs-malformed", "cluster1", "cluster2", remedy=CREATE)
def remote_secret_of_nonsense(mesh: FakeMesh) -> None:
    mesh[1].find("Secret", "istio-remote-secret-cluster2", SYSTEM)["data"] = {
        "cluster2": encoded("foo")
    }
    forget(mesh)


@fault("MC-ACCESS-001", "rs-exec-auth", "cluster1", "cluster2", remedy=CREATE)
def remote_secret_with_a_plugin(mesh: FakeMesh) -> None:
    replace_remote_secret(mesh, remote_secret(mesh[2], exec={"command": "gke-gcloud-auth-plugin"}))
    forget(mesh)


@fault("MC-ACCESS-002", "rs-localhost", "cluster1", "cluster2", remedy=CREATE)
def remote_server_on_loopback(mesh: FakeMesh) -> None:
    replace_remote_secret(mesh, remote_secret(mesh[2], server="https://127.0.0.1:6443"))
    mesh[1].istiod("clusterz")[1]["syncStatus"] = "timeout"
    lose_remote_endpoints(mesh)


@fault("MC-ACCESS-002", "rs-scheme", "cluster1", "cluster2", remedy=CREATE)
def remote_server_without_tls(mesh: FakeMesh) -> None:
    replace_remote_secret(mesh, remote_secret(mesh[2], server="http://198.18.2.1:6443"))


@fault(
    "MC-ACCESS-002", "rs-unreachable", "cluster1", "cluster2", remedy="open https://198.18.2.1:6443"
)
def remote_server_behind_a_firewall(mesh: FakeMesh) -> None:
    mesh[2].blocked_from = ("cluster1",)


@fault(
    "MC-ACCESS-002",
    "rs-wrong-cluster",
    "cluster1",
    "cluster2",
    "cluster3",
    remedy=CREATE,
    members=3,
)
def remote_secret_that_leads_to_a_third_cluster(mesh: FakeMesh) -> None:
    replace_remote_secret(mesh, remote_secret(mesh[3], key="cluster2"))


@fault("MC-ACCESS-003", "rs-ca-mismatch", "cluster1", "cluster2", remedy=CREATE)
def remote_ca_of_another_cluster(mesh: FakeMesh) -> None:
    replace_remote_secret(mesh, remote_secret(mesh[2], ca=mesh[1].ca))


@fault("MC-ACCESS-003", "rs-insecure", "cluster1", "cluster2", remedy=CREATE)
def remote_server_that_nobody_verifies(mesh: FakeMesh) -> None:
    replace_remote_secret(mesh, remote_secret(mesh[2], insecure=True))


@fault("MC-ACCESS-004", "rs-token-expired", "cluster1", "cluster2", remedy=CREATE)
def token_expired(mesh: FakeMesh) -> None:
    token = jwt(
        sub=f"system:serviceaccount:{SYSTEM}:istio-reader-service-account",
        iat=time.time() - 700,
        exp=time.time() - 100,
    )
    replace_remote_secret(mesh, remote_secret(mesh[2], token))


@fault("MC-ACCESS-004", "rs-token-expires-soon", "cluster1", "cluster2", remedy=CREATE)
def token_about_to_expire(mesh: FakeMesh) -> None:
    token = reader_token(mesh[2], iat=time.time() - 3500, exp=time.time() + 100)
    replace_remote_secret(mesh, remote_secret(mesh[2], token))


@fault("MC-ACCESS-004", "rs-token-revoked", "cluster1", "cluster2", remedy=CREATE)
def token_revoked(mesh: FakeMesh) -> None:
    mesh[2].tokens.clear()


@fault("MC-ACCESS-004", "rs-token-empty", "cluster1", "cluster2", remedy=CREATE)
def token_empty(mesh: FakeMesh) -> None:
    replace_remote_secret(mesh, remote_secret(mesh[2], username=""))


@fault(
    "MC-ACCESS-005",
    "rs-rbac-lost",
    "cluster1",
    "cluster2",
    remedy="create clusterrolebinding istio-reader-clusterrole-istio-system",
)
def reader_without_rights(mesh: FakeMesh) -> None:
    for token in mesh[2].tokens:
        mesh[2].tokens[token] = []
    mesh[2].objects["ClusterRoleBinding.rbac.authorization.k8s.io"].clear()


@fault(
    "MC-ACCESS-005",
    "rs-rbac-partial",
    "cluster1",
    "cluster2",
    remedy="create clusterrole istio-reader-missing-rights --verb=list,watch --resource=configmaps",
)
def reader_without_config_maps(mesh: FakeMesh) -> None:
    for rules in mesh[2].tokens.values():
        rules[1]["resources"].remove("configmaps")


@fault("MC-ACCESS-006", "rs-not-synced", "cluster1", "cluster2")
def remote_cluster_timed_out(mesh: FakeMesh) -> None:
    mesh[1].istiod("clusterz")[1]["syncStatus"] = "timeout"
    lose_remote_endpoints(mesh)


@fault(
    "MC-ACCESS-008",
    "rs-stale",
    "cluster1",
    remedy="# kubectl --context=ctx-1 -n istio-system label secret/istio-remote-secret-gone",
)
def secret_of_a_cluster_that_is_gone(mesh: FakeMesh) -> None:
    mesh[1].objects["Secret"].append(
        remote_secret(mesh[2], key="gone", server="https://198.18.99.1:6443", token=jwt(sub="x"))
    )


@fault(
    "MC-ACCESS-008",
    "rs-duplicate",
    "cluster1",
    "cluster2",
    remedy="label secret/second istio/multiCluster-",
)
def two_secrets_for_one_cluster(mesh: FakeMesh) -> None:
    second = remote_secret(mesh[2])
    second["metadata"]["name"] = "second"
    mesh[1].objects["Secret"].append(second)


@fault(
    "MC-ACCESS-008",
    "rs-self",
    "cluster1",
    remedy="label secret/istio-remote-secret-cluster9 istio/multiCluster-",
)
def secret_that_leads_to_its_own_cluster(mesh: FakeMesh) -> None:
    mesh[1].objects["Secret"].append(remote_secret(mesh[1], key="cluster9"))


@fault(
    "MC-ACCESS-007",
    "res-replicas-disagree",
    "cluster1",
    "cluster2",
    remedy="rollout restart deployment -l app=istiod",
)
def a_replica_that_lacks_the_endpoints_of_another_cluster(mesh: FakeMesh) -> None:
    replica = mesh.add_replica(1)
    shards = mesh[1].answers[(replica, 8080, "/debug/endpointShardz")]
    for by_namespace in shards.values():
        for entry in by_namespace.values():
            entry["Shards"].pop("Kubernetes/cluster2", None)


@pytest.mark.parametrize("case", fault.cases)
def test_a_fault_is_the_one_root_cause(case: Case) -> None:
    case.assert_one_root_cause()


def test_without_probes_access_is_inconclusive() -> None:
    mesh = FakeMesh()
    snapshot = collect(mesh.mesh, Progress(), kubes=mesh.clusters, ask=None)  # type: ignore[arg-type]

    verdicts = judge_all(snapshot)

    inconclusive = {id for id, one in verdicts.items() if one.outcome is Outcome.INCONCLUSIVE}
    assert inconclusive == {f"MC-ACCESS-00{number}" for number in (2, 3, 4, 5, 6)}


def test_an_api_server_that_nobody_reaches_is_named_as_such() -> None:
    mesh = FakeMesh()
    mesh[2].unreachable = "connection refused"

    causes = root_causes(mesh.record())

    found = [(cause.check, cause.fault) for cause in causes]
    assert found == [("MC-ACCESS-002", "res-api-lost-later")]


def test_a_server_that_nobody_verifies_is_not_conformant_by_anything() -> None:
    mesh = FakeMesh()
    replace_remote_secret(mesh, remote_secret(mesh[2], insecure=True))

    verdicts = judge_all(mesh.record())

    assert verdicts["MC-ACCESS-003"].outcome is Outcome.NON_CONFORMANT
    for number in (2, 4, 5, 6):
        assert verdicts[f"MC-ACCESS-00{number}"].outcome is Outcome.INCONCLUSIVE
    assert not mesh[2].requests


@pytest.mark.parametrize(
    ("allowed", "conformant"),
    [
        ("", False),
        ("exec", True),
        ("gcp,exec", True),
        ("tokenFile", False),
        ("clientKey,clientCertificate,tokenFile", False),
        ("true", False),
        ("exec ", False),
    ],
)
def test_istiod_takes_a_plugin_only_where_it_is_told_to_take_plugins(
    allowed: str, conformant: bool
) -> None:
    mesh = FakeMesh()
    replace_remote_secret(mesh, remote_secret(mesh[2], exec={"command": "gke-gcloud-auth-plugin"}))
    variable = {"name": "PILOT_INSECURE_MULTICLUSTER_KUBECONFIG_OPTIONS", "value": allowed}
    mesh[1].find("Pod", "istiod-1", SYSTEM)["spec"]["containers"][0]["env"].append(variable)

    verdict = judge_all(mesh.record())["MC-ACCESS-001"]

    assert (verdict.outcome is Outcome.CONFORMANT) is conformant
