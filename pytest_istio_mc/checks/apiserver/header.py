"""What the headers of all loss checks share."""

from __future__ import annotations

from functools import partial

from ...spec import Feature
from ..catalogue import BELOW_TRAFFIC, Kind, check

DEPLOYMENT_MODELS = "https://istio.io/latest/docs/ops/deployment/deployment-models/"
ENDPOINT_DISCOVERY = (
    "https://istio.io/latest/docs/setup/install/multicluster/multi-primary_multi-network/"
    "#enable-endpoint-discovery"
)

ACROSS_CLUSTERS = (Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES)
BELOW_LOSS = (
    "MC-ACCESS-006",
    "MC-DISCOVERY-001",
    "MC-DISCOVERY-002",
    "MC-DISCOVERY-003",
    "MC-EASTWEST-003",
    *BELOW_TRAFFIC,
)
STOPPING = ("stop-component",)
KILLING = ("kill-component",)

NOBODY = (
    "no control plane watches a cluster elsewhere, "
    "so none of them depends on another cluster's API server"
)
"""Why a loss check does not apply."""

apiserver = partial(
    check,
    kind=Kind.FAULT,
    requires=ACROSS_CLUSTERS,
    explained_by=BELOW_LOSS,
    effect="stops or hangs the API server of one cluster for some seconds; some of these checks "
    "restart a control plane meanwhile. Only a lab can do that to its clusters",
)
