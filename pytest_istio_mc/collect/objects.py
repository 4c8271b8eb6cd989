"""Kubernetes objects for a snapshot: the kinds listed, and how they are trimmed."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..istio_names import ROOT_CONFIG_MAP, SPIFFE_DRIVER
from . import fields
from .rule_fields import RULES

CONFIG_MAP, POD, SLICE = "ConfigMap", "Pod", "EndpointSlice"
SLICES = "EndpointSlice.discovery.k8s.io"
GATEWAYS = "Gateway.networking.istio.io"
PODS = "PodMetadata"
"""Of every pod in the mesh its name and the labels that something selects; nothing of its spec."""


@dataclass(frozen=True)
class Listing:
    """One list request, of all namespaces.

    - ``metadata_only``: nothing but names, labels and annotations is asked for.
    - ``wanted``: by their names those objects that go into the snapshot; with ``metadata_only``
      and ``whole``, those are read one by one then.
    """

    kind: str
    metadata_only: bool = False
    whole: bool = False
    wanted: Callable[[str], bool] = lambda name: True


def _of_istiod(name: str) -> bool:
    return "istio-reader" in name or name.startswith("istiod-")


LISTINGS = (
    Listing("Namespace", metadata_only=True),
    Listing("Node", metadata_only=True),
    Listing("Service"),
    Listing(
        "MutatingWebhookConfiguration.admissionregistration.k8s.io",
        metadata_only=True,
        whole=True,
        wanted=lambda name: "istio" in name,
    ),
    Listing("ClusterRole.rbac.authorization.k8s.io", metadata_only=True, wanted=_of_istiod),
    Listing(
        "ClusterRoleBinding.rbac.authorization.k8s.io",
        metadata_only=True,
        whole=True,
        wanted=_of_istiod,
    ),
    Listing(GATEWAYS),
    Listing("DestinationRule.networking.istio.io"),
    Listing("ServiceEntry.networking.istio.io"),
    Listing("VirtualService.networking.istio.io"),
    Listing("Sidecar.networking.istio.io"),
    Listing("WorkloadEntry.networking.istio.io"),
    Listing("EnvoyFilter.networking.istio.io", metadata_only=True),
    Listing("PeerAuthentication.security.istio.io"),
    Listing("AuthorizationPolicy.security.istio.io"),
    Listing("Gateway.gateway.networking.k8s.io"),
)
"""What is listed in all namespaces.

Besides, by name or label: Secrets, ConfigMaps, Pods and EndpointSlices, see ``cluster``.
"""


BUDGET, WITHOUT_NETWORK = "PodDisruptionBudget", "PodWithoutNetwork"
READERS = Listing(
    "ClusterRole.rbac.authorization.k8s.io", metadata_only=True, whole=True, wanted=_of_istiod
)
"""In place of the listing of their names, where what they allow is judged, too."""

SIDECAR = "security.istio.io/tlsMode=istio"
"""The label selector of pods that a sidecar was injected into."""

SERVED_GROUPS = (".istio.io", "gateway.networking.k8s.io")
"""The API groups (or how they end) of which a precheck asks what is served."""


def kind_of(kind: str) -> str:
    """The key of these objects in a snapshot: the kind, unambiguous."""
    name, _, group = kind.partition(".")
    return kind if name == "Gateway" or group.endswith(".istio.io") else name


def is_mesh_config(name: str) -> bool:
    """Whether a ConfigMap beside istiod has a mesh configuration or the injector's values.

    Each revision has its own; those by which its replicas elect a leader begin so, too.
    """
    return (name == "istio" or name.startswith("istio-")) and not (
        name.endswith(("-leader", "-election")) or name == ROOT_CONFIG_MAP
    )


BODIES: Mapping[str, fields.Shape] = {**fields.BODIES, **RULES}
"""Of each kind, besides the metadata; kinds that are not here have a function."""


def trim(kind: str, item: Mapping[str, Any], selected_by: Collection[str] = ()) -> dict[str, Any]:
    """The object with only the fields that checks read.

    ``selected_by``: keys of labels that selectors name, which are kept besides those of Istio.
    """
    kept: dict[str, Any] = {"metadata": _metadata(kind, item["metadata"], selected_by)}
    if kind in _BODIES:
        kept.update(_BODIES[kind](item))
        return kept
    body = fields.keep(BODIES[kind], item) or {}
    for part in BODIES[kind]:
        if part in ("spec", "status") and kind != "Node":
            body.setdefault(part, {})
        elif part in ("webhooks", "subjects") or (part == "rules" and part in item):
            body.setdefault(part, [])
    return kept | body


def selected_keys(items: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The keys of labels that the selectors of Services and Gateways name."""
    return frozenset(
        str(key) for item in items for key in (item.get("spec") or {}).get("selector") or ()
    )


def named_keys(items: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The keys of labels by which trimmed Services, rules and policies choose pods."""
    found: set[str] = set()
    for item in items:
        spec = item.get("spec") or {}
        for part in (spec.get("selector"), spec.get("workloadSelector"), *spec.get("subsets", ())):
            if not part:
                continue
            expressions = part.get("matchExpressions") or ()
            found.update(one["key"] for one in expressions if "key" in one)
            nested = [part[key] for key in ("matchLabels", "labels") if key in part]
            plain = {key for key, value in part.items() if isinstance(value, str)}
            found.update(*nested) if nested else found.update(plain)
        for rule in (*spec.get("http", ()), *spec.get("tls", ()), *spec.get("tcp", ())):
            for match in rule.get("match") or ():
                found.update(match.get("sourceLabels") or ())
    return frozenset(found)


def keys_of_selectors(items: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The keys of labels that label selectors of objects name (``matchLabels``, …)."""
    selectors = [(item.get("spec") or {}).get("selector") or {} for item in items]
    return frozenset(
        str(key)
        for one in selectors
        for key in (
            *(one.get("matchLabels") or ()),
            *(entry.get("key", "") for entry in one.get("matchExpressions") or ()),
        )
    )


def _metadata(
    kind: str, metadata: Mapping[str, Any], selected_by: Collection[str]
) -> dict[str, Any]:
    named = {key: metadata.get(key) for key in ("name", "namespace")}
    kept: dict[str, Any] = {key: value for key, value in named.items() if value}
    if kind in ("Namespace", "Pod", "Service"):
        kept["uid"] = metadata.get("uid", "")
    if kind == "Pod":
        kept["creationTimestamp"] = metadata.get("creationTimestamp")
        if metadata.get("deletionTimestamp"):
            kept["deletionTimestamp"] = metadata["deletionTimestamp"]
    if found := fields.kept_labels(metadata.get("labels"), selected_by):
        kept["labels"] = found
    if found := fields.kept_annotations(metadata.get("annotations")):
        kept["annotations"] = found
    return kept


def _only(source: Mapping[str, Any] | None, *keys: str) -> dict[str, Any]:
    return fields.keep(dict.fromkeys(keys), source) or {}


def _pod(item: Mapping[str, Any]) -> dict[str, Any]:
    spec, status = item.get("spec") or {}, item.get("status") or {}
    # native sidecars are init containers that restart always
    initial = spec.get("initContainers") or ()
    native = [entry for entry in initial if entry.get("restartPolicy") == "Always"]
    istiod = (item["metadata"].get("labels") or {}).get("app") == "istiod"
    containers = [_container(one, istiod) for one in [*(spec.get("containers") or ()), *native]]
    conditions = [_only(one, "type", "status", "reason") for one in status.get("conditions") or ()]
    kept = _only(spec, "serviceAccountName", "nodeName", "hostNetwork")
    drivers = {(one.get("csi") or {}).get("driver") for one in spec.get("volumes") or ()}
    if SPIFFE_DRIVER in drivers:
        kept["csiDrivers"] = [SPIFFE_DRIVER]
    return {
        "spec": kept | {"containers": containers},
        "status": _only(status, "phase", "podIP") | {"conditions": conditions},
    }


def _container(container: Mapping[str, Any], istiod: bool) -> dict[str, Any]:
    kept = _only(container, "name", "image")
    if istiod and container.get("name") == "discovery":
        kept["env"] = fields.environment(container)
        kept["clusterAliases"] = fields.cluster_aliases(container)
    return kept


def _endpoint_slice(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "addressType": item.get("addressType", ""),
        "ports": [_only(one, "name", "port", "protocol") for one in item.get("ports") or ()],
        "endpoints": [
            {
                "addresses": [str(address) for address in entry.get("addresses") or ()],
                **_only(entry, "nodeName", "zone"),
                "conditions": _only(entry.get("conditions"), "ready", "serving", "terminating"),
                "target": str((entry.get("targetRef") or {}).get("name", "")),
            }
            for entry in item.get("endpoints") or ()
        ],
    }


def _config_map(item: Mapping[str, Any]) -> dict[str, Any]:
    data = item.get("data") or {}
    kept: dict[str, Any] = fields.keep(fields.ROOTS, data) or {}
    if "mesh" in data:
        # not under its own name: what is here must never be written back
        kept["meshConfig"] = fields.keep(fields.MESH_CONFIG, _parsed(data["mesh"])) or {}
    if "meshNetworks" in data:
        kept["meshNetworks"] = _mesh_networks(data["meshNetworks"])
    if "values" in data:
        kept["values"] = _injector_values(data["values"])
    return {"data": kept}


def _mesh_networks(text: Any) -> str:
    """The networks that an istiod is told, or what says that they cannot be read."""
    import yaml

    found = _parsed(text)
    networks = found.get("networks") if isinstance(found, Mapping) else found
    if not isinstance(networks, Mapping) and (networks or (found is None and str(text).strip())):
        return "networks: unreadable\n"
    return yaml.safe_dump(fields.keep(fields.MESH_NETWORKS, found) or {})


def _parsed(text: Any) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except Exception:
        return None  # a configuration that istiod cannot read either: /debug/mesh says what it has


def _injector_values(text: Any) -> dict[str, Any]:
    try:
        values = fields.keep(fields.INJECTOR_VALUES, json.loads(text)) or {}
    except (ValueError, TypeError, RecursionError):
        return {}
    found = values.get("global") or {}
    return {
        "revision": values.get("revision", ""),
        "meshID": found.get("meshID", ""),
        "network": found.get("network", ""),
        "clusterName": (found.get("multiCluster") or {}).get("clusterName", ""),
    }


_BODIES: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    POD: _pod,
    SLICE: _endpoint_slice,
    CONFIG_MAP: _config_map,
}
