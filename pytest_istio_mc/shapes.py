"""Shapes: what a snapshot holds of Kubernetes objects and of istiod's answers, key by key.

- Kubernetes' API and the CRDs guarantee them, so objects of a live mesh have them.
- Keys that are not named here may be there; no check reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Required

from typing_extensions import TypedDict

from .names import DNS_LABEL, DNS_SUBDOMAIN, PATH_SEGMENT, DataKey, Key, Label, PortName, Value

if TYPE_CHECKING:
    from pydantic_core import CoreSchema


@dataclass(frozen=True)
class Shaped:
    """States in a type hint, by ``Annotated``, which shape a mapping of anything has."""

    shape: Any

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """The rule for pydantic: that of the shape."""
        schema: CoreSchema = handler.generate_schema(self.shape)
        return schema


@dataclass(frozen=True)
class Whole:
    """A whole number within bounds."""

    least: int
    most: int

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """The rule for pydantic."""
        from pydantic_core import core_schema

        return core_schema.int_schema(ge=self.least, le=self.most)


@dataclass(frozen=True)
class Some:
    """A list with one entry or more."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """The rule for pydantic."""
        from pydantic_core import core_schema

        return core_schema.list_schema(core_schema.str_schema(), min_length=1)


def _shape(name: str, fields: dict[str, Any], *, extra: str = "allow") -> Any:
    """A mapping with these keys, each optional unless it says ``Required``."""
    shape: type = TypedDict(name, fields, total=False)  # type: ignore[misc]
    setattr(shape, "__pydantic_config__", {"extra": extra, "strict": True})  # noqa: B010
    return shape


def _list(shape: Any) -> Any:
    """Lists of a shape; type checkers want no variables between brackets."""
    return GenericAlias(list, (shape,))


def _map(shape: Any) -> Any:
    """Mappings by text to a shape."""
    return GenericAlias(dict, (str, shape))


PORT = Annotated[int, Whole(0, 65535)]
COUNT = Annotated[int, Whole(0, 2**31 - 1)]
LABELS = dict[Key, Value]
TEXTS = dict[str, str]


def _object(kind: str, fields: dict[str, Any], name: Any = DNS_SUBDOMAIN) -> Any:
    metadata = {
        "name": Required[Annotated[str, name]],
        "namespace": Label,
        "uid": str,
        "labels": LABELS,
        "annotations": dict[Key, str],
    }
    named = _shape(f"{kind}Metadata", metadata)
    return _shape(kind, {"metadata": Required[named], **fields})


def _spec(kind: str, fields: dict[str, Any], status: dict[str, Any] | None = None) -> Any:
    parts: dict[str, Any] = {"spec": Required[_shape(f"{kind}Spec", fields)]}
    if status is not None:
        parts["status"] = Required[_shape(f"{kind}Status", status)]
    return _object(kind, parts)


_SERVICE_PORT = _shape(
    "ServicePort",
    {
        "name": PortName,
        "port": Required[PORT],
        "targetPort": int | str,
        "nodePort": PORT,
        "protocol": str,
        "appProtocol": str,
    },
)
_SERVICE_SPEC = {
    "type": str,
    "clusterIP": str,
    "ports": _list(_SERVICE_PORT),
    "selector": LABELS,
    "externalIPs": list[str],
    "externalName": str,
    "internalTrafficPolicy": str,
    "loadBalancerClass": str,
}
_INGRESS = _shape("LoadBalancerIngress", {"ip": str, "hostname": str})
_BALANCER = _shape("LoadBalancerStatus", {"ingress": _list(_INGRESS)})

_CONTAINER = _shape(
    "Container",
    {
        "name": str,
        "image": str,
        "env": TEXTS,
        "ports": list[dict[str, Any]],
        "clusterAliases": list[str],
    },
)
_CONDITION = _shape(
    "Condition", {"type": Required[str], "status": Required[str], "reason": str, "message": str}
)
_ENDPOINT = _shape(
    "Endpoint",
    {
        "addresses": Required[Annotated[list[str], Some()]],
        "conditions": _shape("EndpointConditions", {"ready": bool}),
        "nodeName": str,
        "zone": str,
        "target": Required[str],
    },
)
_ENDPOINT_PORT = _shape("EndpointPort", {"name": str | None, "port": PORT | None})
_ENDPOINT_SLICE = {
    "addressType": Required[str],
    "ports": Required[_list(_ENDPOINT_PORT)],
    "endpoints": Required[_list(_ENDPOINT)],
}
_INJECTOR = _shape(
    "InjectorValues",
    dict.fromkeys(
        ("revision", "meshID", "network", "clusterName"), str | int | float | bool | None
    ),
)
_DATA = _shape(
    "ConfigMapData",
    {"root-cert.pem": str, "mesh": str, "meshNetworks": str, "values": _INJECTOR},
)
_CLIENT_SERVICE = _shape("WebhookService", {"name": str, "namespace": str, "path": str})
_CLIENT = _shape("ClientConfig", {"service": _CLIENT_SERVICE, "url": str, "caBundle": str})
_WEBHOOK = _shape("Webhook", {"name": str, "clientConfig": _CLIENT})

_TLS = _shape("TlsSettings", {"mode": str})
_SERVER = _shape(
    "GatewayServer",
    {
        "port": _shape("GatewayPort", {"number": PORT, "name": str, "protocol": str}),
        "tls": _TLS,
        "hosts": list[str],
    },
)
_LISTENER = _shape(
    "Listener",
    {
        "name": str,
        "hostname": str,
        "port": Required[PORT],
        "protocol": str,
        "tls": _shape("ListenerTls", {"mode": str, "options": TEXTS}),
    },
)
_GATEWAY_ADDRESS = _shape("GatewayAddress", {"type": str, "value": str})
_NODE_ADDRESS = _shape("NodeAddress", {"type": str, "address": Required[str]})
_LOCALITY = _shape(
    "LocalityLbSetting",
    {"enabled": bool, "failoverPriority": list[str], "failover": list[dict[str, Any]]},
)
_PORT_POLICY: dict[str, Any] = {
    "tls": _TLS,
    "loadBalancer": _shape("LoadBalancer", {"localityLbSetting": _LOCALITY}),
    "outlierDetection": _shape("OutlierDetection", {"maxEjectionPercent": COUNT}),
}
_POLICY = _shape(
    "TrafficPolicy",
    _PORT_POLICY | {"portLevelSettings": _list(_shape("PortTrafficPolicy", _PORT_POLICY))},
)
_SUBSET = _shape("Subset", {"name": str, "trafficPolicy": _POLICY})
_SUBJECT = _shape("Subject", {"kind": str, "name": str, "namespace": str})

_ROLE_RULE = _shape(
    "RoleRule",
    dict.fromkeys(("apiGroups", "resources", "verbs", "resourceNames"), list[str]),
)
_SELECTOR = _shape(
    "LabelSelector",
    {
        "matchLabels": TEXTS,
        "matchExpressions": _list(
            _shape("LabelExpression", {"key": str, "operator": str, "values": list[str]})
        ),
    },
)

KINDS: dict[str, Any] = {
    "Namespace": _object("Namespace", {}, DNS_LABEL),
    "Node": _object("Node", {"status": _shape("NodeStatus", {"addresses": _list(_NODE_ADDRESS)})}),
    "Pod": _spec(
        "Pod",
        {
            "containers": _list(_CONTAINER),
            "serviceAccountName": str,
            "nodeName": str,
            "hostNetwork": bool,
            "csiDrivers": _list(str),
        },
        {
            "phase": str,
            "podIP": str,
            "podIPs": _list(_shape("PodIp", {"ip": str})),
            "conditions": _list(_CONDITION),
        },
    ),
    "Service": _object(
        "Service",
        {
            "spec": Required[_shape("ServiceSpec", _SERVICE_SPEC)],
            "status": _shape("ServiceStatus", {"loadBalancer": _BALANCER}),
        },
        DNS_LABEL,
    ),
    "EndpointSlice": _object("EndpointSlice", _ENDPOINT_SLICE),
    "ConfigMap": _object("ConfigMap", {"data": Required[_DATA]}),
    "Deployment": _spec("Deployment", {"replicas": COUNT}, {"readyReplicas": COUNT}),
    "MutatingWebhookConfiguration": _object(
        "MutatingWebhookConfiguration", {"webhooks": Required[_list(_WEBHOOK)]}
    ),
    "ClusterRole": _object("ClusterRole", {"rules": _list(_ROLE_RULE)}, PATH_SEGMENT),
    "ClusterRoleBinding": _object(
        "ClusterRoleBinding",
        {
            "roleRef": Required[_shape("RoleRef", {"name": Required[str]})],
            "subjects": _list(_SUBJECT),
        },
        PATH_SEGMENT,
    ),
    "Gateway.networking.istio.io": _spec("Gateway", {"selector": TEXTS, "servers": _list(_SERVER)}),
    "VirtualService.networking.istio.io": _spec("VirtualService", {"hosts": list[str]}),
    "DestinationRule.networking.istio.io": _spec(
        "DestinationRule", {"host": str, "trafficPolicy": _POLICY, "subsets": _list(_SUBSET)}
    ),
    "ServiceEntry.networking.istio.io": _spec(
        "ServiceEntry",
        {
            "hosts": list[str],
            "location": str,
            "resolution": str,
            "exportTo": list[str],
            "endpoints": _list(_shape("EntryEndpoint", {"locality": str, "network": str})),
            "workloadSelector": _shape("WorkloadSelector", {"labels": TEXTS}),
        },
    ),
    "WorkloadEntry.networking.istio.io": _spec("WorkloadEntry", {"locality": str, "labels": TEXTS}),
    "PodDisruptionBudget": _spec(
        "PodDisruptionBudget",
        {"minAvailable": int | str, "maxUnavailable": int | str, "selector": _SELECTOR},
    ),
    "PodWithoutNetwork": _object("PodWithoutNetwork", {}),
    "PeerAuthentication.security.istio.io": _spec(
        "PeerAuthentication", {"mtls": _TLS, "selector": dict[str, Any]}
    ),
    "Gateway.gateway.networking.k8s.io": _spec(
        "GatewayApiGateway",
        {
            "gatewayClassName": str,
            "addresses": _list(_GATEWAY_ADDRESS),
            "listeners": _list(_LISTENER),
        },
    ),
}
"""The objects of a snapshot, by kind."""

OBJECTS = _shape(
    "Objects",
    {kind: GenericAlias(tuple, (shape, ...)) for kind, shape in KINDS.items()},
    extra="forbid",
)

_RESOURCE = _shape("SyncedResource", {"sent": str, "acked": str, "sentTime": str, "lastError": str})
_SHARD = _list(
    _shape(
        "ShardEndpoint",
        {
            "address": Required[str],
            "port": Required[int],
            "name": Required[str],
            "network": str,
            "locality": str,
            "cluster": str,
            "health": int,
        },
    )
)
_DIGEST = _shape("ShardDigest", {"count": Required[COUNT], "digest": Required[str]})
_SERVICE_SETTING = _shape(
    "ServiceSetting",
    {"hosts": list[str], "settings": _shape("Settings", {"clusterLocal": bool})},
)

ENDPOINTS: dict[str, Any] = {
    "clusterz": _list(
        _shape("ClusterStatus", {"id": Required[str], "secretName": str, "syncStatus": str})
    )
    | None,
    "networkz": _list(
        _shape(
            "NetworkGateway",
            {"Network": str, "Addr": Required[str], "Port": Required[int], "Cluster": str},
        )
    )
    | None,
    "syncz": _list(
        _shape(
            "SyncStatus",
            {
                "proxy": Required[str],
                "cluster_id": str,
                "istio_version": str,
                "resources": _map(_RESOURCE),
            },
        )
    )
    | None,
    "mesh": _shape(
        "MeshConfig",
        {
            "trustDomain": str,
            "trustDomainAliases": list[str],
            "serviceSettings": _list(_SERVICE_SETTING),
            "localityLbSetting": _LOCALITY,
            "defaultConfig": _shape("ProxyConfig", {"proxyMetadata": dict[str, Any]}),
        },
    ),
    "endpointShardz": _map(_map(_map(_SHARD | _DIGEST))),
    "adsz": _list(_shape("Connected", {"proxy": Required[str], "locality": Required[str]})),
}
"""What istiod's debug endpoints say, reduced, by name."""

DEBUG = _shape("Debug", ENDPOINTS, extra="forbid")
SECRET_KEYS = dict[DataKey, str]
