"""Names that Istio and Kubernetes gave: labels, namespaces, ports."""

from __future__ import annotations

NETWORK_LABEL = "topology.istio.io/network"
"""On a system namespace: the network of its cluster; on a gateway's Service: the one it leads to."""

GATEWAY_PORT_LABEL = "networking.istio.io/gatewayPort"
"""On an east-west gateway's Service: its port, where that is not 15443."""

MULTI_CLUSTER_LABEL = "istio/multiCluster"
"""On a remote secret, with the value ``true``."""

EAST_WEST_PORT = 15443

KUBE_SYSTEM = "kube-system"
"""Whose services are cluster-local unless mesh configuration says otherwise."""
