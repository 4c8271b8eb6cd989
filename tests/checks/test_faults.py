"""Each fault is found by the check that is about it, named for what it is, with a remedy that names the real things."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from pytest_istio_mc import certificates
from pytest_istio_mc.collect import collect
from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.verdicts import Outcome
from tests.fake_clusters import (
    PROBES,
    SYSTEM,
    FakeMesh,
    Json,
    cacerts,
    encoded,
    jwt,
    reader_token,
    remote_secret,
)
from tests.static_checks import judge_all, root_causes

Seed = Callable[[FakeMesh], None]
FAULTS: list[Any] = []


def fault(
    check: str, name: str, *clusters: str, remedy: str = "", also: tuple[str, ...] = ()
) -> Callable[[Seed], Seed]:
    """Register a seed with its one root cause: check, fault name, clusters and a part of the remedy. ``also`` are inconclusive checks."""

    def register(seed: Seed) -> Seed:
        FAULTS.append(pytest.param(seed, check, name, set(clusters), remedy, id=seed.__name__))
        return seed

    return register


def replace_remote_secret(mesh: FakeMesh, secret: Json) -> None:
    mesh[1].remove("Secret", "istio-remote-secret-cluster2", SYSTEM)
    mesh[1].objects["Secret"].append(secret)


def forget(mesh: FakeMesh) -> None:
    """What istiod of cluster1 and its proxies look like without cluster2."""
    clusterz = mesh[1].istiod("clusterz")
    clusterz[:] = [row for row in clusterz if row["id"] != "cluster2"]
    networkz = mesh[1].istiod("networkz")
    networkz[:] = [row for row in networkz if row["Cluster"] != "cluster2"]
    for by_namespace in mesh[1].istiod("endpointShardz").values():
        for entry in by_namespace.values():
            entry["Shards"].pop("Kubernetes/cluster2", None)
    lose_remote_endpoints(mesh)


def lose_remote_endpoints(mesh: FakeMesh) -> None:
    for pod in ("client-1", "server-1"):
        for entry in endpoint_configs(mesh, pod):
            groups = entry["endpoint_config"]["endpoints"]
            groups[:] = [group for group in groups if group["locality"]["region"] == "region1"]


def endpoint_configs(mesh: FakeMesh, pod: str) -> list[Json]:
    found: list[Json] = mesh[int(pod[-1])].dump(pod)["configs"][2]["dynamic_endpoint_configs"]
    return found


def pods_instead_of_gateways(mesh: FakeMesh) -> None:
    """What proxies of cluster1 get where istiod knows no gateway of network2."""
    networkz = mesh[1].istiod("networkz")
    networkz[:] = [row for row in networkz if row["Cluster"] != "cluster2"]
    mesh[2].istiod("networkz")[:] = networkz
    for pod in ("client-1", "server-1"):
        for entry in endpoint_configs(mesh, pod):
            for group in entry["endpoint_config"]["endpoints"]:
                for item in group["lb_endpoints"]:
                    address = item["endpoint"]["address"]["socket_address"]
                    if address["address"] == mesh[2].gateway:
                        address |= {
                            "address": "10.2.0.5",
                            "port_value": int(
                                entry["endpoint_config"]["cluster_name"].split("|")[1]
                            ),
                        }


# --- trust ---


def own_root(
    mesh: FakeMesh, root: certificates.Authority, intermediate: certificates.Authority
) -> None:
    for item in mesh[2].objects["ConfigMap"]:
        if item["metadata"]["name"] == "istio-ca-root-cert":
            item["data"] = {"root-cert.pem": root.certificate}
    for pod, namespace, account in (
        ("client-2", PROBES, "client"),
        ("server-2", PROBES, "server"),
        ("gateway-2", SYSTEM, "istio-eastwestgateway-service-account"),
    ):
        leaf = certificates.make_leaf(
            intermediate, spiffe_id=f"spiffe://cluster.local/ns/{namespace}/sa/{account}"
        )
        secrets = mesh[2].dump(pod)["configs"][4]["dynamic_active_secrets"]
        secrets[0]["secret"]["tls_certificate"]["certificate_chain"]["inline_bytes"] = encoded(
            leaf.chain
        )
        secrets[1]["secret"]["validation_context"]["trusted_ca"]["inline_bytes"] = encoded(
            root.certificate
        )


@fault(
    "MC-TRUST-001",
    "trust-different-roots",
    "cluster1",
    "cluster2",
    remedy="kubectl --context=ctx-2 -n istio-system create secret generic cacerts",
)
def different_roots(mesh: FakeMesh) -> None:
    root = certificates.make_root("Another Root")
    intermediate = certificates.make_intermediate(root, "cluster2")
    mesh[2].remove("Secret", "cacerts", SYSTEM)
    mesh[2].objects["Secret"].append(cacerts(intermediate, root))
    own_root(mesh, root, intermediate)


@fault("MC-TRUST-002", "trust-no-cacerts", "cluster2", remedy="create secret generic cacerts")
def no_cacerts(mesh: FakeMesh) -> None:
    root = certificates.make_root("cluster.local")
    mesh[2].remove("Secret", "cacerts", SYSTEM)
    data = {"ca-cert.pem": encoded(root.certificate), "ca-key.pem": encoded(root.key)}
    mesh[2].objects["Secret"].append(
        {
            "metadata": {"name": "istio-ca-secret", "namespace": SYSTEM},
            "type": "istio.io/ca-root",
            "data": data,
        }
    )
    own_root(mesh, root, root)


def change_cacerts(mesh: FakeMesh, **files: str | None) -> None:
    data = mesh[2].find("Secret", "cacerts", SYSTEM)["data"]
    for key, content in files.items():
        name = key.replace("_", "-") + ".pem"
        if content is None:
            del data[name]
        else:
            data[name] = encoded(content)


@fault("MC-TRUST-003", "trust-cacerts-incomplete", "cluster2", remedy="--from-file=cert-chain.pem")
def cacerts_without_a_chain(mesh: FakeMesh) -> None:
    change_cacerts(mesh, cert_chain=None)


@fault("MC-TRUST-003", "trust-key-mismatch", "cluster2")
def key_of_another_certificate(mesh: FakeMesh) -> None:
    change_cacerts(mesh, ca_key=certificates.make_root().key)


@fault("MC-TRUST-003", "trust-cacerts-malformed", "cluster2")
def key_that_is_none(mesh: FakeMesh) -> None:
    change_cacerts(mesh, ca_key="hello")


@fault("MC-TRUST-003", "trust-chain-broken", "cluster2", remedy="append")
def chain_without_its_middle(mesh: FakeMesh) -> None:
    middle = certificates._make_authority(
        "Policy CA", "istio-mc", mesh.root, certificates.DAY * 700, 1
    )
    issuing = certificates.make_intermediate(middle, "cluster2")
    change_cacerts(
        mesh, ca_cert=issuing.certificate, ca_key=issuing.key, cert_chain=issuing.certificate
    )


@fault("MC-TRUST-003", "trust-chain-order", "cluster2")
def chain_upside_down(mesh: FakeMesh) -> None:
    change_cacerts(
        mesh, cert_chain=mesh.root.certificate + mesh.intermediates["cluster2"].certificate
    )


@fault("MC-TRUST-003", "trust-ca-is-leaf", "cluster2")
def end_entity_as_ca(mesh: FakeMesh) -> None:
    leaf = certificates.make_leaf(mesh.root, dns_names=["ca.example"])
    change_cacerts(mesh, ca_cert=leaf.certificate, ca_key=leaf.key, cert_chain=leaf.certificate)


@fault(
    "MC-TRUST-004",
    "trust-root-rotation-half",
    "cluster2",
    remedy="rollout restart deployment -l app=istiod",
)
def root_replaced_without_a_restart(mesh: FakeMesh) -> None:
    new = certificates.make_root("New Root")
    for n in (1, 2):
        both = mesh.root.certificate + new.certificate
        mesh[n].find("Secret", "cacerts", SYSTEM)["data"]["root-cert.pem"] = encoded(both)
    for n in (1,):
        for item in mesh[n].objects["ConfigMap"]:
            if item["metadata"]["name"] == "istio-ca-root-cert":
                item["data"] = {"root-cert.pem": both}
        for pod in ("client-1", "server-1", "gateway-1"):
            secrets = mesh[1].dump(pod)["configs"][4]["dynamic_active_secrets"]
            secrets[1]["secret"]["validation_context"]["trusted_ca"]["inline_bytes"] = encoded(both)


@fault("MC-TRUST-005", "trust-intermediate-expired", "cluster2")
def expired_intermediate(mesh: FakeMesh) -> None:
    expired = certificates._make_authority(
        "cluster2", "istio-mc", mesh.root, certificates.DAY * -0.01, 0
    )
    mesh[2].remove("Secret", "cacerts", SYSTEM)
    mesh[2].objects["Secret"].append(cacerts(expired, mesh.root))
    own_root(mesh, mesh.root, expired)


@fault(
    "MC-TRUST-006",
    "trust-domain-mismatch",
    "cluster1",
    "cluster2",
    remedy="kubectl --context=ctx-2 -n istio-system patch configmap istio",
)
def two_trust_domains(mesh: FakeMesh) -> None:
    mesh[2].istiod("mesh")["trustDomain"] = "td2"
    mesh[2].find("ConfigMap", "istio", SYSTEM)["data"]["mesh"] = "trustDomain: td2\n"
    for pod, namespace, account in (
        ("client-2", PROBES, "client"),
        ("server-2", PROBES, "server"),
        ("gateway-2", SYSTEM, "istio-eastwestgateway-service-account"),
    ):
        leaf = certificates.make_leaf(
            mesh.intermediates["cluster2"], spiffe_id=f"spiffe://td2/ns/{namespace}/sa/{account}"
        )
        secrets = mesh[2].dump(pod)["configs"][4]["dynamic_active_secrets"]
        secrets[0]["secret"]["tls_certificate"]["certificate_chain"]["inline_bytes"] = encoded(
            leaf.chain
        )


@fault("MC-TRUST-007", "trust-identity-wrong", "cluster2", remedy="delete pod server-2")
def certificate_of_somebody_else(mesh: FakeMesh) -> None:
    leaf = certificates.make_leaf(
        mesh.intermediates["cluster2"], spiffe_id=f"spiffe://cluster.local/ns/{PROBES}/sa/other"
    )
    secrets = mesh[2].dump("server-2")["configs"][4]["dynamic_active_secrets"]
    secrets[0]["secret"]["tls_certificate"]["certificate_chain"]["inline_bytes"] = encoded(
        leaf.chain
    )


# --- access ---

CREATE = "istioctl create-remote-secret --context=ctx-2 --name=cluster2 --server=https://198.18.2.1:6443 | kubectl --context=ctx-1 apply -f -"


@fault("MC-ACCESS-001", "rs-missing", "cluster1", "cluster2", remedy=CREATE)
def no_remote_secret(mesh: FakeMesh) -> None:
    mesh[1].remove("Secret", "istio-remote-secret-cluster2", SYSTEM)
    forget(mesh)


@fault(
    "MC-ACCESS-001",
    "rs-wrong-namespace",
    "cluster1",
    "cluster2",
    remedy=f"{CREATE} && kubectl --context=ctx-1 -n default delete secret",
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
    remedy="label secret istio-remote-secret-cluster2 istio/multiCluster=true",
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


@fault(
    "MC-CONTROL-002",
    "cp-cluster-id-vs-secret",
    "cluster1",
    "cluster2",
    remedy="delete secret istio-remote-secret-west",
)
def remote_secret_under_another_name(mesh: FakeMesh) -> None:
    replace_remote_secret(mesh, remote_secret(mesh[2], key="west"))
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


@fault("MC-ACCESS-002", "rs-wrong-cluster", "cluster1", "cluster2", "cluster3", remedy=CREATE)
def remote_secret_that_leads_to_a_third_cluster(mesh: FakeMesh) -> None:
    secret = remote_secret(mesh[3], key="cluster2")
    replace_remote_secret(mesh, secret)


@fault("MC-ACCESS-003", "rs-ca-mismatch", "cluster1", "cluster2", remedy=CREATE)
def remote_ca_of_another_cluster(mesh: FakeMesh) -> None:
    replace_remote_secret(mesh, remote_secret(mesh[2], ca="CA of somebody else"))


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


@fault("MC-ACCESS-008", "rs-stale", "cluster1", remedy="delete secret istio-remote-secret-gone")
def secret_of_a_cluster_that_is_gone(mesh: FakeMesh) -> None:
    mesh[1].objects["Secret"].append(
        remote_secret(mesh[2], key="gone", server="https://198.18.99.1:6443", token=jwt(sub="x"))
    )


@fault("MC-ACCESS-008", "rs-duplicate", "cluster1", "cluster2", remedy="delete secret second")
def two_secrets_for_one_cluster(mesh: FakeMesh) -> None:
    second = remote_secret(mesh[2])
    second["metadata"]["name"] = "second"
    mesh[1].objects["Secret"].append(second)


@fault("MC-ACCESS-008", "rs-self", "cluster1", remedy="delete secret istio-remote-secret-cluster9")
def secret_that_leads_to_its_own_cluster(mesh: FakeMesh) -> None:
    mesh[1].objects["Secret"].append(remote_secret(mesh[1], key="cluster9"))


# --- control plane ---


@fault("MC-CONTROL-001", "cp-mesh-id-mismatch", "cluster2")
def another_mesh_id(mesh: FakeMesh) -> None:
    item = mesh[2].find("ConfigMap", "istio-sidecar-injector", SYSTEM)
    item["data"]["values"] = item["data"]["values"].replace("mesh1", "mesh2")


@fault("MC-CONTROL-002", "cp-cluster-name-duplicate", "cluster1", "cluster2")
def one_name_for_two_clusters(mesh: FakeMesh) -> None:
    mesh[2].find("Pod", "istiod-2", SYSTEM)["spec"]["containers"][0]["env"][0]["value"] = "cluster1"
    item = mesh[2].find("ConfigMap", "istio-sidecar-injector", SYSTEM)
    item["data"]["values"] = item["data"]["values"].replace("cluster2", "cluster1")


@fault(
    "MC-CONTROL-003",
    "cp-ns-network-missing",
    "cluster2",
    remedy="label namespace istio-system topology.istio.io/network=network2",
)
def system_namespace_without_network(mesh: FakeMesh) -> None:
    del mesh[2].find("Namespace", SYSTEM)["metadata"]["labels"]


@fault(
    "MC-CONTROL-003",
    "cp-network-same-name",
    "cluster1",
    "cluster2",
    remedy="label namespace istio-system topology.istio.io/network=network2",
)
def one_network_name_for_two(mesh: FakeMesh) -> None:
    mesh[2].find("Namespace", SYSTEM)["metadata"]["labels"]["topology.istio.io/network"] = (
        "network1"
    )
    item = mesh[2].find("ConfigMap", "istio-sidecar-injector", SYSTEM)
    item["data"]["values"] = item["data"]["values"].replace("network2", "network1")
    for pod in ("client-2", "server-2", "gateway-2"):
        mesh[2].dump(pod)["configs"][0]["bootstrap"]["node"]["metadata"]["NETWORK"] = "network1"
    pods_instead_of_gateways(mesh)


@fault("MC-CONTROL-003", "cp-network-injector-differs", "cluster2")
def injector_of_another_network(mesh: FakeMesh) -> None:
    item = mesh[2].find("ConfigMap", "istio-sidecar-injector", SYSTEM)
    item["data"]["values"] = item["data"]["values"].replace("network2", "network9")


@fault("MC-CONTROL-005", "ew-lds-nack", "cluster2")
def gateway_that_rejects_its_listeners(mesh: FakeMesh) -> None:
    row = next(row for row in mesh[2].istiod("syncz") if row["proxy_type"] == "router")
    row["resources"]["type.googleapis.com/envoy.config.listener.v3.Listener"]["lastError"] = (
        "filter chain '' has the same matching rules"
    )


@fault("MC-CONTROL-005", "proxy-stale", "cluster1", remedy="delete pod client-1")
def proxy_that_does_not_answer(mesh: FakeMesh) -> None:
    resource = mesh[1].istiod("syncz")[0]["resources"][
        "type.googleapis.com/envoy.config.listener.v3.Listener"
    ]
    resource |= {"sent": "b", "acked": "a"}


@fault("MC-CONTROL-005", "proxy-disconnected", "cluster1", remedy="delete pod client-1")
def proxy_without_istiod(mesh: FakeMesh) -> None:
    del mesh[1].istiod("syncz")[0]


@fault(
    "MC-CONTROL-006",
    "up-primaries-skew",
    "cluster1",
    "cluster2",
    remedy="istioctl upgrade --context=ctx-1",
)
def primaries_two_minors_apart(mesh: FakeMesh) -> None:
    mesh[1].answers[("istiod-1", 15014, "/version")] = "1.29.2-abc-Clean"
    for row in mesh[1].istiod("syncz"):
        row["istio_version"] = "1.29.2"


@fault("MC-CONTROL-006", "up-proxy-skew", "cluster2")
def proxies_newer_than_istiod(mesh: FakeMesh) -> None:
    for row in mesh[2].istiod("syncz"):
        row["istio_version"] = "1.32.0"


def orders(mesh: FakeMesh, *ports: Json, cluster_ip: str = "10.1.1.1") -> None:
    for n, port in enumerate(ports, 1):
        address = cluster_ip if n == 2 else "10.1.1.1"
        service = {
            "metadata": {"name": "orders", "namespace": "shop"},
            "spec": {"clusterIP": address, "ports": [port]},
        }
        mesh[n].objects["Service"].append(service)


@fault(
    "MC-CONTROL-008",
    "svc-port-number",
    "cluster1",
    "cluster2",
    remedy="kubectl --context=ctx-2 -n shop patch service orders --type=json",
)
def one_service_with_two_ports(mesh: FakeMesh) -> None:
    orders(mesh, {"name": "http", "port": 8080}, {"name": "http", "port": 8081})


@fault("MC-CONTROL-008", "svc-protocol", "cluster1", "cluster2")
def one_service_with_two_protocols(mesh: FakeMesh) -> None:
    orders(mesh, {"name": "http-web", "port": 8080}, {"name": "tcp-web", "port": 8080})


@fault("MC-CONTROL-008", "svc-port-name", "cluster1", "cluster2")
def one_service_with_two_port_names(mesh: FakeMesh) -> None:
    orders(mesh, {"name": "http-web", "port": 8080}, {"name": "http-api", "port": 8080})


@fault("MC-CONTROL-008", "svc-headless-mixed", "cluster1", "cluster2")
def one_service_headless_in_one_cluster(mesh: FakeMesh) -> None:
    orders(mesh, {"name": "http", "port": 8080}, {"name": "http", "port": 8080}, cluster_ip="None")


# --- discovery ---


@fault(
    "MC-DISCOVERY-001",
    "sidecar-missing",
    "cluster2",
    remedy="label namespace istio-mc-test istio-injection=enabled",
)
def pods_without_sidecar(mesh: FakeMesh) -> None:
    for n in (1, 2):
        for entry in mesh[n].istiod("endpointShardz").values():
            for found in entry.values():
                for endpoint in found["Shards"].get("Kubernetes/cluster2", ()):
                    endpoint["TLSMode"] = "disabled"
    lose_remote_endpoints(mesh)


@fault("MC-DISCOVERY-001", "shards-missing", "cluster1", "cluster2", remedy="delete pod istiod-1")
def shards_wiped(mesh: FakeMesh) -> None:
    for by_namespace in mesh[1].istiod("endpointShardz").values():
        for entry in by_namespace.values():
            entry["Shards"].pop("Kubernetes/cluster2", None)
    lose_remote_endpoints(mesh)


@fault("MC-DISCOVERY-001", "shards-frozen", "cluster1", "cluster2", remedy="delete pod istiod-1")
def shards_frozen(mesh: FakeMesh) -> None:
    from tests.fake_clusters import HOST

    for endpoint in mesh[1].istiod("endpointShardz")[HOST][PROBES]["Shards"]["Kubernetes/cluster2"]:
        endpoint["Addresses"] = ["10.2.0.77"]


@fault(
    "MC-DISCOVERY-002",
    "eds-missing",
    "cluster1",
    "cluster2",
    remedy="istioctl proxy-config endpoints client-1.istio-mc-test",
)
def proxy_without_remote_endpoints(mesh: FakeMesh) -> None:
    lose_remote_endpoints(mesh)


@fault("MC-DISCOVERY-002", "cl-overbroad", "cluster1", remedy="patch configmap istio")
def everything_cluster_local(mesh: FakeMesh) -> None:
    mesh[1].istiod("mesh")["serviceSettings"] = [
        {"settings": {"clusterLocal": True}, "hosts": ["*"]}
    ]
    mesh[1].find("ConfigMap", "istio", SYSTEM)["data"]["mesh"] = json.dumps(
        {"serviceSettings": [{"settings": {"clusterLocal": True}, "hosts": ["*"]}]}
    )
    lose_remote_endpoints(mesh)


@fault("MC-DISCOVERY-002", "cl-one-primary", "cluster1", remedy="patch configmap istio")
def cluster_local_in_one_primary(mesh: FakeMesh) -> None:
    mesh[1].istiod("mesh")["serviceSettings"] = [
        {"settings": {"clusterLocal": True}, "hosts": [f"*.{PROBES}.svc.cluster.local"]}
    ]
    lose_remote_endpoints(mesh)


@fault(
    "MC-DISCOVERY-002",
    "dr-tls-disable",
    "cluster1",
    remedy="-n istio-system delete destinationrules.networking.istio.io plain",
)
def mutual_tls_turned_off(mesh: FakeMesh) -> None:
    spec = {"host": "*.local", "trafficPolicy": {"tls": {"mode": "DISABLE"}}}
    mesh[1].objects["DestinationRule.networking.istio.io"] = [
        {"metadata": {"name": "plain", "namespace": SYSTEM}, "spec": spec}
    ]
    lose_remote_endpoints(mesh)


@fault("MC-LOCALITY-001", "loc-wrong", "cluster1", "cluster2")
def endpoints_in_the_wrong_place(mesh: FakeMesh) -> None:
    for entry in endpoint_configs(mesh, "client-1"):
        entry["endpoint_config"]["endpoints"][1]["locality"] = {}


@fault(
    "MC-DISCOVERY-002",
    "ew-network-view",
    "cluster1",
    remedy="ISTIO_META_REQUESTED_NETWORK_VIEW=network1",
)
def gateway_that_forwards_to_another_network(mesh: FakeMesh) -> None:
    for entry in endpoint_configs(mesh, "gateway-1"):
        address = {"address": mesh[2].gateway, "port_value": 15443}
        entry["endpoint_config"]["endpoints"].append(
            {"lb_endpoints": [{"endpoint": {"address": {"socket_address": address}}}]}
        )


# --- east-west ---


@fault(
    "MC-EASTWEST-001",
    "ew-not-deployed",
    "cluster2",
    remedy="gen-eastwest-gateway.sh --network network2",
)
def no_gateway(mesh: FakeMesh) -> None:
    mesh[2].remove("Service", "istio-eastwestgateway", SYSTEM)
    mesh[2].remove("Pod", "gateway-2", SYSTEM)
    pods_instead_of_gateways(mesh)


@fault(
    "MC-EASTWEST-001", "ew-no-address", "cluster2", remedy="describe service istio-eastwestgateway"
)
def gateway_without_address(mesh: FakeMesh) -> None:
    mesh[2].find("Service", "istio-eastwestgateway", SYSTEM)["status"] = {}
    pods_instead_of_gateways(mesh)


@fault(
    "MC-EASTWEST-001",
    "res-ew-down",
    "cluster2",
    remedy="scale deployment -l istio=eastwestgateway --replicas=1",
)
def gateway_without_pods(mesh: FakeMesh) -> None:
    mesh[2].remove("Pod", "gateway-2", SYSTEM)
    mesh[2].find("EndpointSlice.discovery.k8s.io", "istio-eastwestgateway-abc", SYSTEM)[
        "endpoints"
    ] = []


@fault(
    "MC-EASTWEST-002",
    "ew-svc-label-missing",
    "cluster2",
    remedy="label service istio-eastwestgateway topology.istio.io/network=network2",
)
def gateway_without_label(mesh: FakeMesh) -> None:
    del mesh[2].find("Service", "istio-eastwestgateway", SYSTEM)["metadata"]["labels"]
    pods_instead_of_gateways(mesh)


@fault(
    "MC-EASTWEST-002",
    "ew-passthrough-missing",
    "cluster2",
    remedy="kubectl --context=ctx-2 -n istio-system apply -f -",
)
def services_not_exposed(mesh: FakeMesh) -> None:
    mesh[2].remove("Gateway.networking.istio.io", "cross-network-gateway", SYSTEM)
    mesh[2].dump("gateway-2")["configs"][3]["dynamic_listeners"] = []


@fault(
    "MC-EASTWEST-002",
    "ew-passthrough-mode",
    "cluster2",
    remedy="patch gateways.networking.istio.io cross-network-gateway",
)
def gateway_that_does_not_route_by_sni(mesh: FakeMesh) -> None:
    mesh[2].find("Gateway.networking.istio.io", "cross-network-gateway", SYSTEM)["spec"]["servers"][
        0
    ]["tls"]["mode"] = "PASSTHROUGH"
    mesh[2].dump("gateway-2")["configs"][3]["dynamic_listeners"][0]["active_state"]["listener"][
        "filter_chains"
    ] = []


@fault(
    "MC-LOCALITY-001",
    "loc-node-labels",
    "cluster2",
    remedy="kubectl --context=ctx-2 label node node2 --overwrite",
)
def nodes_without_a_region(mesh: FakeMesh) -> None:
    del mesh[2].objects["Node"][0]["metadata"]["labels"]


@fault("MC-LOCALITY-001", "loc-proxy", "cluster1", remedy="delete pod client-1")
def proxy_that_connected_before_its_node_was_labelled(mesh: FakeMesh) -> None:
    mesh[1].istiod("adsz")["clients"][0]["locality"] = {}


@fault("MC-EASTWEST-002", "ew-selector", "cluster2", remedy='{"istio":"eastwestgateway"}')
def gateway_that_selects_nothing(mesh: FakeMesh) -> None:
    mesh[2].find("Gateway.networking.istio.io", "cross-network-gateway", SYSTEM)["spec"][
        "selector"
    ] = {"istio": "nope"}
    mesh[2].dump("gateway-2")["configs"][3]["dynamic_listeners"] = []


@fault(
    "MC-EASTWEST-002",
    "ew-lds-nack",
    "cluster2",
    remedy="delete gateways.networking.istio.io another",
)
def two_gateways_for_the_same_hosts(mesh: FakeMesh) -> None:
    item = json.loads(
        json.dumps(mesh[2].find("Gateway.networking.istio.io", "cross-network-gateway", SYSTEM))
    )
    item["metadata"]["name"] = "another"
    mesh[2].objects["Gateway.networking.istio.io"].append(item)


@fault(
    "MC-EASTWEST-002",
    "ew-gateway-port-label",
    "cluster2",
    remedy="label service istio-eastwestgateway networking.istio.io/gatewayPort-",
)
def gateway_that_sends_peers_to_another_port(mesh: FakeMesh) -> None:
    mesh[2].find("Service", "istio-eastwestgateway", SYSTEM)["metadata"]["labels"][
        "networking.istio.io/gatewayPort"
    ] = "15999"


@fault(
    "MC-EASTWEST-009",
    "ew-exposes-external",
    "cluster1",
    remedy="patch gateways.networking.istio.io cross-network-gateway",
)
def gateway_for_every_host(mesh: FakeMesh) -> None:
    mesh[1].find("Gateway.networking.istio.io", "cross-network-gateway", SYSTEM)["spec"]["servers"][
        0
    ]["hosts"] = ["*"]


@fault("MC-EASTWEST-009", "ew-exposes-external", "cluster1")
def external_service_under_a_mesh_name(mesh: FakeMesh) -> None:
    entry = {
        "metadata": {"name": "printer", "namespace": PROBES},
        "spec": {"hosts": ["printer.local"], "resolution": "DNS"},
    }
    mesh[1].objects["ServiceEntry.networking.istio.io"] = [entry]


@pytest.mark.parametrize(("seed", "check", "name", "clusters", "remedy"), FAULTS)
def test_a_fault_is_the_one_root_cause(
    seed: Seed, check: str, name: str, clusters: set[str], remedy: str
) -> None:
    mesh = FakeMesh(3 if "third" in seed.__name__ else 2)
    seed(mesh)

    snapshot = mesh.record()
    causes = root_causes(snapshot)

    shown = "\n".join(
        f"{cause.check} {cause.fault} {cause.clusters}: {cause.summary}\n   {cause.remedy}"
        for cause in causes
    )
    assert causes, "\n".join(
        f"{verdict.check} {verdict.outcome.value}: {verdict.reason}"
        for verdict in judge_all(snapshot).values()
    )
    assert {(cause.check, cause.fault) for cause in causes} == {(check, name)}, shown
    assert all(set(cause.clusters) == clusters for cause in causes), shown
    assert all(remedy in cause.remedy for cause in causes), shown


@pytest.mark.parametrize(
    "endpoint", ["clusterz", "syncz", "networkz", "endpointShardz", "mesh", "adsz"]
)
def test_a_debug_endpoint_that_refuses_is_inconclusive_and_never_a_fault(endpoint: str) -> None:
    mesh = FakeMesh()
    for port in (8080, 15014):
        mesh[1].answers[("istiod-1", port, f"/debug/{endpoint}")] = KubeError(
            "istiod-1", endpoint, "Unauthorized", status=401
        )

    outcomes = {verdict.outcome for verdict in judge_all(mesh.record()).values()}

    assert Outcome.INCONCLUSIVE in outcomes
    assert Outcome.NON_CONFORMANT not in outcomes


@pytest.mark.parametrize(
    "kind", ["Secret", "Service", "Pod", "Namespace", "ConfigMap", "EndpointSlice.discovery.k8s.io"]
)
def test_a_kind_that_may_not_be_listed_is_inconclusive_and_never_a_fault(kind: str) -> None:
    mesh = FakeMesh()
    mesh[1].refused = (kind,)

    verdicts = judge_all(mesh.record())

    assert [
        f"{one.check}: {one.reason}"
        for one in verdicts.values()
        if one.outcome is Outcome.NON_CONFORMANT
    ] == []
    assert any(one.outcome is Outcome.INCONCLUSIVE for one in verdicts.values())


def test_without_probes_access_is_inconclusive() -> None:
    mesh = FakeMesh()
    snapshot = collect(mesh.mesh, Progress(), kubes=mesh.clusters, ask=None)  # type: ignore[arg-type]

    verdicts = judge_all(snapshot)

    inconclusive = {
        id for id, verdict in verdicts.items() if verdict.outcome is Outcome.INCONCLUSIVE
    }
    assert inconclusive == {f"MC-ACCESS-00{number}" for number in (2, 3, 4, 5, 6)}


def test_an_api_server_that_nobody_reaches_is_named_as_such() -> None:
    mesh = FakeMesh()
    mesh[2].unreachable = "connection refused"

    causes = root_causes(mesh.record())

    assert [(cause.check, cause.fault) for cause in causes] == [
        ("MC-ACCESS-002", "res-api-lost-later")
    ]
