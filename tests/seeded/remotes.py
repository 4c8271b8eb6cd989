"""Faults of primary-remote meshes, between a remote cluster and its istiod."""

from __future__ import annotations

import copy
from functools import partial

from pytest_istio_mc.kube import Kube
from tests.seeded.changes import (
    GATEWAY,
    GATEWAY_KIND,
    READER,
    SYSTEM,
    Json,
    restart,
    set_environment,
)
from tests.seeded.faults import fault
from tests.seeded.mesh import SeededMesh

ANNOTATION = "topology.istio.io/controlPlaneClusters"
_remote = partial(fault, clusters=("cluster1", "cluster2"), starts=False)
_networks = partial(_remote, topology="multi-network-primary-remote")
_flat = partial(_remote, topology="flat-primary-remote")


def change_webhooks(kube: Kube, **client: Json | str) -> None:
    """Change keys of ``clientConfig`` in a cluster's injection webhooks.

    The keys of its Service are given by ``service``.
    """
    kind = "MutatingWebhookConfiguration"
    for item in kube.list(kind, labels="app=sidecar-injector"):
        webhooks = copy.deepcopy(item["webhooks"])
        for webhook in webhooks:
            config = webhook["clientConfig"]
            for key, value in client.items():
                config[key] = config.get(key, {}) | value if isinstance(value, dict) else value
        kube.merge(kind, item["metadata"]["name"], None, {"webhooks": webhooks})


def annotate(kube: Kube, value: str | None) -> None:
    """Set, or remove, the annotation by which a cluster names its control plane."""
    kube.merge("Namespace", SYSTEM, None, {"metadata": {"annotations": {ANNOTATION: value}}})


def lead_to(kube: Kube, address: str) -> None:
    """Have a remote cluster look for its istiod at another address."""
    for item in kube.list("EndpointSlice", SYSTEM, labels="kubernetes.io/service-name=istiod"):
        endpoints = [endpoint | {"addresses": [address]} for endpoint in item["endpoints"]]
        kube.merge("EndpointSlice", item["metadata"]["name"], SYSTEM, {"endpoints": endpoints})


@_networks("pr-injection-path", check="MC-CONTROL-007", recorded=True)
def injection_without_a_path(mesh: SeededMesh) -> None:
    """The remote was installed without istiodRemote.injectionPath.

    Its pods are taken for the primary's.
    """
    change_webhooks(mesh.kubes["cluster2"], service={"path": "/inject"})


@_networks("pr-control-plane-annotation", check="MC-CONTROL-007")
def never_annotated(mesh: SeededMesh) -> None:
    """The remote does not name its control plane.

    Nobody ever wrote a CA bundle into its webhooks.

    Seen: an istiod that manages a cluster goes on with that until it restarts.
    """
    annotate(mesh.kubes["cluster2"], None)
    restart(mesh.kubes["cluster1"], "app=istiod")
    change_webhooks(mesh.kubes["cluster2"], caBundle="")


@_networks("pr-istiod-not-exposed", check="MC-CONTROL-007", recorded=True)
def istiod_not_exposed(mesh: SeededMesh) -> None:
    """expose-istiod.yaml was forgotten in the primary."""
    mesh.kubes["cluster1"].delete(GATEWAY_KIND, "istiod-gateway", SYSTEM)
    mesh.kubes["cluster1"].delete("VirtualService.networking.istio.io", "istiod-vs", SYSTEM)


@_flat("pr-istiod-not-exposed", check="MC-CONTROL-007")
def gateway_without_the_control_ports(mesh: SeededMesh) -> None:
    """The primary's gateway was installed as between primaries: without 15012 and 15017."""
    service = mesh.kubes["cluster1"].read("Service", GATEWAY, SYSTEM)
    assert service is not None
    ports = [port for port in service["spec"]["ports"] if port["port"] not in (15012, 15017)]
    mesh.kubes["cluster1"].merge("Service", GATEWAY, SYSTEM, {"spec": {"ports": ports}})


@_flat("pr-remote-address-wrong", check="MC-CONTROL-007")
def another_address(mesh: SeededMesh) -> None:
    """The remote was installed with an address at which nobody answers."""
    lead_to(mesh.kubes["cluster2"], "198.19.77.1")


@_flat("pr-external-istiod-off", check="MC-CONTROL-007")
def primary_that_manages_no_remotes(mesh: SeededMesh) -> None:
    """The primary was installed without externalIstiod.

    The remote's webhooks still have the CA bundle of a former primary.
    """
    set_environment(mesh.kubes["cluster1"], "istiod", EXTERNAL_ISTIOD=None)
    restart(mesh.kubes["cluster1"], "app=istiod")


@_flat("pr-tokenreview", check="MC-ACCESS-005")
def reader_may_not_review_tokens(mesh: SeededMesh) -> None:
    """The reader in the remote may read everything, but not review tokens."""
    role = mesh.kubes["cluster2"].read("ClusterRole", READER)
    assert role is not None
    rules = [rule for rule in role["rules"] if "tokenreviews" not in rule.get("resources", ())]
    mesh.kubes["cluster2"].merge("ClusterRole", READER, None, {"rules": rules})


@_networks("rs-missing", check="MC-ACCESS-001")
def remote_secret_missing(mesh: SeededMesh) -> None:
    """The primary was never given access to the remote.

    It cannot check the tokens of the proxies there, which never start.
    """
    mesh.kubes["cluster1"].delete("Secret", "istio-remote-secret-cluster2", SYSTEM)
