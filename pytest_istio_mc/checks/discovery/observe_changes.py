"""Endpoints that come and go in one cluster, and what clients everywhere see of it meanwhile."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from ...errors import NotInTime
from ...eventually import eventually
from ...observations import Protocol, Request
from ...probes import manifests, objects
from ...probes.flows import FlowPlan, Running, flowing
from ...probes.sampling import by_name_alone
from ...probes.settling import held_back
from ...probes.traffic import Traffic
from ...statistics import least_share, sample_size
from ...timelines import Timeline
from ...together import for_each
from .facts import EndpointChange, EndpointChanges, Unready

if TYPE_CHECKING:
    from ...kube import Kube

IN_A_ROW = 5
"""How many requests in a row must be answered before a new endpoint counts as seen."""

STAYS_GONE_PROBABILITY = 1e-4
"""How likely an endpoint that is still in use gives no answer, with an even share, in the requests after which it counts as gone."""

_FIRST_TRIES = (0.25, 0.25, 0.5, 1.0)
_NOBODY = "nobody"
_QUICKEST, _MOST_A_SECOND = 0.08, 100
"""The shortest interval of a flow, and how many requests all flows may send in a second; probes share the machine with the mesh."""


def appearing(traffic: Traffic, kubes: Mapping[str, Kube]) -> EndpointChanges:
    """A service for each cluster, known everywhere and without instances until that cluster's servers become its only ones.

    Clients of all clusters ask for it all the time, until ``IN_A_ROW`` requests of each were answered or ``endpoint_propagation`` is
    over.
    """
    with _services(traffic, kubes, "new-in", {}) as services:
        if unready := services.wait_known():
            return EndpointChanges(Timeline(()), (), IN_A_ROW, unready=unready)
        with (
            services.flowing(services.plans(keep_alive=(False,))) as running,
            running.marked("endpoints on their way"),
        ):
            changes = services.change_all(running, come=True)
            services.watch(
                running, lambda timeline: all(flow.steady_from(IN_A_ROW) for flow in timeline.flows)
            )
        return EndpointChanges(running.timeline, changes, IN_A_ROW)


def leaving(traffic: Traffic, kubes: Mapping[str, Kube]) -> EndpointChanges:
    """A service for each cluster, that has instances in all of them until that cluster's leave.

    Clients of all clusters ask for it all the time, over new and over kept connections, until the cluster that left has not answered
    any more for a while, or ``endpoint_propagation`` is over. One stream a client goes to the probe service, whose endpoints stay.
    """
    mesh = traffic.mesh
    clusters = [cluster.name for cluster in mesh.spec.data_planes]
    waiting = for_each(lambda source: held_back(mesh, kubes[source], source), clusters)
    idle = frozenset(
        (source, target) for source, held in zip(clusters, waiting, strict=True) for target in held
    )
    enough = sample_size(least_share(mesh.spec), STAYS_GONE_PROBABILITY)
    with _services(
        traffic, kubes, "leaves", dict.fromkeys(clusters, traffic.probes.service)
    ) as services:
        if unready := services.wait_answered(idle):
            return EndpointChanges(Timeline(()), (), enough, idle, unready)
        streams = [
            FlowPlan(
                source,
                traffic.host(traffic.probes.service),
                manifests.TCP,
                Protocol.TCP,
                stream=True,
                name=f"{source}: a stream",
            )
            for source in clusters
        ]
        plans = services.plans(keep_alive=(False, True))
        with services.flowing([*plans, *streams]) as running:
            services.settle(running, idle)
            with running.marked("endpoints on their way out"):
                changes = services.change_all(running, come=False)

                def gone(timeline: Timeline) -> bool:
                    cells = [
                        (timeline.to(change.host).from_source(source), change)
                        for change in changes
                        for source in clusters
                    ]
                    return all(
                        cell.answered_without(change.target, change.when) >= enough
                        for cell, change in cells
                    )

                services.watch(running, gone)
        return EndpointChanges(running.timeline, changes, enough, idle)


class _Services:
    """One service for each cluster with workloads, which exists in all of them."""

    def __init__(self, traffic: Traffic, kubes: Mapping[str, Kube], prefix: str) -> None:
        self._traffic, self._kubes, self._prefix = traffic, kubes, prefix
        self._clusters = [cluster.name for cluster in traffic.mesh.spec.data_planes]
        self._addresses = by_name_alone(traffic)

    def apply(self, apps: Mapping[str, str]) -> None:
        """Make them, with the pods of these apps by cluster behind them."""

        def apply(cluster: str) -> None:
            kube, namespace = self._kubes[cluster], self._traffic.probes.namespace
            app = apps.get(cluster, _NOBODY)
            kube.apply(
                *(manifests.extra_service(self._name(target), app) for target in self._clusters),
                namespace=namespace,
            )

        for_each(apply, self._clusters)

    def rules(self) -> dict[str, list[manifests.Manifest]]:
        """What control planes are told of them: nothing, or where several clusters are behind one gateway, that each request is to have
        a connection to itself."""
        if not self._traffic.mesh.spec.several_behind_a_gateway:
            return {}
        mesh = self._traffic.mesh
        return objects.everywhere(
            mesh,
            [],
            [objects.destination_rule(mesh.spec, self._name(target)) for target in self._clusters],
        )

    def remove(self) -> None:
        """Remove them."""

        def remove(cluster: str) -> None:
            for target in self._clusters:
                self._kubes[cluster].delete(
                    "Service", self._name(target), self._traffic.probes.namespace
                )

        for_each(remove, self._clusters)

    def host(self, target: str) -> str:
        """The name of a cluster's service."""
        return self._traffic.host(self._name(target))

    def plans(self, keep_alive: Sequence[bool]) -> list[FlowPlan]:
        """Requests from every client to every one of them."""
        cells = [
            (source, target, keep)
            for source in self._clusters
            for target in self._clusters
            for keep in keep_alive
        ]
        interval = max(_QUICKEST, len(cells) / _MOST_A_SECOND)
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
            for source, target, keep in cells
        ]

    def flowing(self, plans: Sequence[FlowPlan]) -> AbstractContextManager[Running]:
        """Send; for so long at most as everything that follows may take."""
        most = (
            2 * self._traffic.timeouts.endpoint_propagation
            + 2 * self._traffic.timeouts.kube_request
        )
        return flowing(self._traffic, plans, at_most_seconds=most)

    def wait_known(self) -> tuple[Unready, ...]:
        """Until every client's proxy knows every one of them, and that there is nobody behind it; which do not, where that takes too
        long."""

        def unknown(source: str, target: str, sent: Sequence[Request]) -> Iterator[Unready]:
            if not all(
                request.status == 503 and "no healthy upstream" in request.error for request in sent
            ):
                yield Unready(source, target, _seen(sent))

        return self._wait(1, unknown)

    def wait_answered(self, idle: frozenset[tuple[str, str]]) -> tuple[Unready, ...]:
        """Until every client is answered by all clusters under every one of their names, but by those that wait behind nearer ones;
        which are not, where that takes too long."""

        def unanswered(source: str, _: str, sent: Sequence[Request]) -> Iterator[Unready]:
            answered = {request.answer.cluster for request in sent if request.answer}
            missing = [
                target
                for target in self._clusters
                if (source, target) not in idle and target not in answered
            ]
            failed = [""] if not missing and any(not request.succeeded for request in sent) else []
            yield from (Unready(source, target, _seen(sent)) for target in missing + failed)

        return self._wait(sample_size(least_share(self._traffic.mesh.spec), 1e-2), unanswered)

    def settle(self, running: Running, idle: frozenset[tuple[str, str]]) -> None:
        """Until every flow has sent some requests, and every client was answered by every cluster whose service it asks for, but by those
        that wait behind nearer ones."""
        cells = [
            (source, target)
            for source in self._clusters
            for target in self._clusters
            if (source, target) not in idle
        ]

        def settled(timeline: Timeline) -> bool:
            asked = (
                (timeline.to(self.host(target)).from_source(source), target)
                for source, target in cells
            )
            return all(len(flow.records) > IN_A_ROW for flow in timeline.flows) and all(
                cell.last_answer(target) for cell, target in asked
            )

        within = self._traffic.timeouts.endpoint_propagation
        eventually(
            running.so_far,
            settled,
            within_seconds=within,
            what="requests to be sent, and answered by every cluster",
        )

    def change_all(self, running: Running, *, come: bool) -> tuple[EndpointChange, ...]:
        """Let each cluster's servers become endpoints of its service, or be so no more; returns once the EndpointSlices say so."""

        def change(target: str) -> EndpointChange:
            kube, name, namespace = (
                self._kubes[target],
                self._name(target),
                self._traffic.probes.namespace,
            )
            app = self._traffic.probes.service if come else _NOBODY
            kube.merge("Service", name, namespace, {"spec": {"selector": {"app": app}}})
            eventually(
                lambda: has_endpoints(kube, name, namespace),
                lambda ready: ready is come,
                within_seconds=self._traffic.timeouts.endpoint_propagation,
                what=f'cluster "{target}": EndpointSlice of {name} to have {"an" if come else "no"} endpoint',
                every_seconds=0.02,
            )
            running.note(
                f"{target}: the EndpointSlice has {'its' if come else 'no'} endpoint{'' if come else ' any more'}"
            )
            return EndpointChange(target, self.host(target), time.time())

        return tuple(for_each(change, self._clusters))

    def watch(self, running: Running, done: Callable[[Timeline], bool]) -> None:
        """Until something holds, or the budget, counted from the last change, is over; the judge tells which."""
        try:
            eventually(
                running.so_far,
                done,
                within_seconds=self._traffic.timeouts.endpoint_propagation,
                what="endpoints to be seen as they are",
            )
        except NotInTime:
            return

    def _wait(
        self, count: int, wrong: Callable[[str, str, Sequence[Request]], Iterator[Unready]]
    ) -> tuple[Unready, ...]:
        """Ask for every one of them from everywhere until nothing is wrong, or ``endpoint_propagation`` is over: then what is."""

        def ask(cell: tuple[str, str], patience: float) -> list[Unready]:
            source, target = cell
            address, host = self._addresses.get(source, ""), self.host(target)
            sent = self._traffic.requests(
                source,
                host,
                manifests.HTTP,
                count=count,
                concurrency=4,
                address=address,
                timeout_seconds=patience,
            )
            return list(wrong(source, target, sent))

        def observe() -> dict[tuple[str, str], Unready]:
            patience = next(patiences)
            found = self._traffic.from_each(cells, lambda cell: ask(cell, patience))
            return {(one.source, one.target): one for several in found for one in several}

        cells = [(source, target) for source in self._clusters for target in self._clusters]
        patiences = growing_patience(self._traffic)
        last: dict[tuple[str, str], Unready] = {}

        def ready(found: dict[tuple[str, str], Unready]) -> bool:
            last.clear()
            last.update(found)
            return not found

        budget = self._traffic.timeouts.endpoint_propagation
        try:
            eventually(
                observe,
                ready,
                within_seconds=budget,
                what=f"services {self._prefix}-* in every client's proxy",
            )
        except NotInTime:
            if not last:
                raise  # nothing could be asked
        return tuple(last.values())

    def _name(self, target: str) -> str:
        return f"{self._prefix}-{target}"


@contextmanager
def _services(
    traffic: Traffic, kubes: Mapping[str, Kube], prefix: str, apps: Mapping[str, str]
) -> Iterator[_Services]:
    services = _Services(traffic, kubes, prefix)
    with objects.present(kubes, traffic.probes.namespace, services.rules()):
        try:
            services.apply(apps)
            yield services
        finally:
            services.remove()


def growing_patience(traffic: Traffic) -> Iterator[float]:
    """Time-outs for requests that are tried until they succeed, short at first: one that is too early goes past the mesh, and where the
    node does not know its address yet either, it gets no answer ever."""
    return itertools.chain(
        (min(seconds, traffic.timeouts.request) for seconds in _FIRST_TRIES),
        itertools.repeat(traffic.timeouts.request),
    )


def has_endpoints(kube: Kube, service: str, namespace: str) -> bool:
    """Whether the EndpointSlices of a service have an endpoint that is ready."""
    slices = kube.list("EndpointSlice", namespace, labels=f"kubernetes.io/service-name={service}")
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
