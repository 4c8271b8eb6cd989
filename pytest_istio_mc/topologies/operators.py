"""Operators: the IstioOperators and manifests of control planes that serve clusters other than the one they run in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..spec import ClusterSpec, MeshSpec, Role
from .istio import EAST_WEST_GATEWAY, IstioDistribution, Manifest, identity, operator

CONTROL_PLANE_ANNOTATION = "topology.istio.io/controlPlaneClusters"
XDS_PORT, WEBHOOK_PORT = 15012, 15017
"""Where clusters elsewhere reach an istiod: for configuration and certificates, and for injection and validation."""


def remote(
    spec: MeshSpec, cluster: ClusterSpec, istio: IstioDistribution, control_plane_address: str
) -> Manifest:
    """The IstioOperator of a cluster whose istiod is elsewhere ("Install Primary-Remote", "Configure cluster2 as a remote").

    Of an external control plane, the config cluster gets the mesh configuration and istiod's rights too ("Install Istio with an
    External Control Plane").
    """
    own = identity(spec, cluster) | {"remotePilotAddress": control_plane_address}
    values: dict[str, Any] = {
        "global": own,
        "istiodRemote": {"injectionPath": injection_path(cluster)},
    }
    if cluster.role is Role.CONFIG:
        own |= {"externalIstiod": True, "configCluster": True}
        values["pilot"] = {"configMap": True}
    mesh_config = {"trustDomain": spec.trust_domain_of(cluster)}
    return operator(
        "istiod-remote",
        spec,
        istio,
        {"profile": "remote", "meshConfig": mesh_config, "values": values},
    )


def injection_path(cluster: ClusterSpec) -> str:
    """Where the webhooks of a remote cluster ask for sidecars, so that these get its name and network."""
    return f"/inject/cluster/{cluster.name}/net/{cluster.network}"


def external_istiod(spec: MeshSpec, plane: ClusterSpec, istio: IstioDistribution) -> Manifest:
    """The IstioOperator of an istiod that reads its configuration in another cluster, whose name it carries.

    It is reached at a Service of type LoadBalancer. The Secret ``istio-kubeconfig`` must be there before it starts.
    """
    config = spec.config_cluster(plane)
    ports = [
        {"name": "https-dns", "port": XDS_PORT},
        {"name": "https-webhook", "port": 443, "targetPort": WEBHOOK_PORT},
        {"name": "tcp-webhook", "port": WEBHOOK_PORT, "targetPort": WEBHOOK_PORT},
    ]
    pilot = {
        "enabled": True,
        "k8s": {
            "service": {"type": "LoadBalancer", "ports": ports},
            "env": [{"name": "SHARED_MESH_CONFIG", "value": "istio"}],
            "overlays": [
                {"kind": "Deployment", "name": "istiod", "patches": _mounted_configuration()}
            ],
        },
    }
    ours = {
        "profile": "empty",
        "meshConfig": {"trustDomain": spec.trust_domain_of(config)},
        "components": {"pilot": pilot},
        "values": {
            "global": identity(spec, config)
            | {"externalIstiod": True, "operatorManageWebhooks": True, "configValidation": False}
        },
    }
    return operator("external-istiod", spec, istio, ours)


def expose_istiod(
    spec: MeshSpec, selector: Mapping[str, str] | None = None, service: str = "istiod"
) -> list[Manifest]:
    """What lets clusters elsewhere reach istiod through the east-west gateway (Istio's ``samples/multicluster/expose-istiod.yaml``).

    ``selector`` is that of the gateway's pods, ``service`` that of istiod, where they are not the usual ones.
    """
    ports = {"tls-istiod": XDS_PORT, "tls-istiodwebhook": WEBHOOK_PORT}
    host = f"{service}.{spec.istio_namespace}.svc.cluster.local"
    servers = [
        {
            "port": {"number": number, "name": name, "protocol": "TLS"},
            "tls": {"mode": "PASSTHROUGH"},
            "hosts": ["*"],
        }
        for name, number in ports.items()
    ]
    routes = [
        {
            "match": [{"port": port, "sniHosts": ["*"]}],
            "route": [{"destination": {"host": host, "port": {"number": target}}}],
        }
        for port, target in ((XDS_PORT, XDS_PORT), (WEBHOOK_PORT, 443))
    ]
    return [
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "Gateway",
            "metadata": {"name": "istiod-gateway", "namespace": spec.istio_namespace},
            "spec": {
                "selector": dict(selector or {"istio": "eastwestgateway"}),
                "servers": servers,
            },
        },
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": "istiod-vs", "namespace": spec.istio_namespace},
            "spec": {"hosts": ["*"], "gateways": ["istiod-gateway"], "tls": routes},
        },
    ]


def service_of_control_plane(plane: ClusterSpec) -> str:
    """The Service at whose external address clusters elsewhere reach the istiod of ``plane``."""
    return "istiod" if plane.role is Role.EXTERNAL else EAST_WEST_GATEWAY


def _mounted_configuration() -> list[dict[str, str]]:
    """Patches that give istiod the mesh and injector configuration as files, for it reads no ConfigMaps of the cluster that it runs in."""
    mounts = (
        ("config-volume", "istio", "/etc/istio/config"),
        ("inject-volume", "istio-sidecar-injector", "/var/lib/istio/inject"),
    )
    # the index is beyond the end of the list, which the operator API takes for "append"
    return [
        patch
        for volume, config_map, path in mounts
        for patch in (
            {
                "path": "spec.template.spec.volumes[100]",
                "value": f"name: {volume}\nconfigMap:\n  name: {config_map}",
            },
            {
                "path": "spec.template.spec.containers[0].volumeMounts[100]",
                "value": f"name: {volume}\nmountPath: {path}",
            },
        )
    ]
