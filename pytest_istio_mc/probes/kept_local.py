"""Kept local: the services that Istio keeps within their clusters unasked, as the clients' proxies and their requests find them.

These are those of ``kube-system``, ``kubernetes.default`` and istiod's own (Istio, pilot/pkg/model/cluster_local.go).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ..errors import NotInTime, ObservationError
from ..eventually import eventually
from ..mesh import Mesh
from ..routing import ELSEWHERE, SYSTEM, Defaults, Held, Sample, Stage
from . import manifests, mesh_config, objects
from .client_proxy import ENDPOINTS, Dump, dumped, endpoints
from .sampling import settled
from .traffic import MISS_PROBABILITY, Traffic, least_share, sample_size
from .workloads import ownership

if TYPE_CHECKING:
    from ..kube import Kube

NAMESPACE = "kube-system"
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
        held=tuple(one for held, _ in found for one in held), twins=tuple(one for _, twins in found for one in twins), stage=stage
    )


def _read(mesh: Mesh, kube: Kube, cluster: str) -> tuple[list[Held], list[Held]]:
    """What is read in turn from the cluster and the proxy may differ for a moment, while a pod comes or goes."""

    def observe() -> tuple[list[Held], list[Held]]:
        dump = dumped(mesh, kube, cluster, ENDPOINTS)
        assert mesh.probes is not None
        local = [held for service, namespace in _services(mesh, kube, cluster) for held in _held(kube, cluster, service, namespace, dump)]
        return local, list(_held(kube, cluster, mesh.probes.service, mesh.probes.namespace, dump))

    try:
        return eventually(
            observe, lambda seen: not any(held.foreign for held in seen[0]), within_seconds=2.0, what="endpoints", every_seconds=0.5
        ).value
    except NotInTime:
        return observe()


def _services(mesh: Mesh, kube: Kube, cluster: str) -> Iterator[tuple[str, str]]:
    yield "kubernetes", "default"
    revision = mesh_config.revision_of(mesh, kube, cluster)
    yield ("istiod" if revision in ("", "default") else f"istiod-{revision}"), mesh.spec.istio_namespace
    for service in kube.list("Service", NAMESPACE):
        yield service["metadata"]["name"], NAMESPACE


def _held(kube: Kube, cluster: str, service: str, namespace: str, dump: Dump) -> Iterator[Held]:
    slices = kube.list(_SLICE, namespace, labels=f"kubernetes.io/service-name={service}")
    own = tuple(sorted({address for one in slices for endpoint in one.get("endpoints") or () for address in endpoint["addresses"]}))
    for name, held in endpoints(dump, f"{service}.{namespace}.svc.").items():
        port, subset = name.split("|")[1:3]
        if not subset:
            yield Held(cluster, f"{service}.{namespace}", port, tuple(sorted({one.address for one in held})), own)


def _asked_for(traffic: Traffic, kubes: Mapping[str, Kube]) -> Stage:
    """Requests for a service of ours in ``kube-system``, and for one that differs in nothing but its namespace.

    They are sent once the proxies have endpoints for both: until then requests go to the nearest server anyway.
    """
    mesh, probes = traffic.mesh, traffic.probes
    clusters = tuple(cluster.name for cluster in mesh.spec.data_planes)
    name = objects.unique("istio-mc-local")
    wanted = [Sample(source, SYSTEM, traffic.host(name, NAMESPACE), (source,)) for source in clusters]
    wanted += [Sample(source, ELSEWHERE, traffic.host(name), clusters) for source in clusters]
    with ExitStack() as stack:
        for namespace in (NAMESPACE, probes.namespace):
            made = {
                cluster: _labelled(objects.leading_to(name, probes.servers(cluster), probes.namespace), mesh.run_id) for cluster in clusters
            }
            if namespace != NAMESPACE:
                rule = objects.destination_rule(mesh.spec, name)
                stack.enter_context(objects.present(kubes, namespace, objects.everywhere(mesh, [], [rule])))
            stack.enter_context(objects.present(kubes, namespace, made))

        def known(cluster: str) -> bool:
            dump = dumped(mesh, kubes[cluster], cluster, ENDPOINTS)
            return all(
                any(held.addresses for held in _held(kubes[cluster], cluster, name, namespace, dump))
                for namespace in (NAMESPACE, probes.namespace)
            )

        try:
            eventually(
                lambda: traffic.from_each(clusters, known),
                all,
                within_seconds=traffic.timeouts.config_propagation,
                what=f"every client's proxy knows {name} in {NAMESPACE} and in {probes.namespace}",
            )
        except NotInTime as error:
            raise ObservationError("services in kube-system", error.step, error.detail) from error
        return settled(traffic, "defaults", wanted, sample_size(least_share(mesh.spec), MISS_PROBABILITY / len(wanted)))


def _labelled(made: Sequence[manifests.Manifest], run_id: str) -> list[manifests.Manifest]:
    """With what tells whose they are, since they are in a namespace that is not the run's."""
    for manifest in made:
        metadata = manifest["metadata"]
        metadata["labels"] = {**metadata.get("labels", {}), manifests.RUN_LABEL: run_id}
        metadata["annotations"] = ownership()
    return list(made)
