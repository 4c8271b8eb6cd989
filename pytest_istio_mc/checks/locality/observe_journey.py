"""Observes a journey: a client asks while its nearest servers go and return."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import NotInTime
from ...eventually import eventually
from ...probes.polling import Polling, polling
from ...probes.settling import await_service
from ...statistics import sample_size
from ...timelines import Record, answered_in
from ..site import Site
from .facts import EJECTION_SECONDS, FAILURES_TO_EJECT, FailoverStage, Journey, Order
from .observe_service import OwnService, own_service

OUTLIER_DETECTION: Mapping[str, Any] = {
    "consecutive5xxErrors": FAILURES_TO_EJECT,
    "interval": "100ms",
    "baseEjectionTime": f"{EJECTION_SECONDS:g}s",
    # the default, 10 %, ejects none of a few endpoints, whatever they do
    "maxEjectionPercent": 100,
}
"""Without any, Istio fails over to nobody; this one is quick, so that a check is, too."""

SETTLED_SECONDS = 1.05
"""A rest before instances fall ill, so that only those requests fail that it takes to eject them.

Envoy tells its workers about endpoints that fail or recover at most once a second
(``update_merge_window``): an ejection right after another change is late.
"""

IN_A_ROW = 8
"""So many answers of the right clusters in a row show that the proxy has been told."""


def journey(
    site: Site, tiers: Order, purpose: str, policy: Mapping[str, Any], *, ill: bool = True
) -> Journey:
    """One client's way through a failover, up to a stage that does not come about.

    The nearest lose their endpoints, tier by tier, and get them back. With ``ill`` they then fall
    ill, tier by tier, and are well again.
    """
    stages: list[FailoverStage] = []
    with own_service(site, tiers.source, purpose, policy) as service:
        service.take_endpoints(tiers.unseen)
        await_service(
            service.traffic,
            service.kubes,
            tiers.source,
            service.name,
            tiers.clusters,
            address=service.address,
        )
        title = f"{tiers.source} to {service.name}"
        with polling(
            service.traffic, tiers.source, service.host, service.address, title
        ) as running:
            try:
                for stage in _Watch(service, tiers, running).stages(ill=ill):
                    stages.append(stage)
                    if stage.seconds is None:
                        break
            finally:
                if ill:
                    service.make_ill(tiers.clusters, begins=False)
        return Journey(tiers, tuple(stages), running.timeline)


@dataclass(frozen=True)
class _Watch:
    """A service, the right order for its client, and the client's requests."""

    service: OwnService
    tiers: Order
    running: Polling

    def stages(self, *, ill: bool) -> Iterator[FailoverStage]:
        """Bring about one stage after the other, and watch each."""
        service, running = self.service, self.running
        yield self._until_settled("all are there", time.time())
        gone: tuple[str, ...] = ()
        for tier in self.tiers.tiers[:-1]:
            gone += tier.clusters
            name = f"without endpoints of {' and '.join(gone)}"
            began = time.time()
            with running.marked(name):
                service.take_endpoints(tier.clusters)
            yield self._until_settled(name, began, absent=gone)
        if gone:
            name, began = "all are back", time.time()
            with running.marked(name):
                service.give_endpoints(gone)
            yield self._until_settled(name, began, rest_seconds=SETTLED_SECONDS if ill else 0.0)
        failing: tuple[str, ...] = ()
        for tier in self.tiers.tiers[:-1] if ill else ():
            failing += tier.clusters
            name = f"while {' and '.join(failing)} are ill"
            began = time.time()
            with running.marked(name):
                service.make_ill(tier.clusters)
            yield self._until_settled(name, began, failing=failing)
        if failing:
            name = "all are well again"
            with running.marked(name):
                service.make_ill(failing, begins=False)
            yield self._until_settled(name, time.time(), rest_seconds=SETTLED_SECONDS, lasting=True)

    def _until_settled(
        self,
        name: str,
        began: float,
        *,
        absent: tuple[str, ...] = (),
        failing: tuple[str, ...] = (),
        rest_seconds: float = 0.0,
        lasting: bool = False,
    ) -> FailoverStage:
        """Look on until the nearest alone have answered for a while.

        - That is a few times in a row, then for a sample, and for a rest.
        - With ``lasting`` a lapse begins the wait anew: Envoy may be late to eject a server for
          what it did while it was ill.
        """
        running, nearest = self.running, self.tiers.nearest((*absent, *failing))
        budget = self.service.traffic.timeouts.endpoint_propagation
        budget += 0 if absent or failing else EJECTION_SECONDS
        # those that are ill cannot be mistaken for a preference: it takes fewer to tell the others
        size = max(IN_A_ROW, sample_size(len(self.tiers.clusters) - len(failing)))

        def is_right(record: Record) -> bool:
            return answered_in(record) in nearest

        def look() -> tuple[tuple[Record, ...], Record | None]:
            flow = running.so_far()
            records = tuple(record for record in flow.records if record.when >= began)
            lapses = [one.when for one in records if not is_right(one)] if lasting else []
            since = lapses[-1] if lapses else began
            return records, flow.steady_from(IN_A_ROW, is_right, since)

        def seen_enough(seen: tuple[tuple[Record, ...], Record | None]) -> bool:
            records, first = seen
            if first is None:
                return False
            # what the ill answer when they are tried again does not count
            answered = sum(record.succeeded and record.when >= first.when for record in records)
            return records[-1].when - first.when >= rest_seconds and answered >= size

        def over(seen: tuple[tuple[Record, ...], Record | None]) -> bool:
            return running.is_broken or seen_enough(seen)

        try:
            records, first = eventually(
                look, over, within_seconds=budget + rest_seconds, what=name, every_seconds=0.03
            ).value
        except NotInTime:
            # where the shift came about, what is missing is a sample, for the judge to tell
            records, first = look()
            if lasting:
                first = None
        running.check_error()
        shift = float("inf") if first is None else first.when
        return FailoverStage(
            source=self.tiers.source,
            host=self.service.host,
            name=name,
            nearest=nearest,
            absent=absent,
            failing=failing,
            before=tuple(record for record in records if record.when < shift),
            after=tuple(record for record in records if record.when >= shift),
            seconds=None if first is None else first.answered_at - began,
            budget_seconds=budget,
            wanted=size,
            view=self.service.view(),
        )
