"""A shop on the mesh of fake clusters: services of users, to be broken one by one.

- ``cart`` runs in both clusters; ``orders`` in cluster2, and cluster1 has its Service only;
  ``mail`` exists in cluster2 alone; callers are in ``web``.
- What istiods hold of it follows from its objects, as they are when it is recorded.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from pytest_istio_mc.snapshot import Snapshot
from tests.fake_clusters import SYSTEM, FakeMesh, Json, meta

DOMAIN = "svc.cluster.local"
PORTS: tuple[Json, ...] = ({"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"},)
KINDS = {
    "VirtualService": "networking.istio.io",
    "DestinationRule": "networking.istio.io",
    "ServiceEntry": "networking.istio.io",
    "Sidecar": "networking.istio.io",
    "Gateway": "networking.istio.io",
    "WorkloadEntry": "networking.istio.io",
    "PeerAuthentication": "security.istio.io",
    "AuthorizationPolicy": "security.istio.io",
}


class Shop:
    """The mesh with the shop in it."""

    def __init__(self) -> None:
        self.mesh = FakeMesh()
        for number in (1, 2):
            for namespace in ("shop", "web"):
                self.namespace(number, namespace)
            self.pods(number, "web", "front", app="front")
            for name in ("cart", "orders"):
                self.service(number, name)
            self.pods(number, "shop", "cart", app="cart", version="v1")
        self.pods(2, "shop", "orders", app="orders", version="v1")
        self.service(2, "mail")
        self.pods(2, "shop", "mail", app="mail", version="v1")

    def __getitem__(self, number: int) -> Any:
        return self.mesh[number]

    def namespace(self, number: int, name: str, *, injected: bool = True) -> Json:
        """Make a namespace."""
        labels = {"istio-injection": "enabled"} if injected else {}
        item = {"metadata": meta(name) | {"labels": labels}}
        self.mesh[number].objects["Namespace"].append(item)
        return item

    def service(
        self,
        number: int,
        name: str,
        *,
        namespace: str = "shop",
        ports: tuple[Json, ...] = PORTS,
        **selector: str,
    ) -> Json:
        """Make a Service in a cluster."""
        spec = {
            "type": "ClusterIP",
            "clusterIP": f"10.9{number}.1.1",
            "ports": copy.deepcopy([*ports]),
            "selector": selector or {"app": name},
        }
        item = {"metadata": meta(name, namespace), "spec": spec, "status": {}}
        self.mesh[number].objects["Service"].append(item)
        return item

    def pods(
        self,
        number: int,
        namespace: str,
        name: str,
        *,
        count: int = 2,
        sidecar: bool = True,
        port_name: str = "web",
        **labels: str,
    ) -> list[Json]:
        """Start pods in a cluster."""
        cluster = self.mesh[number]
        known = {"security.istio.io/tlsMode": "istio", "topology.istio.io/network": cluster.network}
        made = []
        for place in range(count):
            place_in_network = len(cluster.objects["Pod"]) + 10
            metadata = meta(f"{name}-{place}", namespace) | {
                "labels": {**labels, **(known if sidecar else {})},
                "annotations": {"istio.io/rev": "default"} if sidecar else {},
            }
            container = {
                "name": "app",
                "ports": [{"name": port_name, "containerPort": 8080, "protocol": "TCP"}],
            }
            pod = {
                "metadata": metadata,
                "spec": {"serviceAccountName": name, "containers": [container]},
                "status": {"phase": "Running", "podIP": f"10.{number}.1.{place_in_network}"},
            }
            cluster.objects["Pod"].append(pod)
            made.append(pod)
        return made

    def pods_of(self, number: int, app: str) -> list[Json]:
        """The pods of an app in a cluster."""
        pods = self.mesh[number].objects["Pod"]
        return [one for one in pods if one["metadata"]["labels"].get("app") == app]

    def stop(self, number: int, app: str) -> None:
        """Take the pods of an app away."""
        gone = self.pods_of(number, app)
        pods = self.mesh[number].objects["Pod"]
        pods[:] = [one for one in pods if one not in gone]

    def apply(
        self, kind: str, name: str, spec: Json, *clusters: int, namespace: str = "shop"
    ) -> list[Json]:
        """Apply a rule to these clusters, or to both."""
        made = []
        for number in clusters or (1, 2):
            item = {"metadata": meta(name, namespace), "spec": copy.deepcopy(spec)}
            full = f"{kind}.{KINDS[kind]}"
            self.mesh[number].objects.setdefault(full, []).append(item)
            made.append(item)
        return made

    def find(self, number: int, kind: str, name: str, namespace: str = "shop") -> Json:
        """One object."""
        full = f"{kind}.{KINDS[kind]}" if kind in KINDS else kind
        return self.mesh[number].find(full, name, namespace)

    def route(self, name: str, *destinations: Json, **rest: Any) -> list[Json]:
        """Apply a VirtualService for a host of the shop that leads to destinations."""
        clusters = rest.pop("clusters", ())
        namespace = rest.pop("namespace", "shop")
        routes = [one if "destination" in one else {"destination": one} for one in destinations]
        spec = {"hosts": [f"{name}.shop.{DOMAIN}"], "http": [{"route": routes}], **rest}
        return self.apply("VirtualService", name, spec, *clusters, namespace=namespace)

    def mesh_config(self, *numbers: int, **changes: Any) -> None:
        """Change what istiods say of their mesh configuration."""
        for number in numbers or (1, 2):
            self.mesh[number].istiod("mesh").update(changes)

    def record(self) -> Snapshot:
        """The snapshot, with what istiods make of the services."""
        hosts = dict(self._shards())
        for number in (1, 2):
            self.mesh[number].istiod("endpointShardz").update(copy.deepcopy(hosts))
        return self.mesh.record()

    def _shards(self) -> Iterator[tuple[str, Json]]:
        for number in (1, 2):
            for service in self.mesh[number].objects["Service"]:
                namespace = service["metadata"].get("namespace", "")
                if namespace in (SYSTEM, "default", "kube-system") or "echo" in str(
                    service["metadata"]["name"]
                ):
                    continue
                name = service["metadata"]["name"]
                shards = {
                    f"Kubernetes/cluster{one}": [*self._endpoints(one, namespace, name)]
                    for one in (1, 2)
                }
                yield f"{name}.{namespace}.{DOMAIN}", {namespace: {"Shards": shards}}

    def _endpoints(self, number: int, namespace: str, name: str) -> Iterator[Json]:
        cluster = self.mesh[number]
        for service in cluster.objects["Service"]:
            here = (service["metadata"].get("namespace"), service["metadata"]["name"])
            if here != (namespace, name):
                continue
            for pod in cluster.objects["Pod"]:
                labels = pod["metadata"]["labels"]
                chosen = service["spec"].get("selector", {}).items() <= labels.items()
                if pod["metadata"].get("namespace") != namespace or not chosen:
                    continue
                for port in service["spec"]["ports"]:
                    if (number_of := _target(pod, port)) is not None:
                        yield {
                            "Addresses": [pod["status"]["podIP"]],
                            "EndpointPort": number_of,
                            "ServicePortName": port.get("name", ""),
                            "Network": labels.get("topology.istio.io/network", cluster.network),
                            "Locality": {"Label": "", "ClusterID": cluster.name},
                            "TLSMode": labels.get("security.istio.io/tlsMode", "disabled"),
                            "HealthStatus": 1,
                            "ServiceAccount": "",
                        }


def _target(pod: Json, port: Json) -> int | None:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    named = {
        one["name"]: one["containerPort"]
        for container in pod["spec"]["containers"]
        for one in container.get("ports", ())
    }
    return named.get(target)
