"""LoadBalancers: gives Services of type LoadBalancer their addresses; kube-proxy serves them."""

from __future__ import annotations

import threading
from typing import Any

from ..errors import KubeError
from .api import AdminApi
from .plan import NodePlan

_MERGE = "application/merge-patch+json"


class LoadBalancers(threading.Thread):
    """Watches one cluster's Services, also through losses of its apiserver.

    - Addresses are of the cluster's range, from ``.1``, in the order in which Services appear.
    - A Service made anew under its old name gets its old address.
    - Services with a ``loadBalancerClass`` are somebody else's (Kubernetes' "Service" page).
    """

    def __init__(self, api: AdminApi, node: NodePlan) -> None:
        super().__init__(name=f"load balancers of {node.name}", daemon=True)
        self._api = api
        self._prefix = node.load_balancer_prefix
        self._given: dict[str, str] = {}
        self._ended = threading.Event()

    def stop(self) -> None:
        """Stop watching; Services keep their addresses."""
        self._ended.set()

    def run(self) -> None:
        """Give addresses until stopped; retry a broken watch every quarter of a second."""
        while not self._ended.is_set():
            try:
                for service in self._api.watch("/api/v1/services", self._ended):
                    self._serve(service)
            except KubeError:
                pass
            self._ended.wait(0.25)

    def _serve(self, service: dict[str, Any]) -> None:
        spec, metadata = service["spec"], service["metadata"]
        if spec.get("type") != "LoadBalancer" or spec.get("loadBalancerClass"):
            return
        key = f"{metadata['namespace']}/{metadata['name']}"
        if present := service.get("status", {}).get("loadBalancer", {}).get("ingress", []):
            self._given.setdefault(key, present[0].get("ip", ""))
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
        addresses = (f"{self._prefix}.{number}" for number in range(1, 255))
        return next(address for address in addresses if address not in taken)
