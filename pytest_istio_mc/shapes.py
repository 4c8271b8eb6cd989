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
    "Container", {"name": str, "image": str, "env": TEXTS, "ports": list[dict[str, Any]]}
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
_POLICY = _shape(
    "TrafficPolicy",
    {
        "tls": _TLS,
        "loadBalancer": _shape("LoadBalancer", {"localityLbSetting": _LOCALITY}),
        "outlierDetection": _shape("OutlierDetection", {"maxEjectionPercent": COUNT}),
        "portLevelSettings": _list(
            _shape("PortTrafficPolicy", {"port": _shape("Port", {"number": PORT}), "tls": _TLS})
        ),
    },
)
_SUBSET = _shape("Subset", {"name": str, "labels": TEXTS, "trafficPolicy": _POLICY})
_REQUIREMENT = _shape("Requirement", {"key": str, "operator": str, "values": list[str]})
_SELECTOR = _shape("LabelSelector", {"matchLabels": TEXTS, "matchExpressions": _list(_REQUIREMENT)})
_LABELLED = _shape("WorkloadSelector", {"labels": TEXTS})
_DESTINATION = _shape(
    "Destination", {"host": str, "subset": str, "port": _shape("Port", {"number": PORT})}
)
_ROUTES = _list(_shape("RouteDestination", {"destination": _DESTINATION, "weight": COUNT}))
_MATCHES = _list(
    _shape(
        "RouteMatch",
        {
            "gateways": list[str],
            "port": PORT,
            "sourceNamespace": str,
            "sourceLabels": TEXTS,
            "sniHosts": list[str],
        },
    )
)
_ROUTE = {"match": _MATCHES, "route": _ROUTES}
_HTTP = _shape(
    "HttpRoute",
    {
        **_ROUTE,
        "name": str,
        "delegate": _shape("Delegate", {"name": str, "namespace": str}),
        "redirect": bool,
        "directResponse": bool,
        "mirror": _DESTINATION,
        "mirrors": _list(_shape("Mirror", {"destination": _DESTINATION})),
    },
)
_EGRESS = _shape(
    "Egress", {"port": _shape("Port", {"number": PORT}), "bind": str, "hosts": list[str]}
)
_SOURCE = _shape(
    "Source",
    {
        **dict.fromkeys(("principals", "notPrincipals", "namespaces", "notNamespaces"), list[str]),
    },
)
_OPERATION = _shape("Operation", {"ports": list[str], "notPorts": list[str]})
_RULE = _shape(
    "Rule",
    {
        "from": _list(_shape("From", {"source": _SOURCE})),
        "to": _list(_shape("To", {"operation": _OPERATION})),
        "when": bool,
    },
)
_REFERENCE = _shape("TargetRef", {"kind": str, "name": str})
_SUBJECT = _shape("Subject", {"kind": str, "name": str, "namespace": str})

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
    "ClusterRole": _object("ClusterRole", {"rules": list[dict[str, Any]]}, PATH_SEGMENT),
    "ClusterRoleBinding": _object(
        "ClusterRoleBinding",
        {
            "roleRef": Required[_shape("RoleRef", {"name": Required[str]})],
            "subjects": _list(_SUBJECT),
        },
        PATH_SEGMENT,
    ),
    "Gateway.networking.istio.io": _spec("Gateway", {"selector": TEXTS, "servers": _list(_SERVER)}),
    "VirtualService.networking.istio.io": _spec(
        "VirtualService",
        {
            "hosts": list[str],
            "gateways": list[str],
            "exportTo": list[str],
            "http": _list(_HTTP),
            "tls": _list(_shape("TlsRoute", _ROUTE)),
            "tcp": _list(_shape("TcpRoute", _ROUTE)),
        },
    ),
    "DestinationRule.networking.istio.io": _spec(
        "DestinationRule",
        {
            "host": str,
            "exportTo": list[str],
            "workloadSelector": _SELECTOR,
            "trafficPolicy": _POLICY,
            "subsets": _list(_SUBSET),
        },
    ),
    "ServiceEntry.networking.istio.io": _spec(
        "ServiceEntry",
        {
            "hosts": list[str],
            "location": str,
            "resolution": str,
            "exportTo": list[str],
            "ports": _list(_shape("ServiceEntryPort", {"number": PORT, "name": str})),
            "workloadSelector": _LABELLED,
            "endpoints": _list(
                _shape("WorkloadEntryInline", {"network": str, "serviceAccount": str})
            ),
        },
    ),
    "Sidecar.networking.istio.io": _spec(
        "Sidecar",
        {
            "workloadSelector": _LABELLED,
            "egress": _list(_EGRESS),
            "outboundTrafficPolicy": _shape("OutboundTrafficPolicy", {"mode": str}),
        },
    ),
    "WorkloadEntry.networking.istio.io": _spec(
        "WorkloadEntry", {"network": str, "serviceAccount": str, "labels": TEXTS}
    ),
    "EnvoyFilter.networking.istio.io": _object("EnvoyFilter", {}),
    "AuthorizationPolicy.security.istio.io": _spec(
        "AuthorizationPolicy",
        {
            "selector": _SELECTOR,
            "targetRef": _REFERENCE,
            "targetRefs": _list(_REFERENCE),
            "action": str,
            "rules": _list(_RULE),
        },
    ),
    "PodMetadata": _object("PodMetadata", {}),
    "PeerAuthentication.security.istio.io": _spec(
        "PeerAuthentication",
        {"mtls": _TLS, "selector": _SELECTOR, "portLevelMtls": _map(_TLS)},
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
            "discoverySelectors": _list(_SELECTOR),
            "defaultServiceExportTo": list[str],
            "defaultDestinationRuleExportTo": list[str],
            "outboundTrafficPolicy": _shape("OutboundTrafficPolicy", {"mode": str}),
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
