"""Observes services under cluster-local settings, and what is local by default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import NotInTime, ObservationError
from ...eventually import eventually
from ...faults import mesh_config
from ...istio_names import KUBE_SYSTEM
from ...mesh import Mesh
from ...probes import manifests, objects, workloads
from ...probes.client_proxy import ENDPOINTS, Dump, dumped, endpoints
from ...probes.leftovers import ownership
from ...probes.sampling import settled
from ...probes.traffic import Traffic
from ...samples import Sample, Stage
from ...statistics import MISS_PROBABILITY, least_share, sample_size
from .facts import (
    ALL,
    BEFORE,
    CASES,
    ELSEWHERE,
    LIFTED,
    NAMESPACE,
    ONE,
    OTHER,
    SOLO,
    SOME,
    SYSTEM,
    ClusterLocal,
    Defaults,
    Held,
)

if TYPE_CHECKING:
    from ...kube import Kube


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
    with _made_services(traffic, kubes) as services:

        def stage(name: str, local: Mapping[str, set[str]]) -> Stage:
            return settled(traffic, name, list(_wanted(traffic, services, local)), size)

        def settings(cluster: str) -> mesh_config.Settings:
            cases = (
                [ONE, NAMESPACE]
                if cluster != spec.config_cluster(alone).name
                else [ONE, NAMESPACE, SOLO]
            )
            return [_local(*(services[case].pattern for case in cases))]

        stages = [stage(BEFORE, {})]
        with mesh_config.changeable(mesh, kubes, _longest(traffic)) as configs:
            configs.set_service_settings(
                {place.cluster: settings(place.cluster) for place in configs.places}
            )
            stages.append(stage(SOME, {ONE: sources, NAMESPACE: sources, SOLO: told}))
            configs.set_service_settings({place.cluster: [_local("*")] for place in configs.places})
            stages.append(stage(ALL, dict.fromkeys(CASES, sources)))
        stages.append(stage(LIFTED, {}))
    return ClusterLocal(
        tuple(stages), {place.cluster: str(place) for place in configs.places}, alone.name
    )


@dataclass(frozen=True)
class _Service:
    """A service of one case: where clients call it, and the pattern by which the mesh configuration names it."""

    host: str
    pattern: str


@contextmanager
def _made_services(traffic: Traffic, kubes: Mapping[str, Kube]) -> Iterator[dict[str, _Service]]:
    """The services of all cases, answered by the probe servers of every cluster; gone at the end.

    All are in the probe namespace but the one of a whole namespace, which has one to itself, and endpoints that we make for it.
    """
    mesh, probes = traffic.mesh, traffic.probes
    any_cluster = mesh.spec.data_planes[0].name
    with ExitStack() as stack:
        namespace = stack.enter_context(
            workloads.own_namespace(mesh, kubes, objects.unique("local"))
        )
        inside = objects.unique("local")
        names = {case: objects.unique("local") for case in (ONE, SOLO, OTHER)}
        services = [manifests.extra_service(name, probes.service) for name in names.values()]
        rules = [objects.destination_rule(mesh.spec, name) for name in names.values()]
        stack.enter_context(
            objects.present(kubes, probes.namespace, objects.everywhere(mesh, services, rules))
        )
        elsewhere = objects.everywhere(mesh, [], [objects.destination_rule(mesh.spec, inside)])
        for cluster in elsewhere:
            elsewhere[cluster] += objects.leading_to(
                inside, probes.servers(cluster), probes.namespace
            )
        stack.enter_context(objects.present(kubes, namespace, elsewhere))
        found = {
            case: _Service(traffic.host(name), traffic.full_name(any_cluster, name))
            for case, name in names.items()
        }
        whole = traffic.full_name(any_cluster, inside, namespace).replace(inside, "*", 1)
        yield found | {NAMESPACE: _Service(traffic.host(inside, namespace), whole)}


def _wanted(
    traffic: Traffic, services: Mapping[str, _Service], local: Mapping[str, set[str]]
) -> Iterator[Sample]:
    """What every client should get from the service of every case, where those of ``local`` are kept within the cluster.

    A gateway that is told so, too, forwards to its own cluster only: of those that share it, requests from other networks reach no other.
    """
    spec = traffic.mesh.spec
    sources = tuple(cluster.name for cluster in spec.data_planes)
    for source in sources:
        for case, service in services.items():
            kept = local.get(case, set())
            behind = {
                name for name in kept if spec.cluster(name).network != spec.cluster(source).network
            }
            hidden = behind - {spec.cluster(name).control_plane or name for name in behind}
            yield Sample(
                source,
                case,
                service.host,
                (source,)
                if source in kept
                else tuple(name for name in sources if name not in hidden),
            )


def _longest(traffic: Traffic) -> float:
    """How long at most the mesh configuration may stay changed: twice what two stages take that never come about."""
    return (
        4 * (traffic.timeouts.config_propagation + traffic.timeouts.request)
        + traffic.timeouts.kube_request
    )


def _local(*hosts: str) -> dict[str, Any]:
    return {"settings": {"clusterLocal": True}, "hosts": list(hosts)}


_SLICE = "EndpointSlice.discovery.k8s.io"


def kept_local(traffic: Traffic, kubes: Mapping[str, Kube], *, may_write: bool) -> Defaults:
    """The endpoints that every client's proxy has for the services that Istio keeps local, and for the probe service.

    Where it ``may_write``, a service of ours in ``kube-system`` is asked for, too, and its twin in the probe namespace. Raises
    :class:`ObservationError` where a proxy cannot be asked.
    """
    mesh = traffic.mesh
    clusters = [cluster.name for cluster in mesh.spec.data_planes]
    stage = _asked_for(traffic, kubes) if may_write else None
    found = traffic.from_each(clusters, lambda cluster: _read(mesh, kubes[cluster], cluster))
    return Defaults(
        held=tuple(one for held, _ in found for one in held),
        twins=tuple(one for _, twins in found for one in twins),
        stage=stage,
    )


def _read(mesh: Mesh, kube: Kube, cluster: str) -> tuple[list[Held], list[Held]]:
    """What is read in turn from the cluster and the proxy may differ for a moment, while a pod comes or goes."""

    def observe() -> tuple[list[Held], list[Held]]:
        dump = dumped(mesh, kube, cluster, ENDPOINTS)
        assert mesh.probes is not None
        local = [
            held
            for service, namespace in _services(mesh, kube, cluster)
            for held in _held(kube, cluster, service, namespace, dump)
        ]
        return local, list(_held(kube, cluster, mesh.probes.service, mesh.probes.namespace, dump))

    try:
        return eventually(
            observe,
            lambda seen: not any(held.foreign for held in seen[0]),
            within_seconds=2.0,
            what="endpoints",
            every_seconds=0.5,
        ).value
    except NotInTime:
        return observe()


def _services(mesh: Mesh, kube: Kube, cluster: str) -> Iterator[tuple[str, str]]:
    yield "kubernetes", "default"
    revision = mesh_config.revision_of(mesh, kube, cluster)
    yield (
        ("istiod" if revision in ("", "default") else f"istiod-{revision}"),
        mesh.spec.istio_namespace,
    )
    for service in kube.list("Service", KUBE_SYSTEM):
        yield service["metadata"]["name"], KUBE_SYSTEM


def _held(kube: Kube, cluster: str, service: str, namespace: str, dump: Dump) -> Iterator[Held]:
    slices = kube.list(_SLICE, namespace, labels=f"kubernetes.io/service-name={service}")
    own = tuple(
        sorted(
            {
                address
                for one in slices
                for endpoint in one.get("endpoints") or ()
                for address in endpoint["addresses"]
            }
        )
    )
    for name, held in endpoints(dump, f"{service}.{namespace}.svc.").items():
        port, subset = name.split("|")[1:3]
        if not subset:
            yield Held(
                cluster,
                f"{service}.{namespace}",
                port,
                tuple(sorted({one.address for one in held})),
                own,
            )


def _asked_for(traffic: Traffic, kubes: Mapping[str, Kube]) -> Stage:
    """Requests for a service of ours in ``kube-system``, and for one that differs in nothing but its namespace.

    They are sent once the proxies have endpoints for both: until then requests go to the nearest server anyway.
    """
    mesh, probes = traffic.mesh, traffic.probes
    clusters = tuple(cluster.name for cluster in mesh.spec.data_planes)
    name = objects.unique("istio-mc-local")
    wanted = [
        Sample(source, SYSTEM, traffic.host(name, KUBE_SYSTEM), (source,)) for source in clusters
    ]
    wanted += [Sample(source, ELSEWHERE, traffic.host(name), clusters) for source in clusters]
    with ExitStack() as stack:
        for namespace in (KUBE_SYSTEM, probes.namespace):
            made = {
                cluster: _labelled(
                    objects.leading_to(name, probes.servers(cluster), probes.namespace), mesh.run_id
                )
                for cluster in clusters
            }
            if namespace != KUBE_SYSTEM:
                rule = objects.destination_rule(mesh.spec, name)
                stack.enter_context(
                    objects.present(kubes, namespace, objects.everywhere(mesh, [], [rule]))
                )
            stack.enter_context(objects.present(kubes, namespace, made))

        def known(cluster: str) -> bool:
            dump = dumped(mesh, kubes[cluster], cluster, ENDPOINTS)
            return all(
                any(
                    held.addresses for held in _held(kubes[cluster], cluster, name, namespace, dump)
                )
                for namespace in (KUBE_SYSTEM, probes.namespace)
            )

        try:
            eventually(
                lambda: traffic.from_each(clusters, known),
                all,
                within_seconds=traffic.timeouts.config_propagation,
                what=f"every client's proxy knows {name} in {KUBE_SYSTEM} and in {probes.namespace}",
            )
        except NotInTime as error:
            raise ObservationError("services in kube-system", error.step, error.detail) from error
        return settled(
            traffic,
            "defaults",
            wanted,
            sample_size(least_share(mesh.spec), MISS_PROBABILITY / len(wanted)),
        )


def _labelled(made: Sequence[manifests.Manifest], run_id: str) -> list[manifests.Manifest]:
    """With what tells whose they are, since they are in a namespace that is not the run's."""
    for manifest in made:
        metadata = manifest["metadata"]
        metadata["labels"] = {**metadata.get("labels", {}), manifests.RUN_LABEL: run_id}
        metadata["annotations"] = ownership()
    return list(made)
