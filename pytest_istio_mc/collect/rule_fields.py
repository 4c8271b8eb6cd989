"""Fields of rules: what of routes, policies and Sidecars goes into a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .fields import LABELS, LOCALITY, PLAIN, PORT, SELECTOR, Shape

_PORT_POLICY: Shape = {
    "tls": {"mode": PLAIN},
    "outlierDetection": {"*": PLAIN},
    "loadBalancer": {"localityLbSetting": LOCALITY},
}
_POLICY: Shape = {
    **_PORT_POLICY,
    "portLevelSettings": [{"port": {"number": PLAIN}, **_PORT_POLICY}],
}
_MTLS: Shape = {"mode": PLAIN}
_DESTINATION: Shape = {"host": PLAIN, "subset": PLAIN, "port": {"number": PLAIN}}
_ROUTES: Shape = [{"destination": _DESTINATION, "weight": PLAIN}]


def _is_there(value: Any) -> bool:
    """That something is there, whatever it holds."""
    return value is not None


def _there(names: str) -> dict[str, Shape]:
    return dict.fromkeys(names.split(), _is_there)


def _texts(names: str) -> dict[str, Shape]:
    return {name: [PLAIN] for name in names.split()}


_MATCHES: Shape = [
    {
        **_texts("gateways sniHosts"),
        "port": PLAIN,
        "sourceNamespace": PLAIN,
        "sourceLabels": LABELS,
        **_there("uri scheme method authority headers queryParams withoutHeaders"),
        **_there("destinationSubnets sourceSubnet"),
    }
]
"""To whom the matches of a route apply; what requests must be like else, only that it is so."""

_RULES: Shape = [
    {
        "from": [
            {
                "source": {
                    **_texts("principals notPrincipals namespaces notNamespaces"),
                    **_there("requestPrincipals notRequestPrincipals ipBlocks notIpBlocks"),
                    **_there("remoteIpBlocks notRemoteIpBlocks serviceAccounts"),
                    **_there("notServiceAccounts"),
                }
            }
        ],
        "to": [
            {
                "operation": {
                    **_texts("ports notPorts"),
                    **_there("hosts notHosts methods notMethods paths notPaths"),
                }
            }
        ],
        "when": _is_there,
    }
]
"""Whom the rules of an authorisation policy are about; of tokens and paths only that they are."""


RULES: Mapping[str, Shape] = {
    "DestinationRule.networking.istio.io": {
        "spec": {
            "host": PLAIN,
            "exportTo": [PLAIN],
            "workloadSelector": SELECTOR,
            "trafficPolicy": _POLICY,
            "subsets": [{"name": PLAIN, "labels": LABELS, "trafficPolicy": _POLICY}],
        }
    },
    "ServiceEntry.networking.istio.io": {
        "spec": {
            "hosts": [PLAIN],
            "location": PLAIN,
            "resolution": PLAIN,
            "exportTo": [PLAIN],
            "ports": [PORT],
            "workloadSelector": {"labels": LABELS},
            "endpoints": [{"locality": PLAIN, "network": PLAIN, "serviceAccount": PLAIN}],
        }
    },
    "VirtualService.networking.istio.io": {
        "spec": {
            "hosts": [PLAIN],
            "gateways": [PLAIN],
            "exportTo": [PLAIN],
            "http": [
                {
                    "name": PLAIN,
                    "match": _MATCHES,
                    "route": _ROUTES,
                    "delegate": {"name": PLAIN, "namespace": PLAIN},
                    "redirect": _is_there,
                    "directResponse": _is_there,
                    "mirror": _DESTINATION,
                    "mirrors": [{"destination": _DESTINATION}],
                }
            ],
            "tls": [{"match": _MATCHES, "route": _ROUTES}],
            "tcp": [{"match": _MATCHES, "route": _ROUTES}],
        }
    },
    "Sidecar.networking.istio.io": {
        "spec": {
            "workloadSelector": {"labels": LABELS},
            "egress": [{"port": {"number": PLAIN}, "bind": PLAIN, "hosts": [PLAIN]}],
            "outboundTrafficPolicy": {"mode": PLAIN},
        }
    },
    "WorkloadEntry.networking.istio.io": {
        "spec": {"locality": PLAIN, "network": PLAIN, "serviceAccount": PLAIN, "labels": LABELS}
    },
    "EnvoyFilter.networking.istio.io": {},
    "AuthorizationPolicy.security.istio.io": {
        "spec": {
            "selector": SELECTOR,
            "targetRefs": [{"kind": PLAIN, "name": PLAIN}],
            "targetRef": {"kind": PLAIN, "name": PLAIN},
            "action": PLAIN,
            "rules": _RULES,
        }
    },
    "PeerAuthentication.security.istio.io": {
        "spec": {"selector": SELECTOR, "mtls": _MTLS, "portLevelMtls": {"*": _MTLS}}
    },
}
"""Of each kind of rule, besides the metadata."""
