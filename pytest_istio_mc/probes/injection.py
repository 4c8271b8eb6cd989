"""Injection: what the sidecar injector of each cluster makes of a pod, seen through the API server and on the running probes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import KubeError, MeshError, ObservationError
from ..mesh import Mesh
from ..observations import Injection
from . import manifests
from .workloads import side_by_side

if TYPE_CHECKING:
    from ..kube import Kube


def injections(mesh: Mesh, kubes: Mapping[str, Kube]) -> tuple[Injection, ...]:
    """In every cluster with workloads: a pod admitted in a dry run, one that opts out, and the running probe pods.

    A dry run goes through the admission webhooks and leaves nothing behind (Kubernetes API Concepts, "Dry-run").
    """
    if mesh.probes is None:
        raise ObservationError("injection", "needs the probe namespace", "the mesh has no probes")
    namespace, image = mesh.probes.namespace, mesh.probes.image

    def observe(cluster: str) -> list[Injection]:
        kube = kubes[cluster]
        labels = {"app": "admitted"}
        found = [
            _admitted(kube, cluster, "admitted", namespace, manifests.bare_pod("admitted", image, labels=labels)),
            _admitted(
                kube,
                cluster,
                "opted-out",
                namespace,
                manifests.bare_pod("opted-out", image, labels={**labels, "sidecar.istio.io/inject": "false"}),
            ),
        ]
        running = kube.list("Pod", namespace, labels=manifests.ROLE_LABEL)
        return found + [_read(cluster, "running", pod) for pod in running]

    found = side_by_side(observe, [cluster.name for cluster in mesh.spec.data_planes])
    return tuple(injection for cluster in found for injection in cluster)


def revisions(mesh: Mesh, kubes: Mapping[str, Kube]) -> dict[str, tuple[str, ...]]:
    """The revisions of the istiods in each cluster that runs one."""

    def observe(cluster: str) -> tuple[str, ...]:
        found = kubes[cluster].list("Deployment", labels="app=istiod")
        return tuple(sorted({(item["metadata"].get("labels") or {}).get("istio.io/rev", "default") for item in found}))

    clusters = [cluster.name for cluster in mesh.spec.control_planes]
    return dict(zip(clusters, side_by_side(observe, clusters), strict=True))


def _admitted(kube: Kube, cluster: str, way: str, namespace: str, pod: manifests.Manifest) -> Injection:
    pod["metadata"]["namespace"] = namespace
    pod["spec"]["serviceAccountName"] = manifests.CLIENT
    try:
        return _read(cluster, way, kube.create(pod, dry_run=True))
    except KubeError as error:
        if error.status in (0, 401, 403):  # we may not ask; a refusing webhook says 500 (or 400 with its own reason)
            raise
        return Injection(cluster, way, pod["metadata"]["name"], error=error.detail)
    except MeshError as error:
        raise ObservationError(f'cluster "{cluster}"', "admit a pod in a dry run", str(error)) from error


def _read(cluster: str, way: str, pod: Mapping[str, Any]) -> Injection:
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]  # native sidecars are init containers
    proxy = next((container for container in containers if container["name"] == "istio-proxy"), None)
    if proxy is None:
        return Injection(cluster, way, metadata["name"])
    environment = {entry["name"]: entry.get("value", "") for entry in proxy.get("env") or ()}
    labels, notes = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return Injection(
        cluster=cluster,
        way=way,
        pod=metadata["name"],
        injected=True,
        cluster_id=environment.get("ISTIO_META_CLUSTER_ID", ""),
        network=environment.get("ISTIO_META_NETWORK", "") or labels.get("topology.istio.io/network", ""),
        mesh_id=environment.get("ISTIO_META_MESH_ID", ""),
        revision=notes.get("istio.io/rev", "") or labels.get("istio.io/rev", ""),
    )
