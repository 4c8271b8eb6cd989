"""Observes losses of API servers: requests go on before, during and after each of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from ...errors import NotInTime
from ...eventually import eventually
from ...faults import Faults
from ...istio_names import SERVICE_LABEL
from ...observations import Request
from ...probes import manifests, objects
from ...probes.flows import Running, flowing
from ...probes.load import Pulse
from ...probes.traffic import Traffic
from ...rights import ROUTES, RULES, SERVICES, SLICES, Right, Where, uses
from ...timelines import Timeline
from ..site import Site
from .facts import (
    BACK_OFF_SECONDS,
    Delay,
    How,
    Isolation,
    Loss,
    Purpose,
    Push,
    cluster_to_lose,
    drained_after,
    first_answered,
    is_drained,
    primary_to_lose,
    returned_after,
    watchers,
    with_last_answer,
)
from .observe_flows import (
    AFTER_SECONDS,
    BASELINE_SECONDS,
    MOST_SECONDS,
    going_on,
    plans,
    rest,
    wait_for,
)
from .observe_istiods import istiod_pods, restarted
from .observe_services import Services, connections_spread, installed, late_endpoint, pin
from .observe_signs import listening, own_signs

if TYPE_CHECKING:
    from ...kube import Kube

PUSH_AFTER_SECONDS = 1.0
LOSS_SECONDS = 14.0
"""How long an API server is lost: several times as long as anything takes that is done then."""
SHORT_SECONDS = 8.0


_SIGNS = Right(("get",), "", "pods/log", Where.ISTIO, "read what istiods say of the loss")
_RESTART = (
    Right(("get",), "apps", "deployments", Where.ISTIO, "restart a control plane"),
    Right(("list",), "apps", "replicasets", Where.ISTIO, "restart a control plane"),
    Right(("delete",), "", "pods", Where.ISTIO, "restart a control plane"),
)
_REMOTE_SECRETS = Right(
    ("create", "patch", "delete"),
    "",
    "secrets",
    Where.ISTIO,
    "remove the remote secrets of one cluster, and put them back",
)


@uses(SERVICES, SLICES, RULES, ROUTES, _SIGNS)
def refused(site: Site) -> Loss | None:
    """The API server of one cluster gone for a while, and back; nothing else is touched."""
    lost = cluster_to_lose(site.here.mesh.spec)
    return _lose(site, How.REFUSED, lost.name) if lost else None


@uses(SERVICES, SLICES, RULES, ROUTES, _SIGNS, *_RESTART)
def hung(site: Site) -> Loss | None:
    """The API server of the same cluster hung, while a control plane elsewhere is restarted."""
    spec = site.here.mesh.spec
    lost = cluster_to_lose(spec)
    if lost is None:
        return None
    return _lose(site, How.HUNG, lost.name, restart=watchers(spec, lost)[0].name)


def _lose(site: Site, how: How, lost: str, *, restart: str = "") -> Loss:
    """Lose the API server of a cluster and see what becomes of traffic, endpoints and signs.

    The control plane in the cluster ``restart`` is restarted meanwhile; the loss lasts until it is
    ready again.
    """
    traffic, faults = site.traffic(), site.faults()
    spec, scene = traffic.mesh.spec, faults.scene
    planes = [plane.name for plane in spec.control_planes]
    elsewhere = [plane.name for plane in watchers(spec, spec.cluster(lost))]
    config_clusters = [name for name in spec.config_clusters if name != lost]
    with connections_spread(site), installed(site, lost, config_clusters) as services:
        before = istiod_pods(scene, planes)
        sent = plans(traffic, services, lost)
        with Pulse() as pulse, flowing(traffic, sent, at_most_seconds=MOST_SECONDS) as running:
            rest(BASELINE_SECONDS)
            with running.marked(f"API server of {lost} {how.value}"):
                began = time.time()
                with _lost(faults, how, lost), listening(scene, elsewhere, lost) as ears:
                    pushes, died = _meanwhile(site, running, services, lost)
                    again = restarted(faults, running, restart, lost) if restart else None
                    rest(began + LOSS_SECONDS - time.time())
                    signs, statuses = ears.heard(began), ears.statuses()
                    ended = time.time()
                healed = time.time()
            endpoint_at = _add_endpoint(traffic, site.kubes()[lost], services, lost)
            running.note(f"an endpoint is added in {lost}")
            _wait_returned(traffic, running, lost, endpoint_at)
            rest(AFTER_SECONDS)
    timeline = running.timeline
    signs += own_signs(scene, [plane for plane in planes if plane == lost], began, ended)
    return Loss(
        lost=lost,
        how=how,
        began=began,
        ended=ended,
        healed=healed,
        timeline=timeline,
        planes=tuple(elsewhere),
        statuses=tuple(statuses),
        signs=tuple(sorted(signs, key=lambda sign: sign.after_seconds)),
        pushes=pushes,
        restarted=tuple(sorted(istiod_pods(scene, planes) - before)),
        returns=tuple(returned_after(timeline, lost, ended, endpoint_at)),
        died=died,
        restart=again and with_last_answer(again, timeline, spec, lost),
        machine=pulse.machine,
    )


@uses(RULES)
def primary(site: Site) -> Loss | None:
    """The API server of a primary gone, its control plane out of remotes' reach."""
    spec, kubes, faults = site.here.mesh.spec, site.kubes(), site.faults()
    lost = primary_to_lose(spec)
    if lost is None:
        return None
    plane = next(plane for plane in spec.control_planes if spec.config_cluster(plane) is lost)
    remotes = [cluster.name for cluster in spec.served_by(plane) if cluster.name != plane.name]
    addresses = {
        address
        for remote in remotes
        for address in _control_plane_addresses(kubes[remote], spec.istio_namespace)
    }
    before = istiod_pods(faults.scene, [plane.name])
    with going_on(site) as running, Pulse() as pulse:
        with running.marked(f"API server of {lost.name} refused, control plane out of reach"):
            began = time.time()
            with ExitStack() as broken:
                for address, port in sorted(addresses):
                    broken.enter_context(faults.address_unreachable(address, port, remotes))
                broken.enter_context(_lost(faults, How.REFUSED, lost.name))
                rest(SHORT_SECONDS)
                ended = time.time()
            healed = time.time()
        rest(2 * AFTER_SECONDS)
    return Loss(
        lost=lost.name,
        how=How.REFUSED,
        began=began,
        ended=ended,
        healed=healed,
        timeline=running.timeline,
        planes=(plane.name,),
        restarted=tuple(sorted(istiod_pods(faults.scene, [plane.name]) - before)),
        machine=pulse.machine,
    )


@uses(SERVICES, RULES, _REMOTE_SECRETS)
def isolated(site: Site) -> Isolation | None:
    """The same cluster taken out of the mesh by removing its remote secrets, and brought back."""
    spec = site.here.mesh.spec
    lost = cluster_to_lose(spec)
    if lost is None:
        return None
    cluster, planes = lost.name, watchers(spec, lost)
    served = [one.name for plane in planes for one in spec.served_by(plane)]
    sources = [name for name in served if name != cluster]
    within = site.here.timeouts.endpoint_propagation

    def back(timeline: Timeline) -> dict[str, float | None]:
        return {
            source: first_answered(timeline, Purpose.PLAIN, source, cluster, ended)
            for source in sources
        }

    def gone(timeline: Timeline) -> bool:
        return all(is_drained(timeline, source, cluster, began) for source in sources)

    with going_on(site) as running, Pulse() as pulse:
        with running.marked(f"remote secrets for {cluster} removed"):
            began = time.time()
            with site.faults().remote_secret_removed(cluster):
                wait_for(running, within, gone)
                rest(AFTER_SECONDS)
                ended = time.time()
        wait_for(running, within, lambda timeline: all(back(timeline).values()))
        rest(AFTER_SECONDS)
    timeline = running.timeline
    drained = tuple(drained_after(timeline, source, cluster, began, ended) for source in sources)
    returns = tuple(
        Delay(source, when - ended if when else None) for source, when in back(timeline).items()
    )
    return Isolation(cluster, began, ended, timeline, drained, returns, pulse.machine)


@contextmanager
def _lost(faults: Faults, how: How, cluster: str) -> Iterator[None]:
    breaking = faults.apiserver_refused if how is How.REFUSED else faults.apiserver_hung
    with breaking(cluster):
        yield


def _meanwhile(
    site: Site, running: Running, services: Services, lost: str
) -> tuple[tuple[Push, ...], float]:
    """Push a route in every other config cluster, then kill the lost cluster's endpoint.

    Gives the pushes, and when the endpoint died.
    """
    traffic = site.traffic()
    spec, namespace = traffic.mesh.spec, traffic.probes.namespace
    rest(PUSH_AFTER_SECONDS)
    pushes = []
    for config, service in services.pushed.items():
        sources = tuple(
            cluster.name
            for plane in spec.control_planes
            if spec.config_cluster(plane).name == config
            for cluster in spec.served_by(plane)
        )
        pushes.append(Push(config, traffic.host(service), time.time(), sources))
        objects.apply(traffic.mesh, site.kubes()[config], namespace, pin(service))
        running.note(f"a route is pushed in {config}")
    for push in pushes:
        others = [source for source in push.sources if source != lost]
        _wait_in_force(traffic, services, push, others)
    survivor = next(cluster.name for cluster in spec.data_planes if cluster.name != lost)
    traffic.requests(
        survivor,
        traffic.host(services.killer),
        manifests.HTTP,
        path="/end",
        address=services.addresses.get(survivor, ""),
    )
    running.note(f"an endpoint in {lost} dies")
    return tuple(pushes), time.time()


def _wait_in_force(
    traffic: Traffic, services: Services, push: Push, sources: Sequence[str]
) -> None:
    """Wait until only the cluster of the pushed route answers, or the time is over.

    The record tells how it ended, and the judge judges.
    """

    def ask(source: str) -> tuple[Request, ...]:
        address = services.addresses.get(source, "")
        return traffic.requests(source, push.host, manifests.HTTP, count=5, address=address)

    def only_there() -> bool:
        sent = traffic.from_each(sources, ask)
        return all(
            request.answer and request.answer.cluster == push.config_cluster
            for requests in sent
            for request in requests
        )

    within = traffic.timeouts.config_propagation
    try:
        eventually(only_there, bool, within_seconds=within, what="the pushed route in force")
    except NotInTime:
        pass


def _add_endpoint(traffic: Traffic, kube: Kube, services: Services, lost: str) -> float:
    """Add an endpoint to the late service in the lost cluster; when that was."""
    namespace, pod = traffic.probes.namespace, traffic.probes.servers(lost)[0]
    endpoint = late_endpoint(services.late, pod, namespace)
    objects.apply(traffic.mesh, kube, namespace, endpoint)
    return time.time()


def _wait_returned(traffic: Traffic, running: Running, lost: str, since: float) -> None:
    sources = [cluster.name for cluster in traffic.mesh.spec.data_planes]

    def seen(timeline: Timeline) -> bool:
        late = (first_answered(timeline, Purpose.LATE, source, lost, since) for source in sources)
        return all(late)

    wait_for(running, traffic.timeouts.remote_sync + BACK_OFF_SECONDS, seen)


def _control_plane_addresses(kube: Kube, namespace: str) -> Iterator[tuple[str, int]]:
    """Where the proxies of a remote cluster reach their control plane."""
    for item in kube.list("EndpointSlice", namespace, labels=f"{SERVICE_LABEL}=istiod"):
        for endpoint in item.get("endpoints") or ():
            for address in endpoint["addresses"]:
                yield str(address), manifests.CONTROL_PLANE[0]
