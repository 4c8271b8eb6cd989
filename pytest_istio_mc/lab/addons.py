"""What a lab cluster has besides its components: CoreDNS, as manifests."""

from __future__ import annotations

from typing import Any

from .binaries import images
from .plan import NodePlan

_COREFILE = """.:53 {
  errors
  ready
  kubernetes cluster.local in-addr.arpa {
    pods insecure
  }
  cache 5
}
"""

_LABELS = {"k8s-app": "kube-dns"}
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_SYSTEM = {"namespace": "kube-system"}


def coredns(node: NodePlan) -> list[tuple[str, dict[str, Any]]]:
    """CoreDNS at the cluster's DNS address, as (API path, object) in the order in which to apply them."""
    role_ref = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "system:coredns",
    }
    container = {
        "name": "coredns",
        "image": images.COREDNS,
        "imagePullPolicy": "IfNotPresent",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
        # As in CoreDNS's own deployment. Without a request it gets a fiftieth of what one other pod gets, and names go unanswered
        # on a busy machine: the C library gives up after two questions of 5 s each.
        "resources": {"requests": {"cpu": "100m", "memory": "70Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
    }
    pod = {
        "serviceAccountName": "coredns",
        "dnsPolicy": "Default",
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    objects: list[tuple[str, str, str, str, dict[str, Any]]] = [
        ("/api/v1/namespaces/kube-system/serviceaccounts", "v1", "ServiceAccount", "coredns", {}),
        (
            f"{_RBAC}/clusterroles",
            "rbac.authorization.k8s.io/v1",
            "ClusterRole",
            "system:coredns",
            {
                "rules": [
                    {
                        "apiGroups": [""],
                        "resources": ["endpoints", "services", "pods", "namespaces"],
                        "verbs": ["list", "watch"],
                    },
                    {
                        "apiGroups": ["discovery.k8s.io"],
                        "resources": ["endpointslices"],
                        "verbs": ["list", "watch"],
                    },
                ]
            },
        ),
        (
            f"{_RBAC}/clusterrolebindings",
            "rbac.authorization.k8s.io/v1",
            "ClusterRoleBinding",
            "system:coredns",
            {
                "roleRef": role_ref,
                "subjects": [{"kind": "ServiceAccount", "name": "coredns", **_SYSTEM}],
            },
        ),
        (
            "/api/v1/namespaces/kube-system/configmaps",
            "v1",
            "ConfigMap",
            "coredns",
            {"data": {"Corefile": _COREFILE}},
        ),
        (
            "/api/v1/namespaces/kube-system/services",
            "v1",
            "Service",
            "kube-dns",
            {
                "spec": {
                    "clusterIP": f"{node.service_prefix}.10",
                    "selector": _LABELS,
                    "ports": [
                        {"name": "dns", "port": 53, "protocol": "UDP"},
                        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                    ],
                }
            },
        ),
        (
            "/apis/apps/v1/namespaces/kube-system/deployments",
            "apps/v1",
            "Deployment",
            "coredns",
            {
                "spec": {
                    "selector": {"matchLabels": _LABELS},
                    "template": {"metadata": {"labels": _LABELS}, "spec": pod},
                }
            },
        ),
    ]
    return [
        (
            f"{path}/{name}",
            {
                "apiVersion": version,
                "kind": kind,
                "metadata": {"name": name} | (_SYSTEM if "/namespaces/" in path else {}),
                **content,
            },
        )
        for path, version, kind, name, content in objects
    ]
