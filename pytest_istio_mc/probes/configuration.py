"""Configuration: a piece of it applied in each cluster, and in whose proxies it comes into force."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import NotInTime
from ..eventually import Converged, eventually
from ..mesh import Mesh
from ..observations import ConfigInForce, Ending, Request
from . import manifests
from .traffic import Traffic
from .workloads import side_by_side

if TYPE_CHECKING:
    from ..kube import Kube

WATCH_SECONDS = 0.5
"""How long at least to go on watching for configuration in the wrong place, once it is in the right one: five times as long as istiod
gathers changes before it pushes them (PILOT_DEBOUNCE_AFTER), and as long as it took to get to the right place, if that is longer."""


def reads_from(mesh: Mesh, cluster: str) -> str:
    """The cluster from which the control plane of ``cluster``'s proxies reads configuration."""
    spec = mesh.spec
    served = spec.cluster(cluster)
    return spec.config_cluster(spec.cluster(served.control_plane or served.name)).name


def config_in_force(traffic: Traffic, kubes: Mapping[str, Kube], namespace: str) -> tuple[tuple[ConfigInForce, ...], Converged[Any] | None]:
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

    side_by_side(install, clusters)
    cells = [(source, config) for source in clusters for config in clusters]

    def observe() -> tuple[ConfigInForce, ...]:
        return tuple(traffic.from_each(cells, lambda cell: _ask(traffic, namespace, *cell)))

    def settled(seen: tuple[ConfigInForce, ...]) -> bool:
        return all(cell.in_force is (reads_from(mesh, cell.source) == cell.config_cluster) for cell in seen)

    try:
        converged = eventually(observe, settled, within_seconds=budget, what="configuration in force where it is read")
    except NotInTime:
        return observe(), None
    watch = max(WATCH_SECONDS, converged.first_seconds)
    try:
        eventually(observe, lambda seen: not settled(seen), within_seconds=watch, what="configuration elsewhere")
    except NotInTime:  # as it should be: for all that time it stayed where it belongs
        return converged.value, converged
    return observe(), converged


def _ask(traffic: Traffic, namespace: str, source: str, config_cluster: str) -> ConfigInForce:
    request = traffic.requests(source, traffic.host(f"config-{config_cluster}", namespace), manifests.HTTP)[0]
    return ConfigInForce(source, config_cluster, _in_force(request, config_cluster), request.failure, request.latency_seconds)


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
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"config-{cluster}"}, "spec": {"ports": ports}}


def _route(cluster: str, namespace: str) -> manifests.Manifest:
    answer = {"status": 200, "body": {"string": _mark(cluster)}}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": f"config-{cluster}"},
        "spec": {"hosts": [f"config-{cluster}.{namespace}.svc.cluster.local"], "http": [{"directResponse": answer}]},
    }
