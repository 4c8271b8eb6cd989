"""Fields: what of each kind of object goes into a snapshot; all else never does.

Each kind has a *shape*, which lists what checks read. A check that reads one more field adds it
here, and the documentation of snapshots (``docs/certificate.md``) where users would not expect it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..certificates import only_certificates
from ..istio_names import (
    CONTROL_PLANES_ANNOTATION,
    EXCLUDED_PORTS,
    EXPORT_TO,
    INCLUDED_PORTS,
    NODE_SELECTOR_ANNOTATION,
    REMOTE_CLUSTER_ANNOTATION,
)
from ..redact import public_url, scrub_text

Shape = Any
"""Which part of a value is kept.

- ``PLAIN``: a text, number or switch; lists and mappings in its place are left out.
- ``[shape]``: a list, each entry by that shape.
- ``{"key": shape}``: a mapping, those keys alone; ``"*"`` stands for every key.
- A function: what it makes of the value.
"""

PLAIN = None
_ABSENT = object()
_LONGEST = 4096
"""Characters of a plain text; what checks read is shorter."""


def keep(shape: Shape, value: Any) -> Any:
    """The part of a value that has the shape; None where nothing has.

    Raises :class:`ValueError` where a list or mapping that checks read is neither: to take it for
    an empty one would be a finding about nothing.
    """
    kept = _kept(shape, value)
    return None if kept is _ABSENT else kept


def _kept(shape: Shape, value: Any) -> Any:
    if value is None:
        return _ABSENT
    if shape is PLAIN:
        if isinstance(value, str):
            return value[:_LONGEST]
        return value if isinstance(value, (bool, int, float)) else _ABSENT
    if isinstance(shape, list):
        if not isinstance(value, list):
            raise ValueError(f"{type(value).__name__} in the place of a list")
        entries = (_kept(shape[0], entry) for entry in value)
        return [entry for entry in entries if entry is not _ABSENT]
    if isinstance(shape, Mapping):
        if not isinstance(value, Mapping):
            raise ValueError(f"{type(value).__name__} in the place of a mapping")
        return {
            str(key): kept
            for key, entry in value.items()
            if (inner := shape.get(key, shape.get("*", _ABSENT))) is not _ABSENT
            and (kept := _kept(inner, entry)) is not _ABSENT
        }
    made = shape(value)
    return _ABSENT if made is None else made


def _of_text(make: Callable[[str], str]) -> Callable[[Any], str | None]:
    return lambda value: make(value) if isinstance(value, str) else None


PEM = _of_text(only_certificates)
"""Certificates, written anew from what was read of them."""


def _ca_bundle(value: Any) -> str | None:
    import base64
    import binascii

    if not isinstance(value, str):
        return None
    try:
        text = base64.b64decode(value).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""
    return base64.b64encode(only_certificates(text).encode()).decode()


def _webhook_url(value: Any) -> str | None:
    """Where a webhook is called: its path says for which cluster Istio's injects."""
    from urllib.parse import urlsplit

    if not isinstance(value, str) or not (base := public_url(value)):
        return None
    path = urlsplit(value).path
    return base + (path if path.startswith("/inject") else "")


LABELS: Shape = {"*": PLAIN}
_EXPRESSION: Shape = {"key": PLAIN, "operator": PLAIN, "values": [PLAIN]}
SELECTOR: Shape = {"matchLabels": LABELS, "matchExpressions": [_EXPRESSION]}
PORT: Shape = {"number": PLAIN, "name": PLAIN, "protocol": PLAIN, "targetPort": PLAIN}
LOCALITY: Shape = {
    "enabled": PLAIN,
    "distribute": [{"from": PLAIN, "to": {"*": PLAIN}}],
    "failover": [{"from": PLAIN, "to": PLAIN}],
    "failoverPriority": [PLAIN],
}


def _passthrough_option(value: Any) -> dict[str, str] | None:
    """Options of Istio for a listener; others' may be anything."""
    if not isinstance(value, Mapping):
        return None
    ours = ((key, entry) for key, entry in value.items() if str(key).startswith("gateway.istio.io"))
    return {str(key): entry for key, entry in ours if isinstance(entry, str)}


BODIES: Mapping[str, Shape] = {
    "Namespace": {},
    "PodMetadata": {},
    "Node": {"status": {"addresses": [{"type": PLAIN, "address": PLAIN}]}},
    "Service": {
        "spec": {
            "type": PLAIN,
            "clusterIP": PLAIN,
            "externalIPs": [PLAIN],
            "externalName": PLAIN,
            "internalTrafficPolicy": PLAIN,
            "loadBalancerClass": PLAIN,
            "selector": LABELS,
            "ports": [
                {
                    "name": PLAIN,
                    "port": PLAIN,
                    "protocol": PLAIN,
                    "appProtocol": PLAIN,
                    "targetPort": PLAIN,
                    "nodePort": PLAIN,
                }
            ],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": PLAIN, "hostname": PLAIN}]}},
    },
    "MutatingWebhookConfiguration": {
        "webhooks": [
            {
                "name": PLAIN,
                "clientConfig": {
                    "service": {
                        "name": PLAIN,
                        "namespace": PLAIN,
                        "path": PLAIN,
                        "port": PLAIN,
                    },
                    "url": _webhook_url,
                    "caBundle": _ca_bundle,
                },
                "namespaceSelector": SELECTOR,
                "objectSelector": SELECTOR,
            }
        ]
    },
    "ClusterRole": {
        "rules": [
            {"apiGroups": [PLAIN], "resources": [PLAIN], "verbs": [PLAIN], "resourceNames": [PLAIN]}
        ]
    },
    "ClusterRoleBinding": {
        "roleRef": {"name": PLAIN, "kind": PLAIN, "apiGroup": PLAIN},
        "subjects": [{"kind": PLAIN, "name": PLAIN, "namespace": PLAIN}],
    },
    "Gateway.networking.istio.io": {
        "spec": {
            "selector": LABELS,
            "servers": [{"port": PORT, "tls": {"mode": PLAIN}, "hosts": [PLAIN]}],
        }
    },
    "PodDisruptionBudget": {
        "spec": {"minAvailable": PLAIN, "maxUnavailable": PLAIN, "selector": SELECTOR}
    },
    "PodWithoutNetwork": {},
    "Gateway.gateway.networking.k8s.io": {
        "spec": {
            "gatewayClassName": PLAIN,
            "addresses": [{"type": PLAIN, "value": PLAIN}],
            "listeners": [
                {
                    "name": PLAIN,
                    "hostname": PLAIN,
                    "port": PLAIN,
                    "protocol": PLAIN,
                    "tls": {"mode": PLAIN, "options": _passthrough_option},
                }
            ],
        },
        "status": {"addresses": [{"type": PLAIN, "value": PLAIN}]},
    },
}
"""Of each kind, besides the metadata. Kinds that are not here have a function in ``objects``."""

ANNOTATIONS = frozenset(
    {
        CONTROL_PLANES_ANNOTATION,
        REMOTE_CLUSTER_ANNOTATION,
        EXCLUDED_PORTS,
        EXPORT_TO,
        INCLUDED_PORTS,
        NODE_SELECTOR_ANNOTATION,
        "istio.io/rev",
        "sidecar.istio.io/inject",
        "inject.istio.io/templates",
    }
)
"""Annotations that checks read; any other may hold anything (``proxy.istio.io/config`` does)."""

_LABEL_DOMAINS = (".istio.io", ".kubernetes.io", ".k8s.io", ".istio-mc.dev")
_LABEL_NAMES = frozenset({"app", "istio", "istio-injection", "istio/multiCluster", "version"})


def kept_labels(found: Any, selected_by: Iterable[str] = ()) -> dict[str, str]:
    """The labels that checks read: Kubernetes' and Istio's own, and those that selectors name."""
    if not isinstance(found, Mapping):
        return {}
    named = _LABEL_NAMES.union(selected_by)
    return {
        key: value
        for key, value in found.items()
        if isinstance(value, str)
        and (key in named or f".{key.partition('/')[0]}".endswith(_LABEL_DOMAINS))
    }


def kept_annotations(found: Any) -> dict[str, str]:
    """The annotations that checks read."""
    kept = keep(dict.fromkeys(ANNOTATIONS), found)
    return kept or {}


ENVIRONMENT = frozenset(
    {
        "CLUSTER_ID",
        "ENABLE_CA_SERVER",
        "EXTERNAL_CA",
        "EXTERNAL_ISTIOD",
        "LOCAL_CLUSTER_SECRET_WATCHER",
        "PILOT_CERT_PROVIDER",
        "PILOT_ENABLE_REMOTE_CREDENTIALS_CONTROLLER",
        "PILOT_INSECURE_MULTICLUSTER_KUBECONFIG_OPTIONS",
        "PILOT_MULTI_NETWORK_DISCOVER_GATEWAY_API",
        "PILOT_SKIP_VALIDATE_TRUST_DOMAIN",
        "RESOLVE_HOSTNAME_GATEWAYS",
        "REVISION",
        "SHARED_MESH_CONFIG",
        "TRUST_DOMAIN",
    }
)
"""Variables of istiod's container that checks read; those of other containers are never kept."""


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    """The variables of istiod that checks read."""
    return {
        entry["name"]: scrub_text(entry["value"])
        for entry in container.get("env") or ()
        if entry.get("name") in ENVIRONMENT and isinstance(entry.get("value"), str)
    }


def cluster_aliases(container: Mapping[str, Any]) -> list[str]:
    """The other names of clusters that istiod is started with: ``--clusterAliases=old=new``."""
    words = [
        str(one) for one in (*(container.get("command") or ()), *(container.get("args") or ()))
    ]
    said = [
        after if word == "--clusterAliases" else word.partition("=")[2]
        for word, after in zip(words, [*words, ""][1:], strict=True)
        if word == "--clusterAliases" or word.startswith("--clusterAliases=")
    ]
    return [pair.partition("=")[0] for one in said for pair in one.split(",") if "=" in pair]


MESH_CONFIG: Shape = {
    "trustDomain": PLAIN,
    "trustDomainAliases": [PLAIN],
    "rootNamespace": PLAIN,
    "enableAutoMtls": PLAIN,
    "serviceSettings": [{"hosts": [PLAIN], "settings": {"clusterLocal": PLAIN}}],
    "localityLbSetting": LOCALITY,
    "outboundTrafficPolicy": {"mode": PLAIN},
    "discoverySelectors": [SELECTOR],
    "defaultServiceExportTo": [PLAIN],
    "defaultDestinationRuleExportTo": [PLAIN],
    "caCertificates": [
        {
            "pem": PEM,
            "spiffeBundleUrl": _of_text(public_url),
            "certSigners": [PLAIN],
            "trustDomains": [PLAIN],
        }
    ],
    "defaultConfig": {
        "meshId": PLAIN,
        "discoveryAddress": PLAIN,
        "proxyMetadata": {
            "ISTIO_META_DNS_CAPTURE": PLAIN,
            "ISTIO_META_DNS_AUTO_ALLOCATE": PLAIN,
            "ISTIO_META_REQUESTED_NETWORK_VIEW": PLAIN,
        },
    },
    "extensionProviders": [{"name": PLAIN}],
}
"""Of a mesh configuration: in ``/debug/mesh`` of istiod, and in its ConfigMap."""

MESH_NETWORKS: Shape = {
    "networks": {
        "*": {
            "endpoints": [
                dict.fromkeys(("fromRegistry", "from_registry", "fromCidr", "from_cidr"))
            ],
            "gateways": [
                dict.fromkeys(
                    ("address", "registryServiceName", "registry_service_name", "port", "locality")
                )
            ],
        }
    }
}

INJECTOR_VALUES: Shape = {
    "revision": PLAIN,
    "global": {
        "meshID": PLAIN,
        "network": PLAIN,
        "multiCluster": {"clusterName": PLAIN},
    },
}

ROOTS = {"root-cert.pem": PEM}
"""Of the ConfigMap ``istio-ca-root-cert`` and its like."""
