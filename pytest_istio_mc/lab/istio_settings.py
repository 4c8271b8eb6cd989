"""What the lab's Istio needs in every IstioOperator: upstream Envoy instead of Istio's build of it, and one small node a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SMALL = {"requests": {"cpu": "10m", "memory": "32Mi"}}

LAB_SETTINGS: Mapping[str, Any] = {
    "meshConfig": {"accessLogFile": "/dev/stdout"},
    "components": {
        # Every 3 seconds by default; the start of a mesh would wait that out.
        "pilot": {
            "k8s": {
                "readinessProbe": {
                    "httpGet": {"path": "/ready", "port": 8080},
                    "periodSeconds": 1,
                    "timeoutSeconds": 5,
                }
            }
        },
    },
    "values": {
        "global": {
            "imagePullPolicy": "IfNotPresent",  # gateways would otherwise pull, and there is no registry
            "proxy": {
                "readinessPeriodSeconds": 1,  # 15 by default, for gateways, too
                "resources": _SMALL,
            },
        },
        "pilot": {
            "autoscaleEnabled": False,
            "resources": _SMALL,
            "env": {
                # These two make istiod send filters that only Istio's build of Envoy has.
                "PILOT_ENABLE_ALPN_FILTER": "false",
                "PILOT_ENABLE_METADATA_EXCHANGE": "false",
                # 30 seconds by default: how long an istiod that starts waits for a cluster that does not answer. Checks read it from here.
                "PILOT_REMOTE_CLUSTER_TIMEOUT": "10s",
            },
        },
        "telemetry": {"enabled": False},  # likewise: the stats filter
        "gateways": {"istio-ingressgateway": {"autoscaleEnabled": False, "resources": _SMALL}},
    },
}
