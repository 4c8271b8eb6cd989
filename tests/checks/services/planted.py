"""Services of users planted into recorded healthy meshes of every topology."""

from __future__ import annotations

from typing import Any

from pytest_istio_mc.checks.cluster_domain import cluster_domain
from pytest_istio_mc.snapshot import Snapshot
from pytest_istio_mc.spec import ClusterSpec
from tests.checks.unusual.case import Draft, plain

Json = dict[str, Any]
EMPTY = (
    "VirtualService.networking.istio.io",
    "Sidecar.networking.istio.io",
    "WorkloadEntry.networking.istio.io",
    "EnvoyFilter.networking.istio.io",
    "AuthorizationPolicy.security.istio.io",
    "PodMetadata",
)
"""Kinds that older recordings do not have; these meshes have none but the probes' own."""


class Planted:
    """A recorded mesh with the service ``cart`` of the namespace ``shop`` in every cluster.

    ``only``: the clusters in which it has pods; without any, all.
    """

    def __init__(self, mesh: str, *only: str) -> None:
        self.draft = Draft(plain(mesh))
        self.spec = self.draft.spec
        self.domain = cluster_domain(plain(mesh), self.spec.control_planes[0])
        self.host = f"cart.shop.svc.{self.domain}"
        for name, document in self.draft.clusters.items():
            for kind in EMPTY:
                document["objects"].setdefault(kind, [])
            if self.spec.cluster(name) in self.spec.data_planes:
                self._plant(self.spec.cluster(name), not only or name in only)
        for plane in self.spec.control_planes:
            for istiod in self.draft.clusters[plane.name].get("istiods", ()):
                istiod["debug"]["endpointShardz"][self.host] = {"shop": self._shards(plane, only)}

    def _plant(self, cluster: ClusterSpec, running: bool) -> None:
        listed = self.draft.listed
        labels = {"istio-injection": "enabled"}
        listed(cluster.name, "Namespace").append({"metadata": {"name": "shop", "labels": labels}})
        port = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}
        spec = {"clusterIP": "10.9.9.9", "selector": {"app": "cart"}, "ports": [port]}
        service = {"metadata": {"name": "cart", "namespace": "shop"}, "spec": spec, "status": {}}
        listed(cluster.name, "Service").append(service)
        pods = listed(cluster.name, "PodMetadata")
        for name in ("cart", "front") if running else ("front",):
            labels = {
                "app": name,
                "version": "v1",
                "security.istio.io/tlsMode": "istio",
                "topology.istio.io/network": cluster.network,
            }
            metadata = {"name": f"{name}-0", "namespace": "shop", "labels": labels}
            pods.append({"metadata": metadata})

    def _shards(self, plane: ClusterSpec, only: tuple[str, ...]) -> Json:
        known = {*self.spec.served_by(plane), *self.spec.watched_by(plane)}
        return {
            f"Kubernetes/{one.name}": {
                "count": 1,
                "digest": "x",
                "groups": [
                    {
                        "count": 1,
                        "name": "http",
                        "port": 8080,
                        "network": one.network,
                        "tls_mode": "istio",
                        "health": 1,
                    }
                ],
            }
            for one in known
            if not only or one.name in only
        }

    def apply(self, kind: str, name: str, spec: Json, cluster: str = "") -> None:
        """Apply a rule in the config cluster of every control plane, or in one cluster."""
        names = [cluster] if cluster else list(self.spec.config_clusters)
        for one in names:
            item = {"metadata": {"name": name, "namespace": "shop"}, "spec": spec}
            self.draft.listed(one, kind).append(item)

    def snapshot(self) -> Snapshot:
        """The mesh."""
        return self.draft.snapshot()
