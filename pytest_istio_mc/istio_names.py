"""Names that Istio and Kubernetes gave: labels, namespaces, ports, objects."""

from __future__ import annotations

NETWORK_LABEL = "topology.istio.io/network"
"""On a system namespace: its cluster's network; on a gateway's Service: the one it leads to."""

CLUSTER_LABEL = "topology.istio.io/cluster"
"""On every endpoint, for subsets and failover: its cluster, without being written anywhere."""

CONTROL_PLANES_ANNOTATION = "topology.istio.io/controlPlaneClusters"
"""On a remote cluster's system namespace: the clusters whose istiods may serve it."""

LOCALITY_LABELS = (
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
)
"""Of region, zone and subzone, on nodes (Istio, "Locality Load Balancing")."""

GATEWAY_PORT_LABEL = "networking.istio.io/gatewayPort"
"""On an east-west gateway's Service: its port, where that is not 15443."""

EXCLUDED_PORTS = "traffic.sidecar.istio.io/excludeInboundPorts"
INCLUDED_PORTS = "traffic.sidecar.istio.io/includeInboundPorts"
"""On a pod: the ports whose requests its sidecar leaves alone; those alone that it takes."""

NODE_SELECTOR_ANNOTATION = "traffic.istio.io/nodeSelector"
"""On a gateway's NodePort Service: labels, as JSON, of the nodes whose addresses lead to it."""

SERVICE_LABEL = "kubernetes.io/service-name"
"""On an EndpointSlice: its Service."""

MULTI_CLUSTER_LABEL = "istio/multiCluster"
"""On a remote secret, with the value ``true``."""

REMOTE_SECRETS = f"{MULTI_CLUSTER_LABEL}=true"
"""The label selector by which istiod finds remote secrets."""

REMOTE_CLUSTER_ANNOTATION = "networking.istio.io/cluster"
"""On a remote secret: the cluster that it is for, as istioctl writes it."""

REMOTE_SECRET_PREFIX = "istio-remote-secret-"  # noqa: S105 (a name)
"""Before the cluster's name, in the names that istioctl gives to remote secrets."""

INJECTION_LABEL = "istio-injection"
"""On a namespace, with the value ``enabled``: its pods get sidecars of the default revision."""

DATAPLANE_LABEL = "istio.io/dataplane-mode"
"""On a namespace, with the value ``ambient``: its pods are in the mesh without sidecars."""

REVISION_LABEL = "istio.io/rev"
"""On a namespace or pod: the revision of its sidecars; on an istiod: its own."""

TAG_LABEL = "istio.io/tag"
"""On an injector's webhook: the revision tag that it stands for."""

INJECTOR_WEBHOOKS = "app=sidecar-injector"
"""The label selector of the injectors' webhook configurations, those of tags included."""

ISTIOD_PODS = "app=istiod"
"""The label selector of istiod's Deployments and pods."""

CA_SECRETS = ("cacerts", "istio-ca-secret")
"""The CA of an istiod: the plugged-in one, and the one that istiod makes for itself."""

ROOT_CONFIG_MAP = "istio-ca-root-cert"
"""In every namespace: the root certificates that its proxies trust."""

NETWORKING_API = "networking.istio.io/v1"
"""The ``apiVersion`` of Gateways, VirtualServices, DestinationRules and ServiceEntries."""

EAST_WEST_PORT = 15443
"""Of east-west gateways for sidecars, which pass TLS on by its server name."""

HBONE_PORT = 15008
"""Of east-west gateways for ambient meshes."""

EXPORT_TO = "networking.istio.io/exportTo"
"""An annotation of a Service: the namespaces whose proxies know it, ``*`` all, ``~`` none."""

LISTENER_MODE = "gateway.istio.io/listener-protocol"
"""A TLS option of a Gateway API listener; with ``auto-passthrough`` it is an east-west gateway."""

GATEWAY_NAME_LABEL = "gateway.networking.k8s.io/gateway-name"
"""On the Service and pods that istiod makes for a Gateway of the Gateway API: its name."""

REMOTE_GATEWAY_CLASS = "istio-remote"
"""The class of Gateways that only say where a gateway is; nothing is deployed for them."""

XDS_PORT, WEBHOOK_PORT = 15012, 15017
"""Of istiod, and of the gateways that lead to it: configuration and certificates; injection."""

SPIFFE_DRIVER = "csi.spiffe.io"
"""The CSI driver by which pods reach SPIRE's agent, which signs for them (Istio, "SPIRE")."""

KUBE_SYSTEM = "kube-system"
"""Whose services are cluster-local unless mesh configuration says otherwise."""


def is_default(revision: str) -> bool:
    """Whether a revision is the one whose objects bear no revision in their names."""
    return revision in ("", "default")


def of_revision(name: str, revision: str) -> str:
    """The name of a revision's object: ``istio``, or ``istio-1-31`` of the revision ``1-31``."""
    return name if is_default(revision) else f"{name}-{revision}"
