"""Observes services under cluster-local settings, and what is local by default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import NotInTime, ObservationError
from ...eventually import eventually
from ...faults import mesh_config
from ...istio_names import KUBE_SYSTEM, SERVICE_LABEL, of_revision
from ...mesh import Mesh
from ...probes import manifests, objects, workloads
from ...probes.client_proxy import ENDPOINTS, Dump, dumped, endpoints
from ...probes.sampling import settled
from ...probes.traffic import Traffic
from ...rights import RULES, SERVICES, SLICES, Permission, Right, Where, elsewhere, uses
from ...samples import Sample, Stage
from ...statistics import MISS_PROBABILITY, least_share, sample_size
from ..site import Site
from .facts import (
    ALL_LOCAL,
    BEFORE,
    CASES,
    IN_ANOTHER_NAMESPACE,
    IN_KUBE_SYSTEM,
    IN_NAMED_NAMESPACE,
    LIFTED,
    NAMED_ALONE,
    NAMED_IN_ONE,
    NEVER_NAMED,
    SOME_LOCAL,
    ClusterLocal,
    Defaults,
    ServiceEndpoints,
)

if TYPE_CHECKING:
    from ...kube import Kube

_SLICE = "EndpointSlice.discovery.k8s.io"
_Known = tuple[list[ServiceEndpoints], list[ServiceEndpoints]]
"""The endpoints of the services that Istio keeps local, and those of the probe service."""


_CONFIGURATION = Right(
    ("patch",), "", "configmaps", Where.ISTIO, "add `serviceSettings` to mesh configuration"
)
_IN_KUBE_SYSTEM = elsewhere(
    SERVICES,
    SLICES,
    Right(("get",), "", "services", Where.KUBE_SYSTEM, ""),
    Right(("get",), "discovery.k8s.io", "endpointslices", Where.KUBE_SYSTEM, ""),
    where=Where.KUBE_SYSTEM,
    why="add a Service istio-mc-local-… with endpoints in the probes, for some seconds",
)
_KEPT_LOCAL = elsewhere(
    Right(("list",), "discovery.k8s.io", "endpointslices", Where.KUBE_SYSTEM, ""),
    where=Where.KUBE_SYSTEM,
    why="compare the services that Istio keeps local with what proxies have of them",
)


@uses(SERVICES, SLICES, RULES, _CONFIGURATION)
def cluster_local(site: Site) -> ClusterLocal:
    """Requests for four services, before, while and after settings keep them local.

    - The mesh configuration is changed and restored; nothing else may be under way.
    - The stage in which every service is local wants :data:`Permission.EVERY_SERVICE`.
    - Raises ``MeshError`` where the configuration could not be changed, or not be restored.
    """
    traffic, kubes = site.traffic(), site.kubes()
    mesh, spec = traffic.mesh, traffic.mesh.spec
    alone = spec.control_planes[0]
    told = {cluster.name for cluster in spec.served_by(alone)}
    sources = {cluster.name for cluster in spec.data_planes}
    size = sample_size(least_share(spec), MISS_PROBABILITY / (len(sources) * len(CASES)))
    with _made_services(traffic, kubes) as services:

        def stage(name: str, local: Mapping[str, set[str]]) -> Stage:
            return settled(traffic, name, list(_wanted(traffic, services, local)), size)

        def settings(cluster: str) -> mesh_config.Settings:
            cases = [NAMED_ALONE, IN_NAMED_NAMESPACE]
            if cluster == spec.config_cluster(alone).name:
                cases.append(NAMED_IN_ONE)
            return [_local(*(services[case].pattern for case in cases))]

        some = {NAMED_ALONE: sources, IN_NAMED_NAMESPACE: sources, NAMED_IN_ONE: told}
        stages = [stage(BEFORE, {})]
        with mesh_config.changeable(mesh, kubes, _longest(traffic)) as configs:
            configs.set_service_settings(
                {place.cluster: settings(place.cluster) for place in configs.places}
            )
            stages.append(stage(SOME_LOCAL, some))
            if mesh.allows(Permission.EVERY_SERVICE):
                everything = {place.cluster: [_local("*")] for place in configs.places}
                configs.set_service_settings(everything)
                stages.append(stage(ALL_LOCAL, dict.fromkeys(CASES, sources)))
        stages.append(stage(LIFTED, {}))
    changed = {place.cluster: str(place) for place in configs.places}
    return ClusterLocal(tuple(stages), changed, alone.name)


@dataclass(frozen=True)
class _Service:
    """The service of one case: its name for clients, its pattern for mesh configuration."""

    host: str
    pattern: str


@contextmanager
def _made_services(traffic: Traffic, kubes: Mapping[str, Kube]) -> Iterator[dict[str, _Service]]:
    """The services of all cases, until the end.

    Every cluster's probe servers answer them. The service in a named namespace has one of its own,
    and endpoints that we make for it; all others are in the probe namespace.
    """
    mesh, probes = traffic.mesh, traffic.probes
    any_cluster = mesh.spec.data_planes[0].name
    inside = objects.unique("local")
    names = {case: objects.unique("local") for case in (NAMED_ALONE, NAMED_IN_ONE, NEVER_NAMED)}
    services = [manifests.extra_service(name, probes.service) for name in names.values()]
    rules = [objects.destination_rule(mesh.spec, name) for name in names.values()]
    made = objects.everywhere(mesh, services, rules)
    elsewhere = objects.everywhere(mesh, [], [objects.destination_rule(mesh.spec, inside)])
    for cluster in elsewhere:
        elsewhere[cluster] += objects.leading_to(inside, probes.servers(cluster), probes.namespace)
    with (
        workloads.own_namespace(mesh, kubes, traffic.timeouts, "local") as namespace,
        objects.present(mesh, kubes, probes.namespace, made),
        objects.present(mesh, kubes, namespace, elsewhere),
    ):
        found = {
            case: _Service(traffic.host(name), traffic.full_name(any_cluster, name))
            for case, name in names.items()
        }
        whole = traffic.full_name(any_cluster, inside, namespace).replace(inside, "*", 1)
        yield found | {IN_NAMED_NAMESPACE: _Service(traffic.host(inside, namespace), whole)}


def _wanted(
    traffic: Traffic, services: Mapping[str, _Service], local: Mapping[str, set[str]]
) -> Iterator[Sample]:
    """What every client should get from each service, kept in the clusters of ``local``.

    A gateway that is told so, too, forwards to its own cluster only. Requests from other networks
    then reach no other cluster behind it.
    """
    spec = traffic.mesh.spec
    sources = tuple(cluster.name for cluster in spec.data_planes)
    for source in sources:
        network = spec.cluster(source).network
        for case, service in services.items():
            kept = local.get(case, set())
            behind = {name for name in kept if spec.cluster(name).network != network}
            hidden = behind - {spec.control_plane_of(name).name for name in behind}
            seen = tuple(name for name in sources if name not in hidden)
            yield Sample(source, case, service.host, (source,) if source in kept else seen)


def _longest(traffic: Traffic) -> float:
    """For how many seconds at most the mesh configuration may stay changed.

    That is twice what two stages take that never come about.
    """
    budgets = traffic.timeouts
    return 4 * (budgets.config_propagation + budgets.request) + budgets.kube_request


def _local(*hosts: str) -> dict[str, Any]:
    return {"settings": {"clusterLocal": True}, "hosts": list(hosts)}


@uses(*_KEPT_LOCAL, disrupting=(SERVICES, SLICES, RULES, *_IN_KUBE_SYSTEM))
def kept_local(site: Site) -> Defaults:
    """What each client's proxy has of the services that Istio keeps local.

    - Also what it has of the probe service, which is not kept local.
    - Where the site may be disrupted, requests for a service of ours in ``kube-system`` as well,
      and for its twin in the probe namespace.
    - Raises :class:`ObservationError` where a proxy cannot be asked.
    """
    traffic, kubes = site.traffic(), site.kubes()
    mesh = traffic.mesh
    clusters = [cluster.name for cluster in mesh.spec.data_planes]
    stage = _asked_for(site) if site.may_disrupt else None
    found = traffic.from_each(clusters, lambda cluster: _read(mesh, kubes[cluster], cluster))
    return Defaults(
        held=tuple(one for held, _ in found for one in held),
        twins=tuple(one for _, twins in found for one in twins),
        stage=stage,
    )


def _read(mesh: Mesh, kube: Kube, cluster: str) -> _Known:
    """Both, read once more where they differ from the cluster's own.

    Cluster and proxy are read in turn, and may differ for a moment while a pod comes or goes.
    """
    probes = mesh.require_probes()

    def observe() -> _Known:
        dump = dumped(mesh, kube, cluster, ENDPOINTS)
        local = [
            held
            for service, namespace in _services(mesh, kube, cluster)
            for held in _held(kube, cluster, service, namespace, dump)
        ]
        return local, list(_held(kube, cluster, probes.service, probes.namespace, dump))

    def agree(seen: _Known) -> bool:
        return not any(held.foreign for held in seen[0])

    try:
        waited = eventually(observe, agree, within_seconds=2.0, what="endpoints", every_seconds=0.5)
    except NotInTime:
        return observe()
    return waited.value


def _services(mesh: Mesh, kube: Kube, cluster: str) -> Iterator[tuple[str, str]]:
    """The services that Istio keeps local unasked, each with its namespace."""
    yield "kubernetes", "default"
    revision = mesh_config.revision_of(mesh, kube, cluster)
    yield of_revision("istiod", revision), mesh.spec.istio_namespace
    for service in kube.list("Service", KUBE_SYSTEM):
        yield service["metadata"]["name"], KUBE_SYSTEM


def _held(
    kube: Kube, cluster: str, service: str, namespace: str, dump: Dump
) -> Iterator[ServiceEndpoints]:
    """The endpoints of a service in a proxy's dump, by port."""
    slices = kube.list(_SLICE, namespace, labels=f"{SERVICE_LABEL}={service}")
    listed = [endpoint for one in slices for endpoint in one.get("endpoints") or ()]
    own = {address for endpoint in listed for address in endpoint["addresses"]}
    for name, held in endpoints(dump, f"{service}.{namespace}.svc.").items():
        port, subset = name.split("|")[1:3]
        if not subset:
            addresses = tuple(sorted({one.address for one in held}))
            full_name = f"{service}.{namespace}"
            yield ServiceEndpoints(cluster, full_name, port, addresses, tuple(sorted(own)))


def _asked_for(site: Site) -> Stage:
    """Requests for a service of ours in ``kube-system``, and for its twin elsewhere.

    They are sent once the proxies have endpoints for both: until then requests go to the nearest
    server anyway.
    """
    traffic, kubes = site.traffic(), site.kubes()
    mesh, probes = traffic.mesh, traffic.probes
    clusters = tuple(cluster.name for cluster in mesh.spec.data_planes)
    name = objects.unique("istio-mc-local")
    host, twin = traffic.host(name, KUBE_SYSTEM), traffic.host(name)
    wanted = [Sample(source, IN_KUBE_SYSTEM, host, (source,)) for source in clusters]
    wanted += [Sample(source, IN_ANOTHER_NAMESPACE, twin, clusters) for source in clusters]
    size = sample_size(least_share(mesh.spec), MISS_PROBABILITY / len(wanted))
    made = {
        cluster: objects.leading_to(name, probes.servers(cluster), probes.namespace)
        for cluster in clusters
    }
    rule = objects.everywhere(mesh, [], [objects.destination_rule(mesh.spec, name)])

    def known(cluster: str) -> bool:
        dump = dumped(mesh, kubes[cluster], cluster, ENDPOINTS)
        return all(
            any(held.addresses for held in _held(kubes[cluster], cluster, name, namespace, dump))
            for namespace in (KUBE_SYSTEM, probes.namespace)
        )

    with (
        site.faults().scene.made(KUBE_SYSTEM, made),
        objects.present(mesh, kubes, probes.namespace, rule),
        objects.present(mesh, kubes, probes.namespace, made),
    ):
        try:
            eventually(
                lambda: traffic.from_each(clusters, known),
                all,
                within_seconds=traffic.timeouts.config_propagation,
                what=f"every client's proxy knows {name} in {KUBE_SYSTEM} "
                f"and in {probes.namespace}",
            )
        except NotInTime as error:
            raise ObservationError("services in kube-system", error.step, error.detail) from error
        return settled(traffic, "defaults", wanted, size)
