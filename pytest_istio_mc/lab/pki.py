"""The certificates and kubeconfigs of a lab cluster.

They follow Kubernetes' page "PKI certificates and requirements".
"""

from __future__ import annotations

import base64
import json
from typing import Any

from .. import certificates
from .plan import LabPlan, NodePlan

_VALID = 365 * certificates.DAY
_SERVICE_SUFFIXES = ("", ".default", ".default.svc", ".default.svc.cluster.local")
_CLIENTS = {
    # Controller manager and scheduler are administrators: their own roles come seconds later.
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", "system:masters"),
    "kube-scheduler": ("system:kube-scheduler", "system:masters"),
    "kube-proxy": ("system:kube-proxy", "system:masters"),
}


def write(plan: LabPlan, node: NodePlan, port: int) -> None:
    """Write the cluster's certificates, its service-account key, and its kubeconfigs.

    The administrator's kubeconfig leads to ``port``, the forwarder's on 127.0.0.1; the components'
    lead to the node's address.
    """
    home = plan.folder(node)
    home.chmod(0o700)
    ca = certificates.make_root(f"{node.name}-kubernetes-ca", valid=_VALID)
    (home / "ca.crt").write_text(ca.certificate)
    (home / "ca.key").write_text(ca.key)
    server = certificates.make_leaf(
        ca,
        common_name="kube-apiserver",
        dns_names=[f"kubernetes{rest}" for rest in _SERVICE_SUFFIXES],
        addresses=[node.node_address, "127.0.0.1", f"{node.service_prefix}.1"],
        valid=_VALID,
    )
    (home / "kube-apiserver.crt").write_text(server.certificate)
    (home / "kube-apiserver.key").write_text(server.key)
    account = certificates.make_leaf(ca, common_name="service-account")
    (home / "service-account.key").write_text(account.key)
    clients = _CLIENTS | {"kubelet": (f"system:node:{node.name}", "system:nodes")}
    for client, (common_name, organization) in clients.items():
        leaf = certificates.make_leaf(
            ca, common_name=common_name, organization=organization, valid=_VALID
        )
        (home / f"{client}.crt").write_text(leaf.certificate)
        (home / f"{client}.key").write_text(leaf.key)
        server_url = f"https://127.0.0.1:{port}" if client == "admin" else node.peer_server
        kubeconfig = _kubeconfig(node.name, server_url, ca, leaf)
        (home / f"{client}.kubeconfig").write_text(json.dumps(kubeconfig))


def write_shared_kubeconfig(plan: LabPlan) -> None:
    """Write the administrators' kubeconfig, with a context for each cluster."""
    parts = [
        json.loads((plan.folder(node) / "admin.kubeconfig").read_text()) for node in plan.nodes
    ]
    merged = parts[0] | {
        key: [entry for part in parts for entry in part[key]]
        for key in ("clusters", "users", "contexts")
    }
    plan.kubeconfig.touch(mode=0o600)
    plan.kubeconfig.write_text(json.dumps(merged, indent=1))


def _kubeconfig(
    name: str, server: str, ca: certificates.Authority, client: certificates.Leaf
) -> dict[str, Any]:
    def encoded(pem: str) -> str:
        return base64.b64encode(pem.encode()).decode()

    user = {
        "client-certificate-data": encoded(client.certificate),
        "client-key-data": encoded(client.key),
    }
    cluster = {"server": server, "certificate-authority-data": encoded(ca.certificate)}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
