"""Services for losses: of their own for each purpose, leading to the probe servers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...eventually import eventually
from ...istio_names import CLUSTER_LABEL, SERVICE_LABEL
from ...mesh import Mesh, ProbePod
from ...observations import Request
from ...probes import manifests, objects
from ...probes.client_proxy import CLUSTERS, ROUTES, dumped
from ...probes.sampling import by_name_alone
from ...probes.traffic import Traffic
from ...spec import MeshSpec
from ...statistics import least_share, sample_size
from ...timelines import answered_in
from ...together import for_each
from ..site import Site

if TYPE_CHECKING:
    from ...kube import Kube

MORTAL = 5003
"""The port of the program that dies meanwhile; it runs beside the probe server."""

RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,reset,reset-before-request"
"""Istio's default lacks the last two.

A request that was on its way when its connection went is the user's to send again.
"""

_MORTAL_SECONDS = 300
_OUTLIERS = {
    "consecutive5xxErrors": 3,
    "interval": "1s",
    "baseEjectionTime": "60s",
    "maxEjectionPercent": 100,
}
_NOBODY = "nobody"
_DETACHED = (
    "import os, signal, sys\n"
    "os.fork() and os._exit(0)\n"
    "os.setsid()\n"
    "null = os.open('/dev/null', os.O_RDWR)\n"
    "[os.dup2(null, number) for number in range(3)]\n"
    "signal.alarm(int(sys.argv[1]))\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)
"""Run a program on after its exec has ended, for so many seconds at most.

An alarm outlives execve(2).
"""


@dataclass(frozen=True)
class Services:
    """The names of the services of one loss; ``pushed`` are by config cluster.

    ``addresses`` are those to which each client sends requests for them: the probe service's, which
    leads through the sidecar as well as any. The DNS of a cluster that has just lost its API server
    knows new names only when it tries again, after half a minute.
    """

    addresses: Mapping[str, str]
    pushed: Mapping[str, str]
    late: str
    dying: str
    killer: str

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.pushed.values(), self.late, self.dying, self.killer)


@contextmanager
def installed(site: Site, lost: str, config_clusters: list[str]) -> Iterator[Services]:
    """Services for the loss of a cluster's API server, answered everywhere; gone at the end.

    Routes are pushed in ``config_clusters``.
    """
    traffic, kubes = site.traffic(), site.kubes()
    spec, namespace = traffic.mesh.spec, traffic.probes.namespace
    tag = uuid.uuid4().hex[:6]
    pushed = {name: f"pushed-{place}-{tag}" for place, name in enumerate(config_clusters)}
    others = (f"{purpose}-{tag}" for purpose in ("late", "dying", "killer"))
    services = Services(by_name_alone(traffic), pushed, *others)
    clusters = [cluster.name for cluster in spec.data_planes]

    def install(cluster: str) -> None:
        _serve_mortally(traffic, kubes[cluster], cluster, mortal=cluster == lost)
        objects.apply(
            traffic.mesh,
            kubes[cluster],
            namespace,
            *_objects(traffic.mesh, services, lost, cluster),
        )
        if cluster in spec.config_clusters:
            objects.apply(traffic.mesh, kubes[cluster], namespace, *_rules(spec, services))

    def remove(cluster: str) -> None:
        for name in services.names:
            objects.remove(traffic.mesh, kubes[cluster], namespace, "Service", name)
            if cluster in spec.config_clusters:
                objects.remove(
                    traffic.mesh,
                    kubes[cluster],
                    namespace,
                    "DestinationRule.networking.istio.io",
                    name,
                )
        for name in services.pushed.values() if cluster in spec.config_clusters else ():
            objects.remove(
                traffic.mesh, kubes[cluster], namespace, "VirtualService.networking.istio.io", name
            )
        objects.remove(traffic.mesh, kubes[cluster], namespace, "EndpointSlice", services.late)

    def eject(cluster: str) -> None:
        policy = {"outlierDetection": _OUTLIERS, **objects.ANYWHERE}
        rule = objects.destination_rule(spec, services.dying, policy=policy)
        objects.apply(traffic.mesh, kubes[cluster], namespace, rule)

    try:
        for_each(install, clusters)
        _wait_answered(traffic, services, lost)
        # not before: an endpoint that is not ready yet would be ejected
        for_each(eject, spec.config_clusters)
        _wait_in_force(traffic, kubes, services.dying, "max_ejection_percent")
        wait_settled(traffic)
        yield services
    finally:
        for_each(remove, clusters)


@contextmanager
def connections_spread(site: Site) -> Iterator[None]:
    """Every request for the probe service has its own connection, where a gateway is shared.

    A gateway before several clusters spreads connections, and those that proxies keep would go on
    leading to the same cluster. Elsewhere nothing is changed.
    """
    traffic, kubes = site.traffic(), site.kubes()
    spec, namespace, service = traffic.mesh.spec, traffic.probes.namespace, traffic.probes.service
    if not spec.several_behind_a_gateway:
        yield
        return
    rule = objects.destination_rule(spec, service, policy={})
    with objects.present(
        traffic.mesh, kubes, namespace, objects.everywhere(traffic.mesh, [], [rule])
    ):
        _wait_in_force(traffic, kubes, service, "max_requests_per_connection")
        yield


@contextmanager
def only_in(site: Site, network: str) -> Iterator[tuple[str, str]]:
    """Two services known everywhere with endpoints in one network only; gone at the end.

    - All other networks reach them through that network's gateway.
    - Yields their names once they are answered so.
    - Proxies send requests to the second one again where a connection was reset.
    """
    traffic, kubes = site.traffic(), site.kubes()
    spec, namespace = traffic.mesh.spec, traffic.probes.namespace
    tag = uuid.uuid4().hex[:6]
    plain, retried = f"one-way-{tag}", f"one-way-retried-{tag}"
    inside = {cluster.name for cluster in spec.data_planes if cluster.network == network}
    clusters = [cluster.name for cluster in spec.data_planes]
    outside = [cluster for cluster in clusters if cluster not in inside]
    cells = [(source, name) for source in outside for name in (plain, retried)]
    addresses = by_name_alone(traffic)

    def install(cluster: str) -> None:
        app = traffic.probes.service if cluster in inside else _NOBODY
        services = [manifests.extra_service(name, app) for name in (plain, retried)]
        objects.apply(traffic.mesh, kubes[cluster], namespace, *services)
        if cluster in spec.config_clusters:
            http = {
                "route": [{"destination": {"host": retried}}],
                "retries": {"attempts": 5, "retryOn": RETRY_ON},
            }
            objects.apply(
                traffic.mesh, kubes[cluster], namespace, objects.virtual_service(retried, [http])
            )

    def remove(cluster: str) -> None:
        for name in (plain, retried):
            objects.remove(traffic.mesh, kubes[cluster], namespace, "Service", name)
        if cluster in spec.config_clusters:
            objects.remove(
                traffic.mesh,
                kubes[cluster],
                namespace,
                "VirtualService.networking.istio.io",
                retried,
            )

    def ask(cell: tuple[str, str]) -> tuple[Request, ...]:
        source, name = cell
        host, address = traffic.host(name), addresses.get(source, "")
        return traffic.requests(source, host, manifests.HTTP, count=5, address=address)

    def answered() -> bool:
        sent = traffic.from_each(cells, ask)
        return all(answered_in(request) in inside for requests in sent for request in requests)

    def retries(source: str) -> bool:
        dump = str(dumped(traffic.mesh, kubes[source], source, ROUTES))
        return retried in dump and RETRY_ON in dump

    try:
        for_each(install, clusters)
        within = traffic.timeouts.endpoint_propagation
        what = f"services answered through the gateway of {network}"
        eventually(answered, bool, within_seconds=within, what=what, times=2)
        what = f"retries of {retried} in force"
        eventually(lambda: all(map(retries, outside)), bool, within_seconds=within, what=what)
        yield plain, retried
    finally:
        for_each(remove, clusters)


def pin(service: str) -> manifests.Manifest:
    """The route that is pushed: to the endpoints of the cluster in which it is applied."""
    return objects.virtual_service(
        service, [{"route": [{"destination": {"host": service, "subset": "here"}}]}]
    )


def late_endpoint(service: str, pod: ProbePod, namespace: str) -> manifests.Manifest:
    """A probe server as an endpoint of a service, written by hand.

    No controller of a cluster that just came back is in the way of what is measured.
    """
    endpoint = {
        "addresses": [pod.ip],
        "conditions": {"ready": True},
        "targetRef": {"kind": "Pod", "name": pod.name, "namespace": namespace},
    }
    if pod.node:
        endpoint["nodeName"] = pod.node
    labels = {
        SERVICE_LABEL: service,
        "endpointslice.kubernetes.io/managed-by": "istio-mc",
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": service, "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": manifests.HTTP, "protocol": "TCP"}],
        "endpoints": [endpoint],
    }


def _serve_mortally(traffic: Traffic, kube: Kube, cluster: str, *, mortal: bool) -> None:
    """Start the program behind the dying services in every probe server of a cluster."""
    words = [*manifests.AGENT, "serve", f"{MORTAL}={'mortal' if mortal else 'http'}"]
    command = [manifests.AGENT[0], "-S", "-c", _DETACHED, str(_MORTAL_SECONDS), *words]
    for pod in traffic.probes.servers(cluster):
        kube.exec(traffic.probes.namespace, pod.name, manifests.CONTAINER, command)


def _objects(mesh: Mesh, services: Services, lost: str, cluster: str) -> list[manifests.Manifest]:
    app = mesh.require_probes().service
    made = [manifests.extra_service(name, app) for name in services.pushed.values()]
    late = manifests.extra_service(services.late, app)
    if cluster == lost:
        del late["spec"]["selector"]
    made.append(late)
    killed = app if cluster == lost else _NOBODY
    for name, behind in ((services.dying, app), (services.killer, killed)):
        service = manifests.extra_service(name, behind)
        service["spec"]["ports"][0]["targetPort"] = MORTAL
        made.append(service)
    return made


def _rules(spec: MeshSpec, services: Services) -> list[manifests.Manifest]:
    """A share for every instance, and the subsets of the services that are given a route."""
    plain = (services.late, services.dying)
    made = [objects.destination_rule(spec, name, policy={}) for name in plain]
    for cluster, name in services.pushed.items():
        subsets = {"here": {CLUSTER_LABEL: cluster}}
        made.append(objects.destination_rule(spec, name, policy={}, subsets=subsets))
    return made


def _wait_answered(traffic: Traffic, services: Services, lost: str) -> None:
    """Wait until every service is answered from everywhere by every cluster with endpoints."""
    clusters = [cluster.name for cluster in traffic.mesh.spec.data_planes]
    wanted = {name: set(clusters) for name in (*services.pushed.values(), services.dying)}
    wanted[services.late] = set(clusters) - {lost}
    wanted[services.killer] = {lost}
    cells = [(source, name) for source in clusters for name in wanted]
    count = sample_size(least_share(traffic.mesh.spec))

    def ask(cell: tuple[str, str]) -> tuple[Request, ...]:
        source, name = cell
        host, address = traffic.host(name), services.addresses.get(source, "")
        return traffic.requests(
            source, host, manifests.HTTP, count=count, concurrency=4, address=address
        )

    def missing() -> list[str]:
        problems = []
        for (source, name), requests in zip(cells, traffic.from_each(cells, ask), strict=True):
            good = [request.answer for request in requests if request.succeeded]
            seen = {answer.cluster for answer in good if answer}
            failed = [request.failure for request in requests if not request.succeeded]
            if seen != wanted[name] or failed:
                first = f"{len(failed)} failed: {failed[:1]}"
                problems.append(f"{source} to {name}: answered by {sorted(seen)}; {first}")
        return problems

    within = 2 * traffic.timeouts.endpoint_propagation
    what = "services for the outage answered"
    eventually(missing, lambda left: not left, within_seconds=within, what=what)


def _wait_in_force(traffic: Traffic, kubes: Mapping[str, Kube], service: str, sign: str) -> None:
    """Wait until every client's proxy has what its configuration of a service shows by ``sign``."""
    clusters = [cluster.name for cluster in traffic.mesh.spec.data_planes]

    def has(cluster: str) -> bool:
        found = dumped(traffic.mesh, kubes[cluster], cluster, CLUSTERS, f"{service}.")
        return sign in str(found)

    def missing() -> list[str]:
        held = for_each(has, clusters)
        return [cluster for cluster, there in zip(clusters, held, strict=True) if not there]

    within = traffic.timeouts.config_propagation
    what = f"the DestinationRule of {service} in force"
    eventually(missing, lambda left: not left, within_seconds=within, what=what)


def wait_settled(traffic: Traffic) -> None:
    """Wait until the probe service is answered without a failure, three times in a row.

    One more Service for a pod changes the inbound listener of its sidecar, which then ends the
    connections that it had (Envoy's draining); a request that meets such an end fails.
    """
    clusters = [cluster.name for cluster in traffic.mesh.spec.data_planes]
    host = traffic.host(traffic.probes.service)

    def ask(source: str) -> tuple[Request, ...]:
        return traffic.requests(source, host, manifests.HTTP, count=40, concurrency=4)

    def failed() -> int:
        sent = traffic.from_each(clusters, ask)
        return sum(not request.succeeded for requests in sent for request in requests)

    within = traffic.timeouts.endpoint_propagation
    what = "the probe service answered without a failure"
    eventually(failed, lambda count: not count, within_seconds=within, what=what, times=3)
