"""Losses as they are recorded when all is well, for the tests of judges to spoil."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from pytest_istio_mc.checks.apiserver.facts import (
    Delay,
    How,
    Isolation,
    Loss,
    Purpose,
    Push,
    Restart,
    Sign,
    flows,
    title,
)
from pytest_istio_mc.checks.eastwest.facts import GatewayLoss
from pytest_istio_mc.observations import Ending, Protocol
from pytest_istio_mc.spec import ClusterSpec, Role
from pytest_istio_mc.timelines import Flow, Record, Timeline
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.live_mesh import here, mesh

BEGAN, ENDED, HEALED, LAST = 1000.0, 1014.0, 1016.0, 1025.0
FIRST = BEGAN - 1
PUSHED, DIED = BEGAN + 1, BEGAN + 2
CLUSTERS = ("east", "west")
WITH_REMOTE = here(
    mesh(ClusterSpec("east", "network1"), ClusterSpec("west", "network2", Role.REMOTE, "east"))
)
"""West, whose API server is lost, is a remote cluster of east."""

Change = Callable[[Record], Record]
Seen = TypeVar("Seen", Loss, Isolation, GatewayLoss)


def record(when: float, cluster: str) -> Record:
    return Record(when, Ending.ANSWERED, 200, 0.004, True, cluster, f"hello-{cluster}", "v1")


def failure(one: Record, status: int = 503, text: str = "upstream connect error") -> Record:
    return replace(one, status=status, cluster="", pod="", error=text)


def silence(one: Record, late_seconds: float = 0.0) -> Record:
    return replace(
        one,
        ending=Ending.TIMEOUT,
        status=0,
        cluster="",
        pod="",
        error="timed out",
        late_seconds=late_seconds,
    )


def flow(
    source: str,
    purpose: Purpose,
    who: Callable[[float, int], str],
    *,
    detail: str = "",
    host: str = "helloworld",
) -> Flow:
    """One request every 0.2 s; ``who`` says who answers that of a time and number, or nobody."""
    records = []
    for number in range(int((LAST - FIRST) / 0.2)):
        when = FIRST + number * 0.2
        one = record(when, who(when, number))
        records.append(one if one.cluster else failure(one))
    return Flow(
        title(source, purpose, detail),
        source,
        host,
        5000,
        Protocol.HTTP,
        False,
        0.2,
        tuple(records),
        began=FIRST,
        ended=LAST,
    )


def turns(when: float, number: int, clusters: Sequence[str] = CLUSTERS) -> str:
    """One after the other."""
    return clusters[number % len(clusters)]


def loss(how: How = How.REFUSED, *, restart: Restart | None = None) -> Loss:
    """The loss of west's API server.

    A route is pushed in east, an endpoint in west dies, another one comes after the loss.
    """

    def pushed(source: str) -> Callable[[float, int], str]:
        return lambda when, number: (
            "east" if source == "east" and when > PUSHED + 0.3 else turns(when, number)
        )

    def dying(when: float, number: int) -> str:
        chosen = turns(when, number)
        return (
            ""
            if chosen == "west" and DIED < when < DIED + 1.2
            else "east"
            if when > DIED
            else chosen
        )

    def late(when: float, number: int) -> str:
        return turns(when, number) if when > HEALED + 2 else "east"

    every: list[Flow] = []
    for source in CLUSTERS:
        every += [
            flow(source, Purpose.PLAIN, turns, detail=detail)
            for detail in ("new connections", "kept connections")
        ]
        every.append(
            replace(
                flow(source, Purpose.PLAIN, lambda when, number: "west", detail="stream"),
                stream=True,
            )
        )
        every.append(flow(source, Purpose.PUSHED, pushed(source), detail="east", host="pushed"))
        every += [flow(source, Purpose.DYING, dying), flow(source, Purpose.LATE, late)]
    return Loss(
        lost="west",
        how=how,
        began=BEGAN,
        ended=ENDED,
        healed=HEALED,
        timeline=Timeline(tuple(every)),
        planes=("east",),
        statuses=("istiod of east: synced",),
        signs=(Sign("log", "west", "error retrieving resource lock", 1.2, lost_cluster=True),),
        pushes=(Push("east", "pushed", PUSHED, ("east",)),),
        returns=tuple(Delay(source, 4.0, 2.0) for source in CLUSTERS),
        died=DIED,
        restart=restart,
    )


def restart(**changes: object) -> Restart:
    """A control plane that came up without the lost cluster."""
    good = Restart(
        "east",
        DIED,
        11.5,
        10.0,
        "timeout",
        ('remote_cluster_sync_timeouts_total{cluster="west"} 1',),
        11.4,
    )
    return replace(good, **changes)  # type: ignore[arg-type]


def isolation() -> Isolation:
    """West taken out of the mesh and brought back."""

    def to_east(when: float, number: int) -> str:
        return "east" if BEGAN + 0.1 < when < ENDED + 0.4 else turns(when, number)

    plain = [
        flow(
            source, Purpose.PLAIN, to_east if source == "east" else turns, detail="new connections"
        )
        for source in CLUSTERS
    ]
    return Isolation(
        "west",
        BEGAN,
        ENDED,
        Timeline(tuple(plain)),
        (Delay("east", 0.1),),
        (Delay("east", 0.4),),
    )


def changed(
    one: Seen,
    purpose: Purpose,
    change: Change,
    *,
    source: str = "",
    begin: float = BEGAN,
    end: float = LAST,
) -> Seen:
    """The same with a change in every request of a purpose (and source) sent in a window."""
    hit = {flow.name for flow in flows(one.timeline, purpose, source)}

    def spoiled(flow: Flow) -> Flow:
        if flow.name not in hit:
            return flow
        records = (
            change(record) if begin <= record.when <= end else record for record in flow.records
        )
        return replace(flow, records=tuple(records))

    timeline = replace(one.timeline, flows=tuple(map(spoiled, one.timeline.flows)))
    return replace(one, timeline=timeline)


def hung() -> Loss:
    """The loss of a hung API server, during which a control plane came up."""
    return loss(How.HUNG, restart=restart())


def only(verdict: Verdict, fault: str) -> None:
    """Non-conformant, for one kind of fault."""
    assert verdict.outcome is Outcome.NON_CONFORMANT, verdict.reason
    assert {finding.fault for finding in verdict.findings} == {fault}
    assert all(
        finding.clusters and finding.expected and finding.seen and finding.remedy
        for finding in verdict.findings
    )
