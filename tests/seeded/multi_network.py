"""Faults of multi-primary on different networks, most of which every topology can have."""

from __future__ import annotations

import base64

import yaml

from pytest_istio_mc import certificates
from pytest_istio_mc.istio_names import INJECTION_LABEL
from tests.seeded.changes import (
    CROSS_NETWORK,
    GATEWAY,
    GATEWAY_KIND,
    GATEWAY_LABEL,
    NETWORK_LABEL,
    READER,
    SYSTEM,
    Json,
    bare,
    change_gateway,
    change_kubeconfig,
    create_anew,
    encoded,
    plug_in,
    remote_secret,
    restart,
    secret_for,
    set_environment,
    set_mesh_config,
    set_network,
    turn_mutual_tls_off,
)
from tests.seeded.faults import fault
from tests.seeded.mesh import SeededMesh

BOTH = ("cluster1", "cluster2")
REMOTE_SECRET = "istio-remote-secret-cluster2"


@fault("rs-missing", check="MC-ACCESS-001", clusters=BOTH)
def remote_secret_missing(mesh: SeededMesh) -> None:
    """cluster1 was never given access to cluster2.

    Seen: an istiod that had access before keeps cluster2's gateway in ``networkz`` until it
    restarts; only the endpoints go.
    """
    mesh.kubes["cluster1"].delete("Secret", REMOTE_SECRET, SYSTEM)


@fault("rs-wrong-namespace", check="MC-ACCESS-001", clusters=BOTH)
def remote_secret_in_the_wrong_namespace(mesh: SeededMesh) -> None:
    """The remote secret was applied to the namespace default."""
    secret = remote_secret(mesh.kubes["cluster1"], "cluster2")
    mesh.kubes["cluster1"].delete("Secret", secret["metadata"]["name"], SYSTEM)
    create_anew(mesh.kubes["cluster1"], bare(secret, namespace="default"))


@fault("rs-localhost", check="MC-ACCESS-002", clusters=BOTH)
def remote_secret_with_a_loopback_server(mesh: SeededMesh) -> None:
    """The remote secret holds the kubeconfig of the administrator's own machine.

    Seen: istiod goes on with the former credential until the new one has synced (``clusterz`` says
    ``syncing``), so every call still arrives. cluster2 is lost at istiod's next start.
    """

    def loopback(config: Json) -> None:
        config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:6443"

    change_kubeconfig(mesh.kubes["cluster1"], loopback)


@fault("rs-token-revoked", check="MC-ACCESS-004", clusters=BOTH)
def token_revoked(mesh: SeededMesh) -> None:
    """Somebody deleted the reader's token in cluster2.

    Seen: open watches go on, so even new endpoints still arrive, and ``clusterz`` says ``synced``.
    Every new request is refused.
    """
    for secret in mesh.kubes["cluster2"].list("Secret", SYSTEM):
        name = secret["metadata"]["name"]
        if secret["type"] == "kubernetes.io/service-account-token" and "istio-reader" in name:
            mesh.kubes["cluster2"].delete("Secret", name, SYSTEM)


@fault("rs-rbac-lost", check="MC-ACCESS-005", clusters=BOTH)
def reader_binding_lost(mesh: SeededMesh) -> None:
    """The reader's ClusterRoleBinding in cluster2 is gone.

    Seen: as with a revoked token.
    """
    mesh.kubes["cluster2"].delete("ClusterRoleBinding", READER)


@fault("rs-unreachable", check="MC-ACCESS-002", clusters=BOTH)
def remote_secret_with_a_server_that_nobody_answers(mesh: SeededMesh) -> None:
    """The remote secret names a port on which no API server listens."""

    def another_port(config: Json) -> None:
        cluster = config["clusters"][0]["cluster"]
        cluster["server"] = cluster["server"].rpartition(":")[0] + ":6444"

    change_kubeconfig(mesh.kubes["cluster1"], another_port)


@fault("rs-malformed", check="MC-ACCESS-001", clusters=BOTH)
def remote_secret_without_a_kubeconfig(mesh: SeededMesh) -> None:
    """The remote secret holds no kubeconfig, but other text."""
    data = {"cluster2": encoded("foo")}
    mesh.kubes["cluster1"].merge("Secret", REMOTE_SECRET, SYSTEM, {"data": data})


@fault("rs-exec-auth", check="MC-ACCESS-001", clusters=BOTH)
def remote_secret_with_an_exec_plugin(mesh: SeededMesh) -> None:
    """An administrator's kubeconfig was copied, which runs a cloud's command line tool."""
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "cloud-login",
        "interactiveMode": "Never",
    }

    def run(config: Json) -> None:
        config["users"][0]["user"] = {"exec": plugin}

    change_kubeconfig(mesh.kubes["cluster1"], run)


@fault("rs-self", check="MC-ACCESS-008", clusters=("cluster1",))
def remote_secret_for_oneself(mesh: SeededMesh) -> None:
    """cluster1 has a remote secret for itself under another name.

    Seen: no endpoint is doubled.
    """
    mine = remote_secret(mesh.kubes["cluster2"], "cluster1")
    create_anew(mesh.kubes["cluster1"], secret_for("cluster9", mine, mine["data"]["cluster1"]))


@fault("rs-stale", check="MC-ACCESS-008", clusters=("cluster1",))
def remote_secret_for_a_cluster_that_is_gone(mesh: SeededMesh) -> None:
    """A cluster left the mesh, its remote secret stayed."""
    secret = remote_secret(mesh.kubes["cluster1"], "cluster2")
    kubeconfig = yaml.safe_load(base64.b64decode(secret["data"]["cluster2"]))
    kubeconfig["clusters"][0]["cluster"]["server"] = "https://198.18.255.254:6443"
    stale = secret_for("cluster3", secret, encoded(yaml.safe_dump(kubeconfig)))
    create_anew(mesh.kubes["cluster1"], stale)


@fault("rs-rbac-partial", check="MC-ACCESS-005", clusters=BOTH)
def reader_without_one_right(mesh: SeededMesh) -> None:
    """The reader's ClusterRole is that of an older Istio, without ConfigMaps."""
    role = mesh.kubes["cluster2"].read("ClusterRole", READER)
    assert role is not None
    rules = [
        {**rule, "resources": [one for one in rule.get("resources", ()) if one != "configmaps"]}
        for rule in role["rules"]
    ]
    kept = [rule for rule in rules if rule["resources"]]
    mesh.kubes["cluster2"].merge("ClusterRole", READER, None, {"rules": kept})


@fault("cp-cluster-id-vs-secret", check="MC-CONTROL-002", clusters=BOTH)
def secret_under_another_cluster_name(mesh: SeededMesh) -> None:
    """The remote secret was made with --name=west, the cluster calls itself cluster2."""
    secret = remote_secret(mesh.kubes["cluster1"], "cluster2")
    mesh.kubes["cluster1"].delete("Secret", secret["metadata"]["name"], SYSTEM)
    create_anew(mesh.kubes["cluster1"], secret_for("west", secret, secret["data"]["cluster2"]))


@fault("cp-ns-network-missing", check="MC-CONTROL-003", clusters=("cluster2",))
def network_label_missing(mesh: SeededMesh) -> None:
    """The system namespace of cluster2 lost its network label.

    Seen: nothing else fails as long as every pod is injected.
    """
    set_network(mesh.kubes["cluster2"], None)


@fault("cp-network-same-name", check="MC-CONTROL-003", clusters=BOTH)
def two_clusters_on_one_network_by_name(mesh: SeededMesh) -> None:
    """The label of cluster1's system namespace was copied to cluster2.

    Seen: nothing else fails as long as the injector still gives every pod the right network.
    """
    set_network(mesh.kubes["cluster2"], "network1")


@fault("ew-svc-label-missing", check="MC-EASTWEST-002", clusters=("cluster2",))
def gateway_service_without_network(mesh: SeededMesh) -> None:
    """The gateway's Service does not say which network it leads to."""
    label = {"metadata": {"labels": {NETWORK_LABEL: None}}}
    mesh.kubes["cluster2"].merge("Service", GATEWAY, SYSTEM, label)


@fault("ew-no-address", check="MC-EASTWEST-001", clusters=("cluster2",))
def gateway_without_address(mesh: SeededMesh) -> None:
    """No load balancer serves the gateway's Service in cluster2."""
    service = mesh.kubes["cluster2"].read("Service", GATEWAY, SYSTEM)
    assert service is not None
    mesh.kubes["cluster2"].delete("Service", GATEWAY, SYSTEM)
    pending = bare(service)
    kept = {key: service["spec"][key] for key in ("selector", "ports")}
    pending["spec"] = {"type": "LoadBalancer", "loadBalancerClass": "example.com/none"} | kept
    for port in pending["spec"]["ports"]:
        port.pop("nodePort", None)
    create_anew(mesh.kubes["cluster2"], pending)


@fault("ew-passthrough-missing", check="MC-EASTWEST-002", clusters=("cluster2",))
def services_not_exposed(mesh: SeededMesh) -> None:
    """The Gateway that exposes the services of cluster2 was forgotten."""
    mesh.kubes["cluster2"].delete(GATEWAY_KIND, CROSS_NETWORK, SYSTEM)


@fault("ew-passthrough-mode", check="MC-EASTWEST-002", clusters=("cluster2",))
def wrong_tls_mode(mesh: SeededMesh) -> None:
    """PASSTHROUGH instead of AUTO_PASSTHROUGH.

    Seen: no listener at all, so connections are refused. A listener without SNI chains needs a
    VirtualService beside it.
    """
    kube = mesh.kubes["cluster2"]
    change_gateway(kube, lambda spec: spec["servers"][0]["tls"].update(mode="PASSTHROUGH"))


@fault("ew-lds-nack", check="MC-EASTWEST-002", clusters=("cluster2",))
def two_gateways_on_one_port(mesh: SeededMesh) -> None:
    """A second AUTO_PASSTHROUGH Gateway with the same hosts on the same pods.

    Seen: no rejection and no failing call; istiod takes the servers of both as one.
    """
    gateway = mesh.kubes["cluster2"].read(GATEWAY_KIND, CROSS_NETWORK, SYSTEM)
    assert gateway is not None
    another = bare(gateway, name=f"another-{CROSS_NETWORK}", annotations={})
    create_anew(mesh.kubes["cluster2"], another)


@fault("ew-selector", check="MC-EASTWEST-002", clusters=("cluster2",))
def gateway_for_no_pod(mesh: SeededMesh) -> None:
    """The Gateway's selector matches no pod."""
    kube = mesh.kubes["cluster2"]
    change_gateway(kube, lambda spec: spec.update(selector={"istio": "east-west-gateway"}))


@fault("ew-network-view", check="MC-DISCOVERY-002", clusters=("cluster2",))
def gateway_without_a_network_view(mesh: SeededMesh) -> None:
    """The gateway's Deployment was written by hand, without ISTIO_META_REQUESTED_NETWORK_VIEW."""
    set_environment(mesh.kubes["cluster2"], GATEWAY, ISTIO_META_REQUESTED_NETWORK_VIEW=None)
    restart(mesh.kubes["cluster2"], GATEWAY_LABEL)


@fault("res-ew-down", check="MC-EASTWEST-001", clusters=("cluster2",))
def gateway_without_pods(mesh: SeededMesh) -> None:
    """The gateway was scaled to nothing, its Service still has its address."""
    mesh.kubes["cluster2"].merge("Deployment", GATEWAY, SYSTEM, {"spec": {"replicas": 0}})


@fault("trust-different-roots", check="MC-TRUST-001", clusters=BOTH)
def different_roots(mesh: SeededMesh) -> None:
    """cluster2's certificates come from another root."""
    plug_in(mesh.kubes["cluster2"], certificates.make_root("Another Root CA"))
    restart(mesh.kubes["cluster2"], "app=istiod", GATEWAY_LABEL)


@fault("trust-root-rotation-half", check="MC-TRUST-001", clusters=BOTH)
def root_replaced_half_way(mesh: SeededMesh) -> None:
    """cluster2's root was replaced without a time of two roots.

    Its gateway was not restarted and trusts the old one.
    """
    plug_in(mesh.kubes["cluster2"], certificates.make_root("New Root CA"))
    restart(mesh.kubes["cluster2"], "app=istiod")


@fault("trust-key-mismatch", check="MC-TRUST-003", clusters=("cluster2",))
def key_of_another_certificate(mesh: SeededMesh) -> None:
    """The key in cacerts belongs to another certificate.

    istiod goes on with what it has until it is restarted.
    """
    data = {"ca-key.pem": encoded(certificates.make_root("Somebody else").key)}
    mesh.kubes["cluster2"].merge("Secret", "cacerts", SYSTEM, {"data": data})


@fault("trust-no-cacerts", check="MC-TRUST-002", clusters=("cluster2",))
def no_plugged_in_certificates(mesh: SeededMesh) -> None:
    """istiod of cluster2 signs with a root of its own."""
    mesh.kubes["cluster2"].delete("Secret", "cacerts", SYSTEM)
    restart(mesh.kubes["cluster2"], "app=istiod", GATEWAY_LABEL)


@fault("trust-domain-mismatch", check="MC-TRUST-006", clusters=BOTH)
def different_trust_domains(mesh: SeededMesh) -> None:
    """cluster2 has a trust domain of its own, without an alias anywhere."""
    set_mesh_config(mesh.kubes["cluster2"], trustDomain="td2.example")
    restart(mesh.kubes["cluster2"], "app=istiod", GATEWAY_LABEL)


@fault("cl-overbroad", check="MC-DISCOVERY-002", clusters=("cluster1",))
def everything_cluster_local(mesh: SeededMesh) -> None:
    """One pattern in cluster1's mesh configuration keeps every service local."""
    local = {"settings": {"clusterLocal": True}, "hosts": ["*"]}
    set_mesh_config(mesh.kubes["cluster1"], serviceSettings=[local])


@fault("dr-tls-disable", check="MC-DISCOVERY-002", clusters=("cluster1",))
def mutual_tls_turned_off(mesh: SeededMesh) -> None:
    """A mesh-wide DestinationRule in cluster1 turns client TLS off.

    Seen: it holds for cluster1's east-west gateway, too, whose SNI clusters lose every endpoint.
    No call from cluster2 arrives either.
    """
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "plain", "namespace": SYSTEM},
        "spec": {"host": "*.local", "trafficPolicy": {"tls": {"mode": "DISABLE"}}},
    }
    create_anew(mesh.kubes["cluster1"], rule)


@fault("peerauth-disable", check="MC-DISCOVERY-002", clusters=("cluster1",))
def mutual_tls_not_accepted(mesh: SeededMesh) -> None:
    """A mesh-wide PeerAuthentication in cluster1 turns mutual TLS off.

    Seen: cluster1's gateway loses every endpoint and, as clients do, its certificate, because
    nothing in its configuration needs one.
    """
    turn_mutual_tls_off(mesh.kubes["cluster1"])


@fault("svc-port-number", check="MC-CONTROL-008", clusters=BOTH)
def ports_differ(mesh: SeededMesh) -> None:
    """One service of the mesh has another port number in cluster2."""
    namespace: Json = {"name": "shop", "labels": {INJECTION_LABEL: "enabled"}}
    for name, port in (("cluster1", 8080), ("cluster2", 8081)):
        mesh.kubes[name].apply({"apiVersion": "v1", "kind": "Namespace", "metadata": namespace})
        manifest: Json = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "orders", "namespace": "shop"},
            "spec": {"selector": {"app": "orders"}, "ports": [{"name": "http", "port": port}]},
        }
        create_anew(mesh.kubes[name], manifest)
