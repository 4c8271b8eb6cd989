"""The Helm values that the lab's Istio needs: upstream Envoy instead of Istio's build of it, and one small node a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SMALL = {"requests": {"cpu": "10m", "memory": "32Mi"}}

LAB_SETTINGS: Mapping[str, Any] = {
    "global": {
        "imagePullPolicy": "IfNotPresent",  # gateways would otherwise pull, and there is no registry
        "proxy": {
            "readinessPeriodSeconds": 1,  # 15 by default, which a gateway's start would wait out
            "resources": _SMALL,
        },
    },
    "meshConfig": {"accessLogFile": "/dev/stdout"},
    "pilot": {
        "autoscaleEnabled": False,
        "resources": _SMALL,
        "env": {
            # Both make istiod send filters that only Istio's build of Envoy has.
            "PILOT_ENABLE_ALPN_FILTER": "false",
            "PILOT_ENABLE_METADATA_EXCHANGE": "false",
        },
    },
    "telemetry": {"enabled": False},  # likewise: the stats filter
    "gateways": {"istio-ingressgateway": {"autoscaleEnabled": False, "resources": _SMALL}},
}
