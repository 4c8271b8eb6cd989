"""Operators: IstioOperators and manifests of control planes that serve other clusters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..istio_names import NETWORKING_API, WEBHOOK_PORT, XDS_PORT, of_revision
from ..spec import ClusterSpec, MeshSpec, Role
from .istio import EAST_WEST_GATEWAY, IstioDistribution, Manifest, identity, operator

"""Where clusters elsewhere reach an istiod.

- XDS_PORT: for configuration and certificates.
- WEBHOOK_PORT: for injection and validation.
"""


def remote(
    spec: MeshSpec, cluster: ClusterSpec, istio: IstioDistribution, control_plane_address: str
) -> Manifest:
    """The IstioOperator of a cluster whose istiod is elsewhere.

    - As in "Install Primary-Remote", "Configure cluster2 as a remote".
    - The config cluster of an external control plane also gets the mesh configuration and istiod's
      rights, as in "Install Istio with an External Control Plane".
    """
    own = identity(spec, cluster) | {"remotePilotAddress": control_plane_address}
    injection = {"injectionPath": injection_path(cluster)}
    values: dict[str, Any] = {"global": own, "istiodRemote": injection}
    if cluster.role is Role.CONFIG:
        own |= {"externalIstiod": True, "configCluster": True}
        values["pilot"] = {"configMap": True}
    mesh_config = {"trustDomain": spec.trust_domain_of(cluster)}
    ours = {"profile": "remote", "meshConfig": mesh_config, "values": values}
    return operator("istiod-remote", spec, istio, ours)


def injection_path(cluster: ClusterSpec) -> str:
    """The path for a remote's webhooks: sidecars get its name and network."""
    return f"/inject/cluster/{cluster.name}/net/{cluster.network}"


def external_istiod(spec: MeshSpec, plane: ClusterSpec, istio: IstioDistribution) -> Manifest:
    """The IstioOperator of an istiod outside of its config cluster.

    - The istiod reads its configuration in the config cluster and carries that cluster's name.
    - It is reached at a Service of type LoadBalancer.
    - The Secret ``istio-kubeconfig`` must be there before it starts.
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
            "overlays": [{"kind": "Deployment", "name": "istiod", "patches": _mounts()}],
        },
    }
    outside = {"externalIstiod": True, "operatorManageWebhooks": True, "configValidation": False}
    ours = {
        "profile": "empty",
        "meshConfig": {"trustDomain": spec.trust_domain_of(config)},
        "components": {"pilot": pilot},
        "values": {"global": identity(spec, config) | outside},
    }
    return operator("external-istiod", spec, istio, ours)


def expose_istiod(
    spec: MeshSpec,
    selector: Mapping[str, str] | None = None,
    service: str = "istiod",
    domain: str = "cluster.local",
) -> list[Manifest]:
    """The Gateway and VirtualService that open istiod to clusters elsewhere.

    - They are those of Istio's ``samples/multicluster/expose-istiod.yaml``.
    - ``selector`` selects the gateway's pods, ``service`` is istiod's, ``domain`` the cluster's,
      where they are not the usual ones.
    """
    ports = {"tls-istiod": XDS_PORT, "tls-istiodwebhook": WEBHOOK_PORT}
    host = f"{service}.{spec.istio_namespace}.svc.{domain}"
    selected = dict(selector or {"istio": "eastwestgateway"})
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
            "apiVersion": NETWORKING_API,
            "kind": "Gateway",
            "metadata": {"name": "istiod-gateway", "namespace": spec.istio_namespace},
            "spec": {"selector": selected, "servers": servers},
        },
        {
            "apiVersion": NETWORKING_API,
            "kind": "VirtualService",
            "metadata": {"name": "istiod-vs", "namespace": spec.istio_namespace},
            "spec": {"hosts": ["*"], "gateways": ["istiod-gateway"], "tls": routes},
        },
    ]


def expose_revision(spec: MeshSpec, revision: str) -> Manifest:
    """The VirtualService that opens a revision's istiod at the Gateway that is there already.

    As in Istio's ``samples/multicluster/expose-istiod-rev.yaml.tmpl``.
    """
    namespace, service = spec.istio_namespace, of_revision("istiod", revision)
    host = f"{service}.{namespace}.svc.cluster.local"
    names = [f"{service}.{namespace}.svc", host]
    routes = [
        {
            "match": [{"port": port, "sniHosts": names}],
            "route": [{"destination": {"host": host, "port": {"number": target}}}],
        }
        for port, target in ((XDS_PORT, XDS_PORT), (WEBHOOK_PORT, 443))
    ]
    return {
        "apiVersion": NETWORKING_API,
        "kind": "VirtualService",
        "metadata": {"name": of_revision("istiod-vs", revision), "namespace": namespace},
        "spec": {"hosts": ["*"], "gateways": ["istiod-gateway"], "tls": routes},
    }


def service_of_control_plane(plane: ClusterSpec) -> str:
    """The Service that opens the istiod of ``plane`` to clusters elsewhere."""
    return "istiod" if plane.role is Role.EXTERNAL else EAST_WEST_GATEWAY


def _mounts() -> list[dict[str, str]]:
    """Patches that mount the mesh and injector configuration as files.

    An external istiod reads no ConfigMaps of the cluster that it runs in.
    """
    mounts = (
        ("config-volume", "istio", "/etc/istio/config"),
        ("inject-volume", "istio-sidecar-injector", "/var/lib/istio/inject"),
    )
    # the operator API appends to a list where the index is beyond its end
    pod, end = "spec.template.spec", "[100]"
    patches: list[dict[str, str]] = []
    for volume, config_map, path in mounts:
        value = f"name: {volume}\nconfigMap:\n  name: {config_map}"
        patches.append({"path": f"{pod}.volumes{end}", "value": value})
        mount = f"name: {volume}\nmountPath: {path}"
        patches.append({"path": f"{pod}.containers[0].volumeMounts{end}", "value": mount})
    return patches
