"""Faults of meshes on one network, where pods reach each other directly."""

from __future__ import annotations

import copy
import json
from functools import partial

from tests.seeded.changes import SYSTEM, set_network, turn_mutual_tls_off
from tests.seeded.faults import fault
from tests.seeded.mesh import SeededMesh

_primaries = partial(fault, topology="flat-multi-primary")
_remote = partial(fault, topology="flat-primary-remote")
BOTH = ("cluster1", "cluster2")


def give_the_route(mesh: SeededMesh) -> None:
    """The route is there again."""
    mesh.on_node("cluster2", "ip", "route", "del", "unreachable", mesh.pods_of("cluster1"))


@_primaries("network-not-flat", check="MC-EASTWEST-007", clusters=BOTH, heal=give_the_route)
def lose_the_route(mesh: SeededMesh) -> None:
    """cluster2's nodes have no route to the pods of cluster1."""
    mesh.on_node("cluster2", "ip", "route", "add", "unreachable", mesh.pods_of("cluster1"))


def spare(mesh: SeededMesh, action: str = "-I") -> None:
    """Pod addresses are kept again by an iptables rule; ``-D`` deletes it."""
    rule = ("LAB-POSTROUTING", "-d", mesh.pods_of("cluster1"), "-j", "RETURN")
    mesh.on_node("cluster2", "iptables", "-w", "-t", "nat", action, *rule)


@_remote("network-not-flat", check="MC-EASTWEST-007", clusters=("cluster2", "cluster1"), heal=spare)
def masquerade(mesh: SeededMesh) -> None:
    """cluster2's nodes translate the addresses of its pods on their way to cluster1.

    The firewall of cluster1's pods takes pods only.
    """
    spare(mesh, "-D")


@_primaries("peerauth-disable", check="MC-DISCOVERY-002", clusters=("cluster2",), recorded=True)
def mutual_tls_off_in_one_primary(mesh: SeededMesh) -> None:
    """A mesh-wide PeerAuthentication in cluster2 turns mutual TLS off.

    cluster1 was not told, so it goes on sending it.

    Seen: between networks the gateway loses every endpoint instead.
    """
    turn_mutual_tls_off(mesh.kubes["cluster2"])


@_primaries("cp-network-split", check="MC-CONTROL-003", clusters=BOTH)
def two_names_for_one_network(mesh: SeededMesh) -> None:
    """cluster2 was installed as if it had a network of its own.

    Seen: no call fails as long as there is no east-west gateway. With the first one, clusters lose
    each other.
    """
    kube = mesh.kubes["cluster2"]
    set_network(kube, "network2")
    config = kube.read("ConfigMap", "istio-sidecar-injector", SYSTEM)
    assert config is not None
    values = copy.deepcopy(json.loads(config["data"]["values"]))
    values["global"]["network"] = "network2"
    data = {"values": json.dumps(values)}
    kube.merge("ConfigMap", "istio-sidecar-injector", SYSTEM, {"data": data})
