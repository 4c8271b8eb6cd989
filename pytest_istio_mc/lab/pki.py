"""The Kubernetes certificates of a lab cluster, and the kubeconfigs made of them (Kubernetes' "PKI certificates and requirements")."""

from __future__ import annotations

import base64
import json
from typing import Any

from .. import certificates
from .plan import LabPlan, NodePlan

_VALID = 365 * certificates.DAY

_CLIENTS = {
    # The controller manager and the scheduler act as administrators: the roles of their own accounts come seconds later.
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", "system:masters"),
    "kube-scheduler": ("system:kube-scheduler", "system:masters"),
    "kube-proxy": ("system:kube-proxy", "system:masters"),
}


def write(plan: LabPlan, node: NodePlan, port: int) -> None:
    """Write the cluster's CA, server and client certificates, the service-account key, and every component's kubeconfig.

    ``port`` is the forwarder's on 127.0.0.1; the administrator's kubeconfig leads there, all others to the node's address.
    """
    home = plan.folder(node)
    home.chmod(0o700)
    ca = certificates.make_root(f"{node.name}-kubernetes-ca", valid=_VALID)
    (home / "ca.crt").write_text(ca.certificate)
    (home / "ca.key").write_text(ca.key)
    server = certificates.make_leaf(
        ca,
        common_name="kube-apiserver",
        dns_names=[
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ],
        addresses=[node.node_address, "127.0.0.1", f"{node.service_prefix}.1"],
        valid=_VALID,
    )
    (home / "kube-apiserver.crt").write_text(server.certificate)
    (home / "kube-apiserver.key").write_text(server.key)
    (home / "service-account.key").write_text(
        certificates.make_leaf(ca, common_name="service-account").key
    )
    clients = _CLIENTS | {"kubelet": (f"system:node:{node.name}", "system:nodes")}
    for client, (common_name, organization) in clients.items():
        leaf = certificates.make_leaf(
            ca, common_name=common_name, organization=organization, valid=_VALID
        )
        (home / f"{client}.crt").write_text(leaf.certificate)
        (home / f"{client}.key").write_text(leaf.key)
        server_url = f"https://127.0.0.1:{port}" if client == "admin" else node.peer_server
        (home / f"{client}.kubeconfig").write_text(
            json.dumps(_kubeconfig(node.name, server_url, ca, leaf))
        )


def write_shared_kubeconfig(plan: LabPlan) -> None:
    """Write the kubeconfig with a context for each cluster, for administrators on the host."""
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
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": encoded(ca.certificate),
                },
            }
        ],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    }
