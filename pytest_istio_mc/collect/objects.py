"""Kubernetes objects for a snapshot: the kinds listed, the fields kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..istio_names import ROOT_CONFIG_MAP
from ..redact import scrub_environment


@dataclass(frozen=True)
class Listing:
    """One list request.

    ``scope``: ``all`` namespaces, the ``mesh`` namespace, or that and the namespaces of other
    ``workloads``: probes and gateways.
    """

    kind: str
    scope: str = "all"
    fields: str = ""


LISTINGS = (
    Listing("Namespace"),
    Listing("Node"),
    Listing("Service"),
    Listing("ConfigMap", fields=f"metadata.name={ROOT_CONFIG_MAP}"),
    Listing("ConfigMap", scope="mesh"),
    Listing("Deployment.apps", scope="mesh"),
    Listing("Pod", scope="workloads"),
    Listing("EndpointSlice.discovery.k8s.io", scope="workloads"),
    Listing("MutatingWebhookConfiguration.admissionregistration.k8s.io"),
    Listing("ClusterRole.rbac.authorization.k8s.io"),
    Listing("ClusterRoleBinding.rbac.authorization.k8s.io"),
    Listing("Gateway.networking.istio.io"),
    Listing("VirtualService.networking.istio.io"),
    Listing("DestinationRule.networking.istio.io"),
    Listing("ServiceEntry.networking.istio.io"),
    Listing("PeerAuthentication.security.istio.io"),
    Listing("Gateway.gateway.networking.k8s.io"),
)
"""Everything that is listed but Secrets, which are reduced to public facts at once."""


def kind_of(listing: Listing) -> str:
    """The key of these objects in a snapshot: the kind, unambiguous."""
    kind, _, group = listing.kind.partition(".")
    return listing.kind if kind == "Gateway" or group.endswith(".istio.io") else kind


def wanted(kind: str, item: Mapping[str, Any]) -> bool:
    """Whether a listed object goes into the snapshot."""
    name = item["metadata"]["name"]
    if kind == "ConfigMap":
        return bool(name == ROOT_CONFIG_MAP or name.startswith("istio"))
    if kind in ("ClusterRole", "ClusterRoleBinding"):
        return "istio-reader" in name or name.startswith("istiod-")
    if kind == "MutatingWebhookConfiguration":
        return "istio" in name
    return True


def trim(kind: str, item: Mapping[str, Any]) -> dict[str, Any]:
    """The object with only the fields that checks read."""
    kept: dict[str, Any] = {"metadata": _metadata(kind, item["metadata"])}
    pick = _BODIES.get(kind)
    if pick is not None:
        kept.update(pick(item))
    elif kind.endswith(".istio.io") or kind.startswith("Gateway"):
        kept["spec"] = item.get("spec") or {}
    return kept


def _metadata(kind: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    named = {key: metadata.get(key) for key in ("name", "namespace")}
    kept: dict[str, Any] = {key: value for key, value in named.items() if value}
    if kind in ("Namespace", "Pod", "Service"):
        kept["uid"] = metadata.get("uid", "")
    if kind == "Pod":
        kept["creationTimestamp"] = metadata.get("creationTimestamp")
        if metadata.get("deletionTimestamp"):
            kept["deletionTimestamp"] = metadata["deletionTimestamp"]
    if metadata.get("labels"):
        kept["labels"] = dict(metadata["labels"])
    # other people's annotations may hold anything; Istio's own are what checks read
    annotations = metadata.get("annotations") or {}
    if ours := {key: value for key, value in annotations.items() if "istio.io/" in key}:
        kept["annotations"] = ours
    return kept


def _only(source: Mapping[str, Any] | None, *keys: str) -> dict[str, Any]:
    return {key: source[key] for key in keys if source.get(key) is not None} if source else {}


def _pod(item: Mapping[str, Any]) -> dict[str, Any]:
    spec, status = item.get("spec") or {}, item.get("status") or {}
    # native sidecars are init containers that restart always
    initial = spec.get("initContainers") or ()
    native = [entry for entry in initial if entry.get("restartPolicy") == "Always"]
    containers = [
        _only(entry, "name", "image", "ports") | {"env": environment(entry)}
        for entry in [*(spec.get("containers") or ()), *native]
    ]
    conditions = [
        _only(entry, "type", "status", "reason", "message")
        for entry in status.get("conditions") or ()
    ]
    kept = _only(spec, "serviceAccountName", "nodeName", "hostNetwork")
    return {
        "spec": kept | {"containers": containers},
        "status": _only(status, "phase", "podIP", "podIPs") | {"conditions": conditions},
    }


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    """The plain environment variables of a container, values that look secret redacted."""
    return {
        entry["name"]: scrub_environment(entry["name"], entry["value"])
        for entry in container.get("env") or ()
        if isinstance(entry.get("value"), str)
    }


def _service(item: Mapping[str, Any]) -> dict[str, Any]:
    keys = (
        "type", "clusterIP", "ports", "selector", "externalIPs", "internalTrafficPolicy",
        "externalName", "loadBalancerClass",
    )  # fmt: skip
    status = _only(item.get("status"), "loadBalancer")
    return {"spec": _only(item.get("spec"), *keys), "status": status}


def _endpoint_slice(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "addressType": item.get("addressType", ""),
        "ports": item.get("ports") or [],
        "endpoints": [
            _only(entry, "addresses", "conditions", "nodeName", "zone")
            | {"target": (entry.get("targetRef") or {}).get("name", "")}
            for entry in item.get("endpoints") or ()
        ],
    }


def _config_map(item: Mapping[str, Any]) -> dict[str, Any]:
    data = item.get("data") or {}
    kept = _only(data, "root-cert.pem", "mesh", "meshNetworks")
    if "values" in data:
        kept["values"] = _injector_values(data["values"])
    return {"data": kept}


def _injector_values(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    found = values.get("global") or {}
    return {
        "revision": values.get("revision", ""),
        "meshID": found.get("meshID", ""),
        "network": found.get("network", ""),
        "clusterName": (found.get("multiCluster") or {}).get("clusterName", ""),
    }


def _webhooks(item: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("name", "clientConfig", "namespaceSelector", "objectSelector")
    return {"webhooks": [_only(entry, *keys) for entry in item.get("webhooks") or ()]}


_BODIES: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "Namespace": lambda item: {},
    "Node": lambda item: {},
    "Pod": _pod,
    "Service": _service,
    "EndpointSlice": _endpoint_slice,
    "ConfigMap": _config_map,
    "Deployment": lambda item: {
        "spec": _only(item.get("spec"), "replicas"),
        "status": _only(item.get("status"), "readyReplicas"),
    },
    "MutatingWebhookConfiguration": _webhooks,
    "ClusterRole": lambda item: _only(item, "rules"),
    "ClusterRoleBinding": lambda item: _only(item, "roleRef", "subjects"),
}
