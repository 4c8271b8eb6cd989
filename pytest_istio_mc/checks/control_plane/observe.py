"""Observes injection and which configuration is in force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...errors import KubeError, MeshError, NotInTime, ObservationError
from ...eventually import awaited, eventually
from ...istio_names import ISTIOD_PODS, NETWORK_LABEL, NETWORKING_API, REVISION_LABEL
from ...observations import Ending, Request
from ...probes import manifests, objects, workloads
from ...probes.causes import refused_by_admission
from ...probes.traffic import Traffic
from ...rights import ROUTES, SERVICES, Right, Where, uses
from ...together import for_each
from ..site import Site
from .facts import ConfigInForce, Injection, read_for

if TYPE_CHECKING:
    from ...kube import Kube

WATCH_SECONDS = 0.5
"""How long at least to watch for configuration in the wrong place, once it is in the right one.

- Five times as long as istiod gathers changes before it pushes them (PILOT_DEBOUNCE_AFTER).
- As long as it took to get to the right place, if that is longer.
"""


@uses(SERVICES, ROUTES)
def config_in_force(site: Site) -> tuple[tuple[ConfigInForce, ...], float | None]:
    """In whose proxies a route of each cluster is in force, and since when.

    - Every cluster gets a route of its own, which answers for a service without pods. All clients
      ask for all routes until each is in force where it should be, and for a while after that.
    - Where it is not in force, the proxy says 503: it knows the service, which has no endpoints.
    - The seconds until all was right; None where it was not within ``config_propagation``.
    """
    traffic, kubes = site.traffic(), site.kubes()
    clusters = [cluster.name for cluster in traffic.mesh.spec.data_planes]
    with workloads.own_namespace(traffic.mesh, kubes, traffic.timeouts, "config") as namespace:
        services = [_service(cluster) for cluster in clusters]
        hosts = {one: traffic.full_name(one, f"config-{one}", namespace) for one in clusters}
        made = {cluster: [*services, _route(cluster, hosts[cluster])] for cluster in clusters}
        with objects.present(traffic.mesh, kubes, namespace, made):
            return _in_place(traffic, namespace)


def _in_place(traffic: Traffic, namespace: str) -> tuple[tuple[ConfigInForce, ...], float | None]:
    spec, budget = traffic.mesh.spec, traffic.timeouts.config_propagation
    clusters = [cluster.name for cluster in spec.data_planes]
    cells = [(source, config) for source in clusters for config in clusters]

    def observe() -> tuple[ConfigInForce, ...]:
        return tuple(traffic.from_each(cells, lambda cell: _ask_for(traffic, namespace, *cell)))

    def is_right(seen: tuple[ConfigInForce, ...]) -> bool:
        return all(
            one.in_force is (read_for(spec, one.source) == one.config_cluster) for one in seen
        )

    what = "configuration in force where it is read"
    seen, seconds = awaited(observe, is_right, within_seconds=budget, what=what)
    if seconds is None:
        return seen, None
    watch, what = max(WATCH_SECONDS, seconds), "configuration elsewhere"
    try:
        eventually(observe, lambda now: not is_right(now), within_seconds=watch, what=what)
    except NotInTime:  # as it should be: for all that time it stayed where it belongs
        return seen, seconds
    return observe(), seconds


def _ask_for(traffic: Traffic, namespace: str, source: str, config_cluster: str) -> ConfigInForce:
    host = traffic.host(f"config-{config_cluster}", namespace)
    request = traffic.requests(source, host, manifests.HTTP)[0]
    in_force = _in_force(request, config_cluster)
    return ConfigInForce(source, config_cluster, in_force, request.failure, request.latency_seconds)


def _in_force(request: Request, config_cluster: str) -> bool | None:
    if request.ending is not Ending.ANSWERED:
        return None
    if request.status == 200 and request.error.strip() == _mark(config_cluster):
        return True
    return False if request.status == 503 else None


def _mark(cluster: str) -> str:
    return f"configuration of {cluster}"


def _service(cluster: str) -> manifests.Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"config-{cluster}"},
        "spec": {"ports": [{"name": "http", "port": manifests.HTTP}]},
    }


def _route(cluster: str, host: str) -> manifests.Manifest:
    answer = {"status": 200, "body": {"string": _mark(cluster)}}
    return {
        "apiVersion": NETWORKING_API,
        "kind": "VirtualService",
        "metadata": {"name": f"config-{cluster}"},
        "spec": {"hosts": [host], "http": [{"directResponse": answer}]},
    }


DRY_RUN = Right(
    ("create",), "", "pods", Where.OWN, "have pods admitted in a dry run, which makes none"
)


@uses(DRY_RUN)
def injections(site: Site) -> tuple[Injection, ...]:
    """A pod admitted in a dry run, one that opts out, and the probe pods, everywhere.

    A dry run goes through the admission webhooks and leaves nothing behind (Kubernetes API
    Concepts, "Dry-run").
    """
    mesh, kubes = site.here.mesh, site.kubes()
    namespace = mesh.require_probes().namespace
    asked = {"admitted": {}, "opted-out": {"sidecar.istio.io/inject": "false"}}

    def observe(cluster: str) -> list[Injection]:
        kube = kubes[cluster]
        client = kube.read("Deployment", manifests.CLIENT, namespace)
        if client is None:
            thing = f'cluster "{cluster}": Deployment {manifests.CLIENT} in {namespace}'
            raise ObservationError(thing, "is not there", "a pod like its pods is to be admitted")
        found = [
            _admitted(kube, cluster, namespace, manifests.dry_run_pod(way, client, labels))
            for way, labels in asked.items()
        ]
        ours = f"{manifests.RUN_LABEL}={mesh.run_id}"
        running = kube.list("Pod", namespace, labels=ours)
        return found + [_injection(cluster, "running", pod) for pod in running]

    found = for_each(observe, [cluster.name for cluster in mesh.spec.data_planes])
    return tuple(injection for cluster in found for injection in cluster)


def revisions(site: Site) -> Mapping[str, tuple[str, ...]]:
    """The revisions of the istiods in each cluster that runs one."""
    kubes, namespace = site.kubes(), site.here.mesh.spec.istio_namespace

    def observe(cluster: str) -> tuple[str, ...]:
        istiods = kubes[cluster].list("Deployment", namespace, labels=ISTIOD_PODS)
        labels = [istiod["metadata"].get("labels") or {} for istiod in istiods]
        return tuple(sorted({found.get(REVISION_LABEL, "default") for found in labels}))

    clusters = [cluster.name for cluster in site.here.mesh.spec.control_planes]
    return dict(zip(clusters, for_each(observe, clusters), strict=True))


def _admitted(kube: Kube, cluster: str, namespace: str, pod: manifests.Manifest) -> Injection:
    """What becomes of a pod in a dry run; its name is its ``way``."""
    way = pod["metadata"]["name"]
    pod["metadata"]["namespace"] = namespace
    try:
        return _injection(cluster, way, kube.create(pod, dry_run=True))
    except KubeError as error:
        # we may not ask; admission that refuses says 400, 403 or 500, with its own reason
        if error.status in (0, 401, 403) and not refused_by_admission(error.detail):
            raise
        return Injection(cluster, way, way, error=error.detail)
    except MeshError as error:
        where = f'cluster "{cluster}"'
        raise ObservationError(where, "admit a pod in a dry run", str(error)) from error


def _injection(cluster: str, way: str, pod: Mapping[str, Any]) -> Injection:
    metadata, spec = pod["metadata"], pod.get("spec") or {}
    # native sidecars are init containers
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    proxy = next((one for one in containers if one["name"] == "istio-proxy"), None)
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
        network=environment.get("ISTIO_META_NETWORK", "") or labels.get(NETWORK_LABEL, ""),
        mesh_id=environment.get("ISTIO_META_MESH_ID", ""),
        revision=notes.get(REVISION_LABEL, "") or labels.get(REVISION_LABEL, ""),
    )
