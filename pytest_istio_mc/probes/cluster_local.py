"""Cluster-local: services kept within their clusters by the mesh configuration, some, then all, then none again, under traffic.

One pass serves several checks, because it changes what the whole mesh reads: two changes of each ConfigMap, and its restoration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..routing import ALL, BEFORE, CASES, LIFTED, NAMESPACE, ONE, OTHER, SOLO, SOME, ClusterLocal, Sample, Stage
from . import manifests, mesh_config, objects, workloads
from .sampling import settled
from .traffic import MISS_PROBABILITY, Traffic, least_share, sample_size

if TYPE_CHECKING:
    from ..kube import Kube


def cluster_local(traffic: Traffic, kubes: Mapping[str, Kube]) -> ClusterLocal:
    """Make four services that answer in every cluster, change the mesh configuration twice, restore it, and ask for all of them from
    everywhere in each state.

    Nothing else may be under way in the mesh. Raises ``MeshError`` where the configuration could not be changed, or not be restored.
    """
    mesh, spec = traffic.mesh, traffic.mesh.spec
    alone = spec.control_planes[0]
    told = {cluster.name for cluster in spec.served_by(alone)}
    sources = {cluster.name for cluster in spec.data_planes}
    size = sample_size(least_share(spec), MISS_PROBABILITY / (len(sources) * len(CASES)))
    with _services(traffic, kubes) as services:

        def stage(name: str, local: Mapping[str, set[str]]) -> Stage:
            return settled(traffic, name, list(_wanted(traffic, services, local)), size)

        def settings(cluster: str) -> mesh_config.Settings:
            cases = [ONE, NAMESPACE] if cluster != spec.config_cluster(alone).name else [ONE, NAMESPACE, SOLO]
            return [_local(*(services[case].pattern for case in cases))]

        stages = [stage(BEFORE, {})]
        with mesh_config.changeable(mesh, kubes, _longest(traffic)) as configs:
            configs.set_service_settings({place.cluster: settings(place.cluster) for place in configs.places})
            stages.append(stage(SOME, {ONE: sources, NAMESPACE: sources, SOLO: told}))
            configs.set_service_settings({place.cluster: [_local("*")] for place in configs.places})
            stages.append(stage(ALL, dict.fromkeys(CASES, sources)))
        stages.append(stage(LIFTED, {}))
    return ClusterLocal(tuple(stages), {place.cluster: str(place) for place in configs.places}, alone.name)


@dataclass(frozen=True)
class _Service:
    """A service of one case: where clients call it, and the pattern by which the mesh configuration names it."""

    host: str
    pattern: str


@contextmanager
def _services(traffic: Traffic, kubes: Mapping[str, Kube]) -> Iterator[dict[str, _Service]]:
    """The services of all cases, answered by the probe servers of every cluster; gone at the end.

    All are in the probe namespace but the one of a whole namespace, which has one to itself, and endpoints that we make for it.
    """
    mesh, probes = traffic.mesh, traffic.probes
    any_cluster = mesh.spec.data_planes[0].name
    with ExitStack() as stack:
        namespace = stack.enter_context(workloads.own_namespace(mesh, kubes, objects.unique("local")))
        inside = objects.unique("local")
        names = {case: objects.unique("local") for case in (ONE, SOLO, OTHER)}
        services = [manifests.extra_service(name, probes.service) for name in names.values()]
        rules = [objects.destination_rule(mesh.spec, name) for name in names.values()]
        stack.enter_context(objects.present(kubes, probes.namespace, objects.everywhere(mesh, services, rules)))
        elsewhere = objects.everywhere(mesh, [], [objects.destination_rule(mesh.spec, inside)])
        for cluster in elsewhere:
            elsewhere[cluster] += objects.leading_to(inside, probes.servers(cluster), probes.namespace)
        stack.enter_context(objects.present(kubes, namespace, elsewhere))
        found = {case: _Service(traffic.host(name), traffic.full_name(any_cluster, name)) for case, name in names.items()}
        whole = traffic.full_name(any_cluster, inside, namespace).replace(inside, "*", 1)
        yield found | {NAMESPACE: _Service(traffic.host(inside, namespace), whole)}


def _wanted(traffic: Traffic, services: Mapping[str, _Service], local: Mapping[str, set[str]]) -> Iterator[Sample]:
    """What every client should get from the service of every case, where those of ``local`` are kept within the cluster.

    A gateway that is told so, too, forwards to its own cluster only: of those that share it, requests from other networks reach no other.
    """
    spec = traffic.mesh.spec
    sources = tuple(cluster.name for cluster in spec.data_planes)
    for source in sources:
        for case, service in services.items():
            kept = local.get(case, set())
            behind = {name for name in kept if spec.cluster(name).network != spec.cluster(source).network}
            hidden = behind - {spec.cluster(name).control_plane or name for name in behind}
            yield Sample(source, case, service.host, (source,) if source in kept else tuple(name for name in sources if name not in hidden))


def _longest(traffic: Traffic) -> float:
    """How long at most the mesh configuration may stay changed: twice what two stages take that never come about."""
    return 4 * (traffic.timeouts.config_propagation + traffic.timeouts.request) + traffic.timeouts.kube_request


def _local(*hosts: str) -> dict[str, Any]:
    return {"settings": {"clusterLocal": True}, "hosts": list(hosts)}
