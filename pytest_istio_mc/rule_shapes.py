"""Shapes of rules: what a snapshot holds of routes, policies and Sidecars, key by key."""

from __future__ import annotations

from typing import Any

from .shape_forms import COUNT, PORT, TEXTS, as_list, as_map, named_object, shape, with_spec

TLS = shape("TlsSettings", {"mode": str})
LOCALITY = shape(
    "LocalityLbSetting",
    {"enabled": bool, "failoverPriority": list[str], "failover": list[dict[str, Any]]},
)
_PORT_POLICY: dict[str, Any] = {
    "tls": TLS,
    "loadBalancer": shape("LoadBalancer", {"localityLbSetting": LOCALITY}),
    "outlierDetection": shape("OutlierDetection", {"maxEjectionPercent": COUNT}),
}
_NUMBER = shape("Port", {"number": PORT})
_POLICY = shape(
    "TrafficPolicy",
    _PORT_POLICY
    | {"portLevelSettings": as_list(shape("PortTrafficPolicy", _PORT_POLICY | {"port": _NUMBER}))},
)
_SUBSET = shape("Subset", {"name": str, "labels": TEXTS, "trafficPolicy": _POLICY})
_REQUIREMENT = shape("Requirement", {"key": str, "operator": str, "values": list[str]})
SELECTOR = shape("LabelSelector", {"matchLabels": TEXTS, "matchExpressions": as_list(_REQUIREMENT)})
_LABELLED = shape("WorkloadSelector", {"labels": TEXTS})
_DESTINATION = shape(
    "Destination", {"host": str, "subset": str, "port": shape("Port", {"number": PORT})}
)
_ROUTES = as_list(shape("RouteDestination", {"destination": _DESTINATION, "weight": COUNT}))
_MATCHES = as_list(
    shape(
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
_HTTP = shape(
    "HttpRoute",
    {
        **_ROUTE,
        "name": str,
        "delegate": shape("Delegate", {"name": str, "namespace": str}),
        "redirect": bool,
        "directResponse": bool,
        "mirror": _DESTINATION,
        "mirrors": as_list(shape("Mirror", {"destination": _DESTINATION})),
    },
)
_EGRESS = shape(
    "Egress", {"port": shape("Port", {"number": PORT}), "bind": str, "hosts": list[str]}
)
_SOURCE = shape(
    "Source",
    {
        **dict.fromkeys(("principals", "notPrincipals", "namespaces", "notNamespaces"), list[str]),
    },
)
_OPERATION = shape("Operation", {"ports": list[str], "notPorts": list[str]})
_RULE = shape(
    "Rule",
    {
        "from": as_list(shape("From", {"source": _SOURCE})),
        "to": as_list(shape("To", {"operation": _OPERATION})),
        "when": bool,
    },
)
_REFERENCE = shape("TargetRef", {"kind": str, "name": str})

RULES: dict[str, Any] = {
    "VirtualService.networking.istio.io": with_spec(
        "VirtualService",
        {
            "hosts": list[str],
            "gateways": list[str],
            "exportTo": list[str],
            "http": as_list(_HTTP),
            "tls": as_list(shape("TlsRoute", _ROUTE)),
            "tcp": as_list(shape("TcpRoute", _ROUTE)),
        },
    ),
    "DestinationRule.networking.istio.io": with_spec(
        "DestinationRule",
        {
            "host": str,
            "exportTo": list[str],
            "workloadSelector": SELECTOR,
            "trafficPolicy": _POLICY,
            "subsets": as_list(_SUBSET),
        },
    ),
    "ServiceEntry.networking.istio.io": with_spec(
        "ServiceEntry",
        {
            "hosts": list[str],
            "location": str,
            "resolution": str,
            "exportTo": list[str],
            "ports": as_list(shape("ServiceEntryPort", {"number": PORT, "name": str})),
            "workloadSelector": _LABELLED,
            "endpoints": as_list(
                shape(
                    "EntryEndpoint", dict.fromkeys(("locality", "network", "serviceAccount"), str)
                )
            ),
        },
    ),
    "Sidecar.networking.istio.io": with_spec(
        "Sidecar",
        {
            "workloadSelector": _LABELLED,
            "egress": as_list(_EGRESS),
            "outboundTrafficPolicy": shape("OutboundTrafficPolicy", {"mode": str}),
        },
    ),
    "WorkloadEntry.networking.istio.io": with_spec(
        "WorkloadEntry",
        {"locality": str, "network": str, "serviceAccount": str, "labels": TEXTS},
    ),
    "EnvoyFilter.networking.istio.io": named_object("EnvoyFilter", {}),
    "AuthorizationPolicy.security.istio.io": with_spec(
        "AuthorizationPolicy",
        {
            "selector": SELECTOR,
            "targetRef": _REFERENCE,
            "targetRefs": as_list(_REFERENCE),
            "action": str,
            "rules": as_list(_RULE),
        },
    ),
    "PeerAuthentication.security.istio.io": with_spec(
        "PeerAuthentication",
        {"mtls": TLS, "selector": SELECTOR, "portLevelMtls": as_map(TLS)},
    ),
}
"""The rules of Istio, by kind."""
