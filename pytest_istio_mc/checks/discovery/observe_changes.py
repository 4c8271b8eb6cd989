"""Observes endpoints that come and go in one cluster, as clients everywhere see it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING

from ...errors import NotInTime
from ...eventually import eventually
from ...istio_names import SERVICE_LABEL
from ...observations import Protocol, Request
from ...probes import manifests, objects
from ...probes.flows import FlowPlan, Running, flowing
from ...probes.sampling import by_name_alone
from ...probes.settling import held_back
from ...probes.traffic import Traffic
from ...rights import RULES, SERVICES, uses
from ...statistics import least_share, sample_size
from ...timelines import Timeline
from ...together import for_each
from ..site import Site
from .facts import EndpointChange, EndpointChanges, Unready

if TYPE_CHECKING:
    from ...kube import Kube

IN_A_ROW = 5
"""How many requests in a row must be answered before a new endpoint counts as seen."""

STAYS_GONE_PROBABILITY = 1e-4
"""How likely an endpoint in use, with an even share, is missed when it is taken for gone."""

_FIRST_TRIES = (0.25, 0.25, 0.5, 1.0)
_NOBODY = "nobody"
_QUICKEST, _MOST_A_SECOND = 0.08, 100
"""The shortest interval of a flow, and how many requests all flows may send in a second.

Probes share the machine with the mesh.
"""

Pair = tuple[str, str]
"""Names of clusters: source, target."""


@uses(SERVICES, RULES)
def appearing(site: Site) -> EndpointChanges:
    """Services without instances, until the servers of one cluster become each one's only ones.

    - There is one for each cluster; it is known everywhere.
    - Clients of all clusters ask for them all the time, until ``IN_A_ROW`` requests of each were
      answered or ``endpoint_propagation`` is over.
    """
    with _services(site, "new-in", {}) as services:
        if unready := services.wait_known():
            return EndpointChanges(Timeline(()), (), IN_A_ROW, unready=unready)
        with (
            services.flowing(services.plans(keep_alive=(False,))) as running,
            running.marked("endpoints on their way"),
        ):
            changes = services.change_all(running, come=True)
            services.watch(
                running, lambda line: all(one.steady_from(IN_A_ROW) for one in line.flows)
            )
        return EndpointChanges(running.timeline, changes, IN_A_ROW)


@uses(SERVICES, RULES)
def leaving(site: Site) -> EndpointChanges:
    """Services with instances in all clusters, until those of one cluster leave each of them.

    - There is one for each cluster.
    - Clients of all clusters ask for them all the time, over new and over kept connections, until
      the cluster that left has not answered any more for a while, or ``endpoint_propagation`` is
      over.
    - One stream a client goes to the probe service, whose endpoints stay.
    """
    traffic, kubes = site.traffic(), site.kubes()
    mesh, service = traffic.mesh, traffic.probes.service
    clusters = [cluster.name for cluster in mesh.spec.data_planes]
    waiting = for_each(lambda source: held_back(mesh, kubes[source], source), clusters)
    idle = frozenset(
        (source, target) for source, held in zip(clusters, waiting, strict=True) for target in held
    )
    enough = sample_size(least_share(mesh.spec), STAYS_GONE_PROBABILITY)
    with _services(site, "leaves", dict.fromkeys(clusters, service)) as services:
        if unready := services.wait_answered(idle):
            return EndpointChanges(Timeline(()), (), enough, idle, unready)
        host, tcp = traffic.host(service), (manifests.TCP, Protocol.TCP)
        streams = [
            FlowPlan(source, host, *tcp, stream=True, name=f"{source}: a stream")
            for source in clusters
        ]
        plans = services.plans(keep_alive=(False, True))
        with services.flowing([*plans, *streams]) as running:
            services.settle(running, idle)
            with running.marked("endpoints on their way out"):
                changes = services.change_all(running, come=False)

                def gone(line: Timeline) -> bool:
                    return all(
                        line.to(change.host)
                        .from_source(source)
                        .answered_without(change.target, change.when)
                        >= enough
                        for change in changes
                        for source in clusters
                    )

                services.watch(running, gone)
        return EndpointChanges(running.timeline, changes, enough, idle)


class _Services:
    """One service for each cluster with workloads, which exists in all of them."""

    def __init__(self, site: Site, prefix: str) -> None:
        self._traffic, self._kubes, self._prefix = site.traffic(), site.kubes(), prefix
        self._spec, self._probes = self._traffic.mesh.spec, self._traffic.probes
        self._budget = self._traffic.timeouts.endpoint_propagation
        self._clusters = [cluster.name for cluster in self._spec.data_planes]
        self._pairs = list(itertools.product(self._clusters, self._clusters))
        self._addresses = by_name_alone(self._traffic)

    def apply(self, apps: Mapping[str, str]) -> None:
        """Make them, with the pods of these apps by cluster behind them."""

        def apply(cluster: str) -> None:
            app = apps.get(cluster, _NOBODY)
            made = (manifests.extra_service(self._name(target), app) for target in self._clusters)
            namespace = self._probes.namespace
            objects.apply(self._traffic.mesh, self._kubes[cluster], namespace, *made)

        for_each(apply, self._clusters)

    def rules(self) -> dict[str, list[manifests.Manifest]]:
        """What control planes are told of them.

        Where several clusters are behind one gateway, each request is to have a connection to
        itself; else nothing.
        """
        if not self._spec.several_behind_a_gateway:
            return {}
        names = map(self._name, self._clusters)
        rules = [objects.destination_rule(self._spec, name) for name in names]
        return objects.everywhere(self._traffic.mesh, [], rules)

    def remove(self) -> None:
        """Remove them."""

        def remove(cluster: str) -> None:
            for target in self._clusters:
                name, namespace = self._name(target), self._probes.namespace
                mesh, kube = self._traffic.mesh, self._kubes[cluster]
                objects.remove(mesh, kube, namespace, "Service", name)

        for_each(remove, self._clusters)

    def host(self, target: str) -> str:
        """The name of a cluster's service."""
        return self._traffic.host(self._name(target))

    def plans(self, keep_alive: Sequence[bool]) -> list[FlowPlan]:
        """Requests from every client to every one of them."""
        interval = max(_QUICKEST, len(self._pairs) * len(keep_alive) / _MOST_A_SECOND)
        return [
            FlowPlan(
                source,
                self.host(target),
                manifests.HTTP,
                keep_alive=keep,
                interval_seconds=interval,
                name=f"{source} to {self._name(target)}, {'kept' if keep else 'new'} connections",
                address=self._addresses.get(source, ""),
            )
            for source, target in self._pairs
            for keep in keep_alive
        ]

    def flowing(self, plans: Sequence[FlowPlan]) -> AbstractContextManager[Running]:
        """Send; for so long at most as everything that follows may take."""
        most = 2 * (self._budget + self._traffic.timeouts.kube_request)
        return flowing(self._traffic, plans, at_most_seconds=most)

    def wait_known(self) -> tuple[Unready, ...]:
        """Wait until every client's proxy knows every one of them, and nobody behind it.

        Gives those that do not, where that takes too long.
        """

        def unknown(source: str, target: str, sent: Sequence[Request]) -> Iterator[Unready]:
            if not all(
                request.status == 503 and "no healthy upstream" in request.error for request in sent
            ):
                yield Unready(source, target, _seen(sent))

        return self._wait(1, unknown)

    def wait_answered(self, idle: frozenset[Pair]) -> tuple[Unready, ...]:
        """Wait until all clusters answer every client under every one of their names.

        - ``idle`` pairs, which wait behind nearer ones, do not count.
        - Gives those that do not answer, where that takes too long.
        """

        def unanswered(source: str, _: str, sent: Sequence[Request]) -> Iterator[Unready]:
            answered = {request.answer.cluster for request in sent if request.answer}
            missing = [
                target
                for target in self._clusters
                if (source, target) not in idle and target not in answered
            ]
            failed = [""] if not missing and any(not request.succeeded for request in sent) else []
            yield from (Unready(source, target, _seen(sent)) for target in missing + failed)

        return self._wait(sample_size(least_share(self._spec), 1e-2), unanswered)

    def settle(self, running: Running, idle: frozenset[Pair]) -> None:
        """Wait until every flow has sent some requests, and all pairs but ``idle`` ones answered.

        A pair has where the cluster answered the client under the name of its own service.
        """

        def settled(line: Timeline) -> bool:
            return all(len(flow.records) > IN_A_ROW for flow in line.flows) and all(
                line.to(self.host(target)).from_source(source).last_answer(target)
                for source, target in self._pairs
                if (source, target) not in idle
            )

        what = "requests to be sent, and answered by every cluster"
        eventually(running.so_far, settled, within_seconds=self._budget, what=what)

    def change_all(self, running: Running, *, come: bool) -> tuple[EndpointChange, ...]:
        """Let each cluster's servers become endpoints of its service, or be so no more.

        Returns once the EndpointSlices say so.
        """
        app = self._probes.service if come else _NOBODY
        change_to = "an" if come else "no"
        told = "the EndpointSlice has " + ("its endpoint" if come else "no endpoint any more")

        def change(target: str) -> EndpointChange:
            kube, name, namespace = self._kubes[target], self._name(target), self._probes.namespace
            kube.merge("Service", name, namespace, {"spec": {"selector": {"app": app}}})
            eventually(
                lambda: has_endpoints(kube, name, namespace),
                lambda ready: ready is come,
                within_seconds=self._budget,
                what=f'cluster "{target}": EndpointSlice of {name} to have {change_to} endpoint',
                every_seconds=0.02,
            )
            running.note(f"{target}: {told}")
            return EndpointChange(target, self.host(target), time.time())

        return tuple(for_each(change, self._clusters))

    def watch(self, running: Running, done: Callable[[Timeline], bool]) -> None:
        """Wait until something holds, or the budget is over since the last change.

        The judge tells which.
        """
        what = "endpoints to be seen as they are"
        with suppress(NotInTime):
            eventually(running.so_far, done, within_seconds=self._budget, what=what)

    def _wait(
        self, count: int, wrong: Callable[[str, str, Sequence[Request]], Iterator[Unready]]
    ) -> tuple[Unready, ...]:
        """Ask for every one of them from everywhere until nothing is wrong.

        Gives what is wrong still when ``endpoint_propagation`` is over.
        """
        patiences = growing_patience(self._traffic)
        last: dict[Pair, Unready] = {}

        def ask(pair: Pair, patience: float) -> list[Unready]:
            source, target = pair
            sent = self._traffic.requests(
                source,
                self.host(target),
                manifests.HTTP,
                count=count,
                concurrency=4,
                address=self._addresses.get(source, ""),
                timeout_seconds=patience,
            )
            return list(wrong(source, target, sent))

        def observe() -> dict[Pair, Unready]:
            patience = next(patiences)
            found = self._traffic.from_each(self._pairs, lambda pair: ask(pair, patience))
            return {(one.source, one.target): one for several in found for one in several}

        def ready(found: dict[Pair, Unready]) -> bool:
            last.clear()
            last.update(found)
            return not found

        what = f"services {self._prefix}-* in every client's proxy"
        try:
            eventually(observe, ready, within_seconds=self._budget, what=what)
        except NotInTime:
            if not last:
                raise  # nothing could be asked
        return tuple(last.values())

    def _name(self, target: str) -> str:
        return f"{self._prefix}-{target}"


@contextmanager
def _services(site: Site, prefix: str, apps: Mapping[str, str]) -> Iterator[_Services]:
    services = _Services(site, prefix)
    mesh, kubes = site.here.mesh, site.kubes()
    with objects.present(mesh, kubes, mesh.require_probes().namespace, services.rules()):
        try:
            services.apply(apps)
            yield services
        finally:
            services.remove()


def growing_patience(traffic: Traffic) -> Iterator[float]:
    """Time-outs for requests that are tried until they succeed, short at first.

    A request that is too early goes past the mesh. Where the node does not know its address yet
    either, it never gets an answer.
    """
    return itertools.chain(
        (min(seconds, traffic.timeouts.request) for seconds in _FIRST_TRIES),
        itertools.repeat(traffic.timeouts.request),
    )


def has_endpoints(kube: Kube, service: str, namespace: str) -> bool:
    """Whether the EndpointSlices of a service have an endpoint that is ready."""
    slices = kube.list("EndpointSlice", namespace, labels=f"{SERVICE_LABEL}={service}")
    endpoints = [endpoint for item in slices for endpoint in item.get("endpoints") or ()]
    return any((endpoint.get("conditions") or {}).get("ready") for endpoint in endpoints)


def _seen(sent: Sequence[Request]) -> str:
    told = [
        f"answered by {request.answer.cluster}"
        if request.succeeded and request.answer
        else request.failure
        for request in sent
    ]
    return "; ".join(f"{told.count(text)}× {text}" for text in dict.fromkeys(told))
