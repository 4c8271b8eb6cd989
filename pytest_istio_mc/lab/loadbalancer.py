"""LoadBalancers: gives every Service of type LoadBalancer an address of its cluster's range; kube-proxy serves it."""

from __future__ import annotations

import threading
from typing import Any

from ..errors import KubeError
from .api import AdminApi
from .plan import NodePlan

_MERGE = "application/merge-patch+json"


class LoadBalancers(threading.Thread):
    """Watches one cluster's Services for as long as the lab lives, through losses of its apiserver, too.

    Addresses are given in the order in which the Services appear, starting at ``.1``; a Service made anew under its old name
    gets its old address. Services with a ``loadBalancerClass`` are somebody else's (Kubernetes' "Service" page).
    """

    def __init__(self, api: AdminApi, node: NodePlan) -> None:
        super().__init__(name=f"load balancers of {node.name}", daemon=True)
        self._api = api
        self._prefix = node.load_balancer_prefix
        self._given: dict[str, str] = {}
        self._ended = threading.Event()

    def stop(self) -> None:
        """Stop watching; what is given stays given."""
        self._ended.set()

    def run(self) -> None:
        """Give addresses until stopped; a broken watch is taken up again every quarter of a second."""
        while not self._ended.is_set():
            try:
                for service in self._api.watch("/api/v1/services", self._ended):
                    self._serve(service)
            except KubeError:
                pass
            self._ended.wait(0.25)

    def _serve(self, service: dict[str, Any]) -> None:
        if service["spec"].get("type") != "LoadBalancer" or service["spec"].get(
            "loadBalancerClass"
        ):
            return
        metadata = service["metadata"]
        key = f"{metadata['namespace']}/{metadata['name']}"
        present = [
            entry.get("ip", "")
            for entry in service.get("status", {}).get("loadBalancer", {}).get("ingress", [])
        ]
        if present:
            self._given.setdefault(key, present[0])
            return
        address = self._given.get(key) or self._next()
        self._given[key] = address
        self._api.request(
            "PATCH",
            f"/api/v1/namespaces/{metadata['namespace']}/services/{metadata['name']}/status",
            {"status": {"loadBalancer": {"ingress": [{"ip": address, "ipMode": "VIP"}]}}},
            _MERGE,
        )

    def _next(self) -> str:
        taken = set(self._given.values())
        return next(
            address
            for number in range(1, 255)
            if (address := f"{self._prefix}.{number}") not in taken
        )
