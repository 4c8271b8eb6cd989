"""Faults of meshes on one network, where pods of all clusters reach each other directly."""

from __future__ import annotations

import copy
import json

from tests.seeded.changes import SYSTEM, Json
from tests.seeded.faults import fault
from tests.seeded.mesh import SeededMesh

MULTI_PRIMARY, PRIMARY_REMOTE = "flat-multi-primary", "flat-primary-remote"
NETWORK_LABEL = "topology.istio.io/network"


def lose_the_route(mesh: SeededMesh) -> None:
    """cluster2's nodes have no route to the pods of cluster1."""
    mesh.on_node("cluster2", "ip", "route", "add", "unreachable", mesh.pods_of("cluster1"))


def give_the_route(mesh: SeededMesh) -> None:
    """The route is there again."""
    mesh.on_node("cluster2", "ip", "route", "del", "unreachable", mesh.pods_of("cluster1"))


fault(
    "network-not-flat",
    check="MC-EASTWEST-007",
    clusters=("cluster1", "cluster2"),
    topology=MULTI_PRIMARY,
    heal=give_the_route,
)(lose_the_route)


def masquerade(mesh: SeededMesh) -> None:
    """cluster2's nodes translate what its pods send to the pods of cluster1, whose firewall takes pods only."""
    mesh.on_node(
        "cluster2",
        "iptables",
        "-w",
        "-t",
        "nat",
        "-D",
        "LAB-POSTROUTING",
        "-d",
        mesh.pods_of("cluster1"),
        "-j",
        "RETURN",
    )


def spare(mesh: SeededMesh) -> None:
    """Pod addresses are kept again."""
    mesh.on_node(
        "cluster2",
        "iptables",
        "-w",
        "-t",
        "nat",
        "-I",
        "LAB-POSTROUTING",
        "-d",
        mesh.pods_of("cluster1"),
        "-j",
        "RETURN",
    )


fault(
    "network-not-flat",
    check="MC-EASTWEST-007",
    clusters=("cluster2", "cluster1"),
    topology=PRIMARY_REMOTE,
    heal=spare,
)(masquerade)


@fault(
    "peerauth-disable",
    check="MC-DISCOVERY-002",
    clusters=("cluster2",),
    topology=MULTI_PRIMARY,
    recorded=True,
)
def mutual_tls_off_in_one_primary(mesh: SeededMesh) -> None:
    """A mesh-wide PeerAuthentication in cluster2 turns mutual TLS off; cluster1, which was not told, goes on sending it.

    Seen: between networks the gateway loses every endpoint instead.
    """
    policy: Json = {
        "apiVersion": "security.istio.io/v1",
        "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": SYSTEM},
        "spec": {"mtls": {"mode": "DISABLE"}},
    }
    mesh.kubes["cluster2"].create(policy)


@fault(
    "cp-network-split",
    check="MC-CONTROL-003",
    clusters=("cluster1", "cluster2"),
    topology=MULTI_PRIMARY,
)
def two_names_for_one_network(mesh: SeededMesh) -> None:
    """cluster2 was installed as if it had a network of its own.

    Seen: no call fails as long as there is no east-west gateway; with the first one, clusters lose each other.
    """
    kube = mesh.kubes["cluster2"]
    kube.merge("Namespace", SYSTEM, None, {"metadata": {"labels": {NETWORK_LABEL: "network2"}}})
    config = kube.read("ConfigMap", "istio-sidecar-injector", SYSTEM)
    assert config is not None
    values = copy.deepcopy(json.loads(config["data"]["values"]))
    values["global"]["network"] = "network2"
    kube.merge(
        "ConfigMap", "istio-sidecar-injector", SYSTEM, {"data": {"values": json.dumps(values)}}
    )
