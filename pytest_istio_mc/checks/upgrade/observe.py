"""Observes a change: counts traffic and samples the mesh while a command runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ...probes import counted_services, counting
from ...rights import ROUTES, SERVICES, uses
from ..control_plane.observe import DRY_RUN
from ..site import Site
from .facts import Commanded, ProxyLook, Unread, Watched
from .observe_planes import Samples, proxies

QUIET_SECONDS = 10.0
"""Of traffic before the command, which must lose nothing, or what is lost later says nothing."""

SETTLE_SECONDS = 15.0
"""Of traffic after the command: what it sets going may come a moment later."""

Run = Callable[[Callable[[], None]], Commanded]
"""Runs the command; it calls what it is given every now and then."""


@uses(SERVICES, ROUTES, DRY_RUN)
def watched(site: Site) -> Watched | None:
    """The change that the gate watched in this session; None without one."""
    return site.watched()


@contextmanager
def prepared(site: Site) -> Iterator[Mapping[str, str]]:
    """What is counted with, made and in force; the pairs that get no answers, and why."""
    traffic = site.traffic()
    with counted_services.services(traffic, site.kubes()):
        yield {
            f"{one} to {two}": why for (one, two), why in counted_services.ready(traffic).items()
        }


def watch(site: Site, unready: Mapping[str, str], run: Run, tell: Callable[[str], None]) -> Watched:
    """Count and sample before, during and after a command; ``tell`` is told of the phases.

    - Whatever becomes of the command, what was counted is in the result.
    - What cannot be read is in it, too; raised is only what keeps the counting from starting.
    """
    traffic, kubes, mesh = site.traffic(), site.kubes(), site.here.mesh
    missing: list[Unread] = []
    before = _looked(site, "before", missing)
    plans = counted_services.plans(mesh, traffic.host)
    senders, samples = counting.Counting(traffic, kubes, plans), Samples(site)
    began = time.time()
    senders.start()
    try:
        with samples.going_on():
            _pass(senders, QUIET_SECONDS, tell, "traffic before the command")
            samples.next_phase()
            command = run(senders.poll)
            samples.next_phase()
            _pass(senders, SETTLE_SECONDS, tell, "traffic after the command")
    except BaseException:
        senders.abandon()
        raise
    counts = senders.finish()
    return Watched(
        began=began,
        ended=time.time(),
        command=command,
        counts=counts,
        admissions=samples.admissions,
        istiods=samples.istiods,
        pods=samples.pods,
        endpoints=samples.endpoints,
        proxies_before=before,
        proxies_after=_looked(site, "after", missing),
        unread=(*samples.unread, *missing),
        unready=dict(unready),
        namespace=traffic.probes.namespace,
        apart=mesh.spec.federated,
    )


def _looked(site: Site, when: str, missing: list[Unread]) -> tuple[ProxyLook, ...]:
    found, failures = proxies(site)
    missing += (Unread(f"the proxy of {pod} {when} the command", 1, why) for pod, why in failures)
    return found


def _pass(
    senders: counting.Counting, seconds: float, tell: Callable[[str], None], what: str
) -> None:
    tell(f"{what}: {seconds:g} s")
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, counting.POLL_SECONDS))
        senders.poll()
