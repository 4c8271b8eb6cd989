"""Observes injection and which configuration is in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import KubeError, MeshError, NotInTime, ObservationError
from ...eventually import Converged, eventually
from ...mesh import Mesh
from ...observations import Ending, Request
from ...probes import manifests
from ...probes.traffic import Traffic
from ...together import for_each
from .facts import ConfigInForce, Injection

if TYPE_CHECKING:
    from ...kube import Kube


WATCH_SECONDS = 0.5
"""How long at least to go on watching for configuration in the wrong place, once it is in the right one: five times as long as istiod
gathers changes before it pushes them (PILOT_DEBOUNCE_AFTER), and as long as it took to get to the right place, if that is longer."""


def reads_from(mesh: Mesh, cluster: str) -> str:
    """The cluster from which the control plane of ``cluster``'s proxies reads configuration."""
    spec = mesh.spec
    served = spec.cluster(cluster)
    return spec.config_cluster(spec.cluster(served.control_plane or served.name)).name


def config_in_force(
    traffic: Traffic, kubes: Mapping[str, Kube], namespace: str
) -> tuple[tuple[ConfigInForce, ...], Converged[Any] | None]:
    """Apply in every cluster, in ``namespace``, a route of its own that answers for a service without pods, and ask for all of them
    from everywhere until each is in force where it should be; then watch for it elsewhere.

    Where it is not in force, the proxy says 503 (it knows the service, which has no endpoints). The second value is how long it took,
    None where it did not come about within ``config_propagation``.
    """
    mesh, budget = traffic.mesh, traffic.timeouts.config_propagation
    clusters = [cluster.name for cluster in mesh.spec.data_planes]

    def install(cluster: str) -> None:
        services = [_service(other) for other in clusters]
        kubes[cluster].apply(*services, _route(cluster, namespace), namespace=namespace)

    for_each(install, clusters)
    cells = [(source, config) for source in clusters for config in clusters]

    def observe() -> tuple[ConfigInForce, ...]:
        return tuple(traffic.from_each(cells, lambda cell: _ask_for(traffic, namespace, *cell)))

    def settled(seen: tuple[ConfigInForce, ...]) -> bool:
        return all(
            cell.in_force is (reads_from(mesh, cell.source) == cell.config_cluster) for cell in seen
        )

    try:
        converged = eventually(
            observe, settled, within_seconds=budget, what="configuration in force where it is read"
        )
    except NotInTime:
        return observe(), None
    watch = max(WATCH_SECONDS, converged.first_seconds)
    try:
        eventually(
            observe,
            lambda seen: not settled(seen),
            within_seconds=watch,
            what="configuration elsewhere",
        )
    except NotInTime:  # as it should be: for all that time it stayed where it belongs
        return converged.value, converged
    return observe(), converged


def _ask_for(traffic: Traffic, namespace: str, source: str, config_cluster: str) -> ConfigInForce:
    request = traffic.requests(
        source, traffic.host(f"config-{config_cluster}", namespace), manifests.HTTP
    )[0]
    return ConfigInForce(
        source,
        config_cluster,
        _in_force(request, config_cluster),
        request.failure,
        request.latency_seconds,
    )


def _in_force(request: Request, config_cluster: str) -> bool | None:
    if request.ending is not Ending.ANSWERED:
        return None
    if request.status == 200 and request.error.strip() == _mark(config_cluster):
        return True
    return False if request.status == 503 else None


def _mark(cluster: str) -> str:
    return f"configuration of {cluster}"


def _service(cluster: str) -> manifests.Manifest:
    ports = [{"name": "http", "port": manifests.HTTP}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"config-{cluster}"},
        "spec": {"ports": ports},
    }


def _route(cluster: str, namespace: str) -> manifests.Manifest:
    answer = {"status": 200, "body": {"string": _mark(cluster)}}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": f"config-{cluster}"},
        "spec": {
            "hosts": [f"config-{cluster}.{namespace}.svc.cluster.local"],
            "http": [{"directResponse": answer}],
        },
    }


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
            _admitted(
                kube,
                cluster,
                "admitted",
                namespace,
                manifests.bare_pod("admitted", image, labels=labels),
            ),
            _admitted(
                kube,
                cluster,
                "opted-out",
                namespace,
                manifests.bare_pod(
                    "opted-out", image, labels={**labels, "sidecar.istio.io/inject": "false"}
                ),
            ),
        ]
        running = kube.list("Pod", namespace, labels=manifests.ROLE_LABEL)
        return found + [_read(cluster, "running", pod) for pod in running]

    found = for_each(observe, [cluster.name for cluster in mesh.spec.data_planes])
    return tuple(injection for cluster in found for injection in cluster)


def revisions(mesh: Mesh, kubes: Mapping[str, Kube]) -> dict[str, tuple[str, ...]]:
    """The revisions of the istiods in each cluster that runs one."""

    def observe(cluster: str) -> tuple[str, ...]:
        found = kubes[cluster].list("Deployment", labels="app=istiod")
        return tuple(
            sorted(
                {
                    (item["metadata"].get("labels") or {}).get("istio.io/rev", "default")
                    for item in found
                }
            )
        )

    clusters = [cluster.name for cluster in mesh.spec.control_planes]
    return dict(zip(clusters, for_each(observe, clusters), strict=True))


def _admitted(
    kube: Kube, cluster: str, way: str, namespace: str, pod: manifests.Manifest
) -> Injection:
    pod["metadata"]["namespace"] = namespace
    pod["spec"]["serviceAccountName"] = manifests.CLIENT
    try:
        return _read(cluster, way, kube.create(pod, dry_run=True))
    except KubeError as error:
        if error.status in (
            0,
            401,
            403,
        ):  # we may not ask; a refusing webhook says 500 (or 400 with its own reason)
            raise
        return Injection(cluster, way, pod["metadata"]["name"], error=error.detail)
    except MeshError as error:
        raise ObservationError(
            f'cluster "{cluster}"', "admit a pod in a dry run", str(error)
        ) from error


def _read(cluster: str, way: str, pod: Mapping[str, Any]) -> Injection:
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    containers = [
        *(spec.get("containers") or ()),
        *(spec.get("initContainers") or ()),
    ]  # native sidecars are init containers
    proxy = next(
        (container for container in containers if container["name"] == "istio-proxy"), None
    )
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
        network=environment.get("ISTIO_META_NETWORK", "")
        or labels.get("topology.istio.io/network", ""),
        mesh_id=environment.get("ISTIO_META_MESH_ID", ""),
        revision=notes.get("istio.io/rev", "") or labels.get("istio.io/rev", ""),
    )
