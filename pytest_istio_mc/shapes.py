"""Shapes: what a snapshot holds of Kubernetes objects and of istiod's answers, key by key.

- Kubernetes' API and the CRDs guarantee them, so objects of a live mesh have them.
- Keys that are not named here may be there; no check reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import GenericAlias
from typing import TYPE_CHECKING, Annotated, Any, Required

from .names import DNS_LABEL, PATH_SEGMENT, DataKey, PortName
from .rule_shapes import LOCALITY, RULES, SELECTOR, TLS
from .shape_forms import COUNT, LABELS, PORT, TEXTS, Some
from .shape_forms import as_list as _list
from .shape_forms import as_map as _map
from .shape_forms import named_object as _object
from .shape_forms import shape as _shape
from .shape_forms import with_spec as _spec

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

_SERVER = _shape(
    "GatewayServer",
    {
        "port": _shape("GatewayPort", {"number": PORT, "name": str, "protocol": str}),
        "tls": TLS,
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
_SUBJECT = _shape("Subject", {"kind": str, "name": str, "namespace": str})

_ROLE_RULE = _shape(
    "RoleRule",
    dict.fromkeys(("apiGroups", "resources", "verbs", "resourceNames"), list[str]),
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
    **RULES,
    "PodMetadata": _object("PodMetadata", {}),
    "PodDisruptionBudget": _spec(
        "PodDisruptionBudget",
        {"minAvailable": int | str, "maxUnavailable": int | str, "selector": SELECTOR},
    ),
    "PodWithoutNetwork": _object("PodWithoutNetwork", {}),
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
_GROUP = _shape(
    "ShardGroup",
    {
        "count": Required[COUNT],
        "name": Required[str],
        "port": Required[int],
        "network": str,
        "tls_mode": str,
        "health": int,
        "service_account": str,
    },
)
_DIGEST = _shape(
    "ShardDigest", {"count": Required[COUNT], "digest": Required[str], "groups": _list(_GROUP)}
)
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
            "rootNamespace": str,
            "enableAutoMtls": bool,
            "discoverySelectors": _list(SELECTOR),
            "defaultServiceExportTo": list[str],
            "defaultDestinationRuleExportTo": list[str],
            "outboundTrafficPolicy": _shape("OutboundTrafficPolicy", {"mode": str}),
            "serviceSettings": _list(_SERVICE_SETTING),
            "localityLbSetting": LOCALITY,
            "defaultConfig": _shape("ProxyConfig", {"proxyMetadata": dict[str, Any]}),
        },
    ),
    "endpointShardz": _map(_map(_map(_SHARD | _DIGEST))),
    "adsz": _list(_shape("Connected", {"proxy": Required[str], "locality": Required[str]})),
}
"""What istiod's debug endpoints say, reduced, by name."""

DEBUG = _shape("Debug", ENDPOINTS, extra="forbid")
SECRET_KEYS = dict[DataKey, str]
