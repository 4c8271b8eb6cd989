"""Faults of multi-primary on different networks, most of which every topology can have."""

from __future__ import annotations

import base64
import copy

import yaml

from pytest_istio_mc import certificates
from tests.seeded.changes import (
    CROSS_NETWORK,
    GATEWAY,
    GATEWAY_LABEL,
    SYSTEM,
    Json,
    bare,
    change_gateway,
    change_kubeconfig,
    encoded,
    plug_in,
    remote_secret,
    restart,
    set_environment,
    set_mesh_config,
)
from tests.seeded.faults import fault
from tests.seeded.mesh import SeededMesh


@fault("rs-missing", check="MC-ACCESS-001", clusters=("cluster1", "cluster2"))
def remote_secret_missing(mesh: SeededMesh) -> None:
    """cluster1 was never given access to cluster2.

    Seen: an istiod that had access before keeps cluster2's gateway in ``networkz`` until it restarts; only the endpoints go.
    """
    mesh.kubes["cluster1"].delete("Secret", "istio-remote-secret-cluster2", SYSTEM)


@fault("rs-wrong-namespace", check="MC-ACCESS-001", clusters=("cluster1", "cluster2"))
def remote_secret_in_the_wrong_namespace(mesh: SeededMesh) -> None:
    """The remote secret was applied to the namespace default."""
    secret = remote_secret(mesh.kubes["cluster1"], "cluster2")
    mesh.kubes["cluster1"].delete("Secret", secret["metadata"]["name"], SYSTEM)
    mesh.kubes["cluster1"].create(bare(secret, namespace="default"))


@fault("rs-localhost", check="MC-ACCESS-002", clusters=("cluster1", "cluster2"))
def remote_secret_with_a_loopback_server(mesh: SeededMesh) -> None:
    """The kubeconfig in the remote secret is the one of the administrator's own machine.

    Seen: istiod goes on with the former credential until the new one has synced (``clusterz`` says ``syncing``), so that every call
    still arrives; cluster2 is lost at istiod's next start.
    """
    change_kubeconfig(
        mesh.kubes["cluster1"],
        lambda config: config["clusters"][0]["cluster"].update(server="https://127.0.0.1:6443"),
    )


@fault("rs-token-revoked", check="MC-ACCESS-004", clusters=("cluster1", "cluster2"))
def token_revoked(mesh: SeededMesh) -> None:
    """Somebody deleted the reader's token in cluster2.

    Seen: watches that are open go on, so that even new endpoints still arrive, and ``clusterz`` says ``synced``; every new request is
    refused.
    """
    for secret in mesh.kubes["cluster2"].list("Secret", SYSTEM):
        if (
            secret["type"] == "kubernetes.io/service-account-token"
            and "istio-reader" in secret["metadata"]["name"]
        ):
            mesh.kubes["cluster2"].delete("Secret", secret["metadata"]["name"], SYSTEM)


@fault("rs-rbac-lost", check="MC-ACCESS-005", clusters=("cluster1", "cluster2"))
def reader_binding_lost(mesh: SeededMesh) -> None:
    """The reader's ClusterRoleBinding in cluster2 is gone. Seen: as with a token that was revoked."""
    mesh.kubes["cluster2"].delete("ClusterRoleBinding", f"istio-reader-clusterrole-{SYSTEM}")


@fault("rs-unreachable", check="MC-ACCESS-002", clusters=("cluster1", "cluster2"))
def remote_secret_with_a_server_that_nobody_answers(mesh: SeededMesh) -> None:
    """The kubeconfig in the remote secret names a port on which no API server listens."""

    def another_port(config: Json) -> None:
        cluster = config["clusters"][0]["cluster"]
        cluster["server"] = cluster["server"].rpartition(":")[0] + ":6444"

    change_kubeconfig(mesh.kubes["cluster1"], another_port)


@fault("rs-malformed", check="MC-ACCESS-001", clusters=("cluster1", "cluster2"))
def remote_secret_without_a_kubeconfig(mesh: SeededMesh) -> None:
    """What is in the remote secret is no kubeconfig."""
    mesh.kubes["cluster1"].merge(
        "Secret", "istio-remote-secret-cluster2", SYSTEM, {"data": {"cluster2": encoded("foo")}}
    )


@fault("rs-exec-auth", check="MC-ACCESS-001", clusters=("cluster1", "cluster2"))
def remote_secret_with_an_exec_plugin(mesh: SeededMesh) -> None:
    """An administrator's own kubeconfig was copied, which runs a cloud's command line tool."""
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "cloud-login",
        "interactiveMode": "Never",
    }
    change_kubeconfig(
        mesh.kubes["cluster1"], lambda config: config["users"][0].update(user={"exec": plugin})
    )


@fault("rs-self", check="MC-ACCESS-008", clusters=("cluster1",))
def remote_secret_for_oneself(mesh: SeededMesh) -> None:
    """cluster1 has a remote secret for itself under another name. Seen: no endpoint is doubled."""
    mine = remote_secret(mesh.kubes["cluster2"], "cluster1")
    another = bare(
        mine,
        name="istio-remote-secret-cluster9",
        annotations={"networking.istio.io/cluster": "cluster9"},
    )
    mesh.kubes["cluster1"].create(another | {"data": {"cluster9": mine["data"]["cluster1"]}})


@fault("rs-stale", check="MC-ACCESS-008", clusters=("cluster1",))
def remote_secret_for_a_cluster_that_is_gone(mesh: SeededMesh) -> None:
    """A cluster left the mesh, its remote secret stayed."""
    secret = remote_secret(mesh.kubes["cluster1"], "cluster2")
    kubeconfig = yaml.safe_load(base64.b64decode(secret["data"]["cluster2"]))
    kubeconfig["clusters"][0]["cluster"]["server"] = "https://198.18.255.254:6443"
    stale = bare(
        secret,
        name="istio-remote-secret-cluster3",
        annotations={"networking.istio.io/cluster": "cluster3"},
    )
    mesh.kubes["cluster1"].create(
        stale | {"data": {"cluster3": encoded(yaml.safe_dump(kubeconfig))}}
    )


@fault("rs-rbac-partial", check="MC-ACCESS-005", clusters=("cluster1", "cluster2"))
def reader_without_one_right(mesh: SeededMesh) -> None:
    """The reader's ClusterRole is that of an older Istio, without ConfigMaps."""
    name = f"istio-reader-clusterrole-{SYSTEM}"
    role = mesh.kubes["cluster2"].read("ClusterRole", name)
    assert role is not None
    rules = [
        {**rule, "resources": [one for one in rule.get("resources", ()) if one != "configmaps"]}
        for rule in role["rules"]
    ]
    mesh.kubes["cluster2"].merge(
        "ClusterRole", name, None, {"rules": [rule for rule in rules if rule["resources"]]}
    )


@fault("cp-cluster-id-vs-secret", check="MC-CONTROL-002", clusters=("cluster1", "cluster2"))
def secret_under_another_cluster_name(mesh: SeededMesh) -> None:
    """The remote secret was made with --name=west, the cluster calls itself cluster2."""
    secret = copy.deepcopy(remote_secret(mesh.kubes["cluster1"], "cluster2"))
    mesh.kubes["cluster1"].delete("Secret", secret["metadata"]["name"], SYSTEM)
    renamed = bare(
        secret, name="istio-remote-secret-west", annotations={"networking.istio.io/cluster": "west"}
    )
    renamed["data"] = {"west": secret["data"]["cluster2"]}
    mesh.kubes["cluster1"].create(renamed)


@fault("cp-ns-network-missing", check="MC-CONTROL-003", clusters=("cluster2",))
def network_label_missing(mesh: SeededMesh) -> None:
    """The system namespace of cluster2 lost its network label. Seen: nothing else fails, as long as every pod is injected."""
    mesh.kubes["cluster2"].merge(
        "Namespace", SYSTEM, None, {"metadata": {"labels": {"topology.istio.io/network": None}}}
    )


@fault("cp-network-same-name", check="MC-CONTROL-003", clusters=("cluster1", "cluster2"))
def two_clusters_on_one_network_by_name(mesh: SeededMesh) -> None:
    """The label of cluster1's system namespace was copied to cluster2.

    Seen: nothing else fails as long as the injector still gives every pod the right network.
    """
    mesh.kubes["cluster2"].merge(
        "Namespace",
        SYSTEM,
        None,
        {"metadata": {"labels": {"topology.istio.io/network": "network1"}}},
    )


@fault("ew-svc-label-missing", check="MC-EASTWEST-002", clusters=("cluster2",))
def gateway_service_without_network(mesh: SeededMesh) -> None:
    """The gateway's Service does not say which network it leads to."""
    label = {"metadata": {"labels": {"topology.istio.io/network": None}}}
    mesh.kubes["cluster2"].merge("Service", GATEWAY, SYSTEM, label)


@fault("ew-no-address", check="MC-EASTWEST-001", clusters=("cluster2",))
def gateway_without_address(mesh: SeededMesh) -> None:
    """No load balancer serves the gateway's Service in cluster2."""
    service = mesh.kubes["cluster2"].read("Service", GATEWAY, SYSTEM)
    assert service is not None
    mesh.kubes["cluster2"].delete("Service", GATEWAY, SYSTEM)
    pending = bare(service)
    pending["spec"] = {"type": "LoadBalancer", "loadBalancerClass": "example.com/none"} | {
        key: service["spec"][key] for key in ("selector", "ports")
    }
    for port in pending["spec"]["ports"]:
        port.pop("nodePort", None)
    mesh.kubes["cluster2"].create(pending)


@fault("ew-passthrough-missing", check="MC-EASTWEST-002", clusters=("cluster2",))
def services_not_exposed(mesh: SeededMesh) -> None:
    """The Gateway that exposes the services of cluster2 was forgotten."""
    mesh.kubes["cluster2"].delete("Gateway.networking.istio.io", CROSS_NETWORK, SYSTEM)


@fault("ew-passthrough-mode", check="MC-EASTWEST-002", clusters=("cluster2",))
def wrong_tls_mode(mesh: SeededMesh) -> None:
    """PASSTHROUGH instead of AUTO_PASSTHROUGH.

    Seen: no listener at all, so connections are refused; a listener without SNI chains needs a VirtualService beside it.
    """
    change_gateway(
        mesh.kubes["cluster2"], lambda spec: spec["servers"][0]["tls"].update(mode="PASSTHROUGH")
    )


@fault("ew-lds-nack", check="MC-EASTWEST-002", clusters=("cluster2",))
def two_gateways_on_one_port(mesh: SeededMesh) -> None:
    """A second AUTO_PASSTHROUGH Gateway with the same hosts on the same pods.

    Seen: no rejection and no failing call; istiod takes the servers of both as one.
    """
    gateway = mesh.kubes["cluster2"].read("Gateway.networking.istio.io", CROSS_NETWORK, SYSTEM)
    assert gateway is not None
    mesh.kubes["cluster2"].create(
        bare(gateway, name="another-cross-network-gateway", annotations={})
    )


@fault("ew-selector", check="MC-EASTWEST-002", clusters=("cluster2",))
def gateway_for_no_pod(mesh: SeededMesh) -> None:
    """The Gateway's selector matches no pod."""
    change_gateway(
        mesh.kubes["cluster2"], lambda spec: spec.update(selector={"istio": "east-west-gateway"})
    )


@fault("ew-network-view", check="MC-DISCOVERY-002", clusters=("cluster2",))
def gateway_without_a_network_view(mesh: SeededMesh) -> None:
    """The gateway's Deployment was written by hand, without ISTIO_META_REQUESTED_NETWORK_VIEW."""
    set_environment(mesh.kubes["cluster2"], GATEWAY, ISTIO_META_REQUESTED_NETWORK_VIEW=None)
    restart(mesh.kubes["cluster2"], GATEWAY_LABEL)


@fault("res-ew-down", check="MC-EASTWEST-001", clusters=("cluster2",))
def gateway_without_pods(mesh: SeededMesh) -> None:
    """The gateway was scaled to nothing, its Service still has its address."""
    mesh.kubes["cluster2"].merge("Deployment", GATEWAY, SYSTEM, {"spec": {"replicas": 0}})


@fault("trust-different-roots", check="MC-TRUST-001", clusters=("cluster1", "cluster2"))
def different_roots(mesh: SeededMesh) -> None:
    """cluster2's certificates come from another root."""
    plug_in(mesh.kubes["cluster2"], certificates.make_root("Another Root CA"))
    restart(mesh.kubes["cluster2"], "app=istiod", GATEWAY_LABEL)


@fault("trust-root-rotation-half", check="MC-TRUST-001", clusters=("cluster1", "cluster2"))
def root_replaced_half_way(mesh: SeededMesh) -> None:
    """cluster2's root was replaced without a time of two roots; its gateway was not restarted and trusts the old one."""
    plug_in(mesh.kubes["cluster2"], certificates.make_root("New Root CA"))
    restart(mesh.kubes["cluster2"], "app=istiod")


@fault("trust-key-mismatch", check="MC-TRUST-003", clusters=("cluster2",))
def key_of_another_certificate(mesh: SeededMesh) -> None:
    """The key in cacerts belongs to another certificate: istiod goes on with what it has until it is restarted."""
    key = certificates.make_root("Somebody else").key
    mesh.kubes["cluster2"].merge(
        "Secret", "cacerts", SYSTEM, {"data": {"ca-key.pem": encoded(key)}}
    )


@fault("trust-no-cacerts", check="MC-TRUST-002", clusters=("cluster2",))
def no_plugged_in_certificates(mesh: SeededMesh) -> None:
    """istiod of cluster2 signs with a root of its own."""
    mesh.kubes["cluster2"].delete("Secret", "cacerts", SYSTEM)
    restart(mesh.kubes["cluster2"], "app=istiod", GATEWAY_LABEL)


@fault("trust-domain-mismatch", check="MC-TRUST-006", clusters=("cluster1", "cluster2"))
def different_trust_domains(mesh: SeededMesh) -> None:
    """cluster2 has a trust domain of its own and nobody has an alias for it."""
    set_mesh_config(mesh.kubes["cluster2"], trustDomain="td2.example")
    restart(mesh.kubes["cluster2"], "app=istiod", GATEWAY_LABEL)


@fault("cl-overbroad", check="MC-DISCOVERY-002", clusters=("cluster1",))
def everything_cluster_local(mesh: SeededMesh) -> None:
    """One pattern in cluster1's mesh configuration keeps every service local."""
    set_mesh_config(
        mesh.kubes["cluster1"],
        serviceSettings=[{"settings": {"clusterLocal": True}, "hosts": ["*"]}],
    )


@fault("dr-tls-disable", check="MC-DISCOVERY-002", clusters=("cluster1",))
def mutual_tls_turned_off(mesh: SeededMesh) -> None:
    """A mesh-wide DestinationRule in cluster1 turns client TLS off.

    Seen: it holds for cluster1's east-west gateway, too, whose SNI clusters lose every endpoint: no call from cluster2 arrives either.
    """
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "plain", "namespace": SYSTEM},
        "spec": {"host": "*.local", "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
    }
    mesh.kubes["cluster1"].create(rule)


@fault("peerauth-disable", check="MC-DISCOVERY-002", clusters=("cluster1",))
def mutual_tls_not_accepted(mesh: SeededMesh) -> None:
    """A mesh-wide PeerAuthentication in cluster1 turns mutual TLS off.

    Seen: cluster1's gateway loses every endpoint and, as clients do, its certificate, because nothing in its configuration needs one.
    """
    policy = {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": SYSTEM},
        "spec": {"mtls": {"mode": "DISABLE"}},
    }
    mesh.kubes["cluster1"].create(policy)


@fault("svc-port-number", check="MC-CONTROL-008", clusters=("cluster1", "cluster2"))
def ports_differ(mesh: SeededMesh) -> None:
    """One service has another port number in cluster2."""
    for name, port in (("cluster1", 8080), ("cluster2", 8081)):
        manifest: Json = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "orders", "namespace": "default"},
            "spec": {"selector": {"app": "orders"}, "ports": [{"name": "http", "port": port}]},
        }
        mesh.kubes[name].create(manifest)
