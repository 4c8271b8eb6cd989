"""The lab's part of every IstioOperator, for upstream Envoy and small nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SMALL = {"requests": {"cpu": "10m", "memory": "32Mi"}}
# Every 3 seconds by default; the start of a mesh would wait that out.
_READINESS = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 5}

LAB_SETTINGS: Mapping[str, Any] = {
    "meshConfig": {"accessLogFile": "/dev/stdout"},
    "components": {"pilot": {"k8s": {"readinessProbe": _READINESS}}},
    "values": {
        "global": {
            # Gateways would otherwise pull, and there is no registry.
            "imagePullPolicy": "IfNotPresent",
            # 15 seconds by default, for gateways too.
            "proxy": {"readinessPeriodSeconds": 1, "resources": _SMALL},
        },
        "pilot": {
            "autoscaleEnabled": False,
            "resources": _SMALL,
            "env": {
                # By default istiod sends filters that only Istio's build of Envoy has.
                "PILOT_ENABLE_ALPN_FILTER": "false",
                "PILOT_ENABLE_METADATA_EXCHANGE": "false",
                # How long a starting istiod waits for a cluster that does not answer: 30 seconds
                # by default. Checks read the value from here.
                "PILOT_REMOTE_CLUSTER_TIMEOUT": "10s",
            },
        },
        # Likewise: the stats filter.
        "telemetry": {"enabled": False},
        "gateways": {"istio-ingressgateway": {"autoscaleEnabled": False, "resources": _SMALL}},
    },
}
