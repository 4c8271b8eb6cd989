"""Seeded faults: real mistakes that users make with real meshes, each with the check that must be named as their root cause.

A fault changes a healthy mesh through the Kubernetes API of its clusters; what heals it is the remedy that the certificate prints.
The names are those of the findings (``Finding.fault``); they never change, because users search for them.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from pytest_istio_mc import certificates
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.spec import MeshSpec

SYSTEM = "istio-system"
GATEWAY = "istio-eastwestgateway"
CROSS_NETWORK = "cross-network-gateway"
Json = dict[str, Any]
Seed = Callable[[MeshSpec, Mapping[str, Kube]], None]


@dataclass(frozen=True)
class SeededFault:
    """A fault: its stable name, how to seed it, and the check and clusters that its root cause must name."""

    name: str
    check: str
    clusters: tuple[str, ...]
    seed: Seed

    @property
    def group(self) -> str:
        """The part of the mesh that is broken: ``trust``, ``rs`` (remote secrets), ``ew`` (east-west gateway), ``cp``…"""
        return self.name.partition("-")[0]


FAULTS: dict[str, SeededFault] = {}


def fault(name: str, *, check: str, clusters: tuple[str, ...]) -> Callable[[Seed], Seed]:
    """Register a seed."""

    def register(seed: Seed) -> Seed:
        FAULTS[name] = SeededFault(name, check, clusters, seed)
        return seed

    return register


def remote_secret(kube: Kube, cluster: str) -> Json:
    """The remote secret for a cluster, as istioctl names it."""
    secret = kube.read("Secret", f"istio-remote-secret-{cluster}", SYSTEM)
    assert secret is not None, f"{kube.name} has no remote secret for {cluster}"
    return secret


def bare(manifest: Json, **metadata: Any) -> Json:
    """The object without what the apiserver added, so that it can be made anew."""
    kept = {key: value for key, value in manifest["metadata"].items() if key in ("name", "namespace", "labels", "annotations")}
    return {key: value for key, value in manifest.items() if key != "status"} | {"metadata": kept | metadata}


def restart(kube: Kube, *selectors: str) -> None:
    """Delete the pods of these labels in the system namespace and wait for their Deployments."""
    for selector in selectors:
        for pod in kube.list("Pod", SYSTEM, labels=selector):
            kube.delete("Pod", pod["metadata"]["name"], SYSTEM)
        deployments = kube.list("Deployment", SYSTEM, labels=selector)
        kube.wait_available([("Deployment", item["metadata"]["name"]) for item in deployments], SYSTEM, within_seconds=90)


def set_mesh_config(kube: Kube, **settings: Any) -> None:
    """Change the mesh configuration of one control plane."""
    config = kube.read("ConfigMap", "istio", SYSTEM)
    assert config is not None
    mesh = yaml.safe_load(config["data"]["mesh"]) | settings
    kube.merge("ConfigMap", "istio", SYSTEM, {"data": {"mesh": yaml.safe_dump(mesh)}})


@fault("rs-missing", check="MC-ACCESS-001", clusters=("cluster1", "cluster2"))
def remote_secret_missing(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """cluster1 was never given access to cluster2."""
    kubes["cluster1"].delete("Secret", "istio-remote-secret-cluster2", SYSTEM)


@fault("rs-wrong-namespace", check="MC-ACCESS-001", clusters=("cluster1", "cluster2"))
def remote_secret_in_the_wrong_namespace(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """The remote secret was applied to the namespace default."""
    secret = remote_secret(kubes["cluster1"], "cluster2")
    kubes["cluster1"].delete("Secret", secret["metadata"]["name"], SYSTEM)
    kubes["cluster1"].create(bare(secret, namespace="default"))


@fault("rs-localhost", check="MC-ACCESS-002", clusters=("cluster1", "cluster2"))
def remote_secret_with_a_loopback_server(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """The kubeconfig in the remote secret is the one of the administrator's own machine."""
    secret = remote_secret(kubes["cluster1"], "cluster2")
    kubeconfig = yaml.safe_load(base64.b64decode(secret["data"]["cluster2"]))
    kubeconfig["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:6443"
    data = base64.b64encode(yaml.safe_dump(kubeconfig).encode()).decode()
    kubes["cluster1"].merge("Secret", secret["metadata"]["name"], SYSTEM, {"data": {"cluster2": data}})


@fault("rs-token-revoked", check="MC-ACCESS-004", clusters=("cluster1", "cluster2"))
def token_revoked(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """Somebody deleted the reader's token in cluster2."""
    for secret in kubes["cluster2"].list("Secret", SYSTEM):
        if secret["type"] == "kubernetes.io/service-account-token" and "istio-reader" in secret["metadata"]["name"]:
            kubes["cluster2"].delete("Secret", secret["metadata"]["name"], SYSTEM)


@fault("rs-rbac-lost", check="MC-ACCESS-005", clusters=("cluster1", "cluster2"))
def reader_binding_lost(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """The reader's ClusterRoleBinding in cluster2 is gone."""
    kubes["cluster2"].delete("ClusterRoleBinding", f"istio-reader-clusterrole-{SYSTEM}")


@fault("cp-cluster-id-vs-secret", check="MC-CONTROL-002", clusters=("cluster1", "cluster2"))
def secret_under_another_cluster_name(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """The remote secret was made with --name=west, the cluster calls itself cluster2."""
    secret = copy.deepcopy(remote_secret(kubes["cluster1"], "cluster2"))
    kubes["cluster1"].delete("Secret", secret["metadata"]["name"], SYSTEM)
    renamed = bare(secret, name="istio-remote-secret-west", annotations={"networking.istio.io/cluster": "west"})
    renamed["data"] = {"west": secret["data"]["cluster2"]}
    kubes["cluster1"].create(renamed)


@fault("cp-ns-network-missing", check="MC-CONTROL-003", clusters=("cluster2",))
def network_label_missing(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """The system namespace of cluster2 lost its network label."""
    kubes["cluster2"].merge("Namespace", SYSTEM, None, {"metadata": {"labels": {"topology.istio.io/network": None}}})


@fault("ew-svc-label-missing", check="MC-EASTWEST-002", clusters=("cluster2",))
def gateway_service_without_network(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """The gateway's Service does not say which network it leads to."""
    label = {"metadata": {"labels": {"topology.istio.io/network": None}}}
    kubes["cluster2"].merge("Service", GATEWAY, SYSTEM, label)


@fault("ew-no-address", check="MC-EASTWEST-001", clusters=("cluster2",))
def gateway_without_address(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """No load balancer serves the gateway's Service in cluster2."""
    service = kubes["cluster2"].read("Service", GATEWAY, SYSTEM)
    assert service is not None
    kubes["cluster2"].delete("Service", GATEWAY, SYSTEM)
    pending = bare(service)
    pending["spec"] = {"type": "LoadBalancer", "loadBalancerClass": "example.com/none"} | {
        key: service["spec"][key] for key in ("selector", "ports")
    }
    for port in pending["spec"]["ports"]:
        port.pop("nodePort", None)
    kubes["cluster2"].create(pending)


@fault("ew-passthrough-missing", check="MC-EASTWEST-002", clusters=("cluster2",))
def services_not_exposed(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """The Gateway that exposes the services of cluster2 was forgotten."""
    kubes["cluster2"].delete("Gateway.networking.istio.io", CROSS_NETWORK, SYSTEM)


@fault("ew-passthrough-mode", check="MC-EASTWEST-002", clusters=("cluster2",))
def wrong_tls_mode(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """PASSTHROUGH instead of AUTO_PASSTHROUGH."""
    gateway = kubes["cluster2"].read("Gateway.networking.istio.io", CROSS_NETWORK, SYSTEM)
    assert gateway is not None
    servers = copy.deepcopy(gateway["spec"]["servers"])
    servers[0]["tls"]["mode"] = "PASSTHROUGH"
    kubes["cluster2"].merge("Gateway.networking.istio.io", CROSS_NETWORK, SYSTEM, {"spec": {"servers": servers}})


@fault("ew-lds-nack", check="MC-EASTWEST-002", clusters=("cluster2",))
def two_gateways_on_one_port(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """A second AUTO_PASSTHROUGH Gateway with the same hosts on the same pods."""
    gateway = kubes["cluster2"].read("Gateway.networking.istio.io", CROSS_NETWORK, SYSTEM)
    assert gateway is not None
    kubes["cluster2"].create(bare(gateway, name="another-cross-network-gateway", annotations={}))


@fault("trust-different-roots", check="MC-TRUST-001", clusters=("cluster1", "cluster2"))
def different_roots(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """cluster2's certificates come from another root."""
    root = certificates.make_root("Another Root CA")
    files = certificates.cacerts_files(certificates.make_intermediate(root, "cluster2"), root)
    data = {name: base64.b64encode(content).decode() for name, content in files.items()}
    kubes["cluster2"].merge("Secret", "cacerts", SYSTEM, {"data": data})
    restart(kubes["cluster2"], "app=istiod", f"istio={GATEWAY.removeprefix('istio-')}")


@fault("trust-no-cacerts", check="MC-TRUST-002", clusters=("cluster2",))
def no_plugged_in_certificates(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """istiod of cluster2 signs with a root of its own."""
    kubes["cluster2"].delete("Secret", "cacerts", SYSTEM)
    restart(kubes["cluster2"], "app=istiod", f"istio={GATEWAY.removeprefix('istio-')}")


@fault("trust-domain-mismatch", check="MC-TRUST-006", clusters=("cluster1", "cluster2"))
def different_trust_domains(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """cluster2 has a trust domain of its own and nobody has an alias for it."""
    set_mesh_config(kubes["cluster2"], trustDomain="td2.example")
    restart(kubes["cluster2"], "app=istiod", f"istio={GATEWAY.removeprefix('istio-')}")


@fault("cl-overbroad", check="MC-DISCOVERY-002", clusters=("cluster1",))
def everything_cluster_local(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """One pattern in cluster1's mesh configuration keeps every service local."""
    set_mesh_config(kubes["cluster1"], serviceSettings=[{"settings": {"clusterLocal": True}, "hosts": ["*"]}])


@fault("dr-tls-disable", check="MC-DISCOVERY-002", clusters=("cluster1",))
def mutual_tls_turned_off(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """A mesh-wide DestinationRule in cluster1 turns client TLS off."""
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "plain", "namespace": SYSTEM},
        "spec": {"host": "*.local", "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
    }
    kubes["cluster1"].create(rule)


@fault("svc-port-number", check="MC-CONTROL-008", clusters=("cluster1", "cluster2"))
def ports_differ(spec: MeshSpec, kubes: Mapping[str, Kube]) -> None:
    """One service has another port number in cluster2."""
    for name, port in (("cluster1", 8080), ("cluster2", 8081)):
        manifest: Json = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "orders", "namespace": "default"},
            "spec": {"selector": {"app": "orders"}, "ports": [{"name": "http", "port": port}]},
        }
        kubes[name].create(manifest)
