"""Losses as they are recorded when all is well, for the tests of judges to spoil."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pytest_istio_mc.checks.apiserver.facts import (
    GatewayLoss,
    How,
    Isolation,
    Loss,
    Purpose,
    Push,
    Restart,
    Return,
    Sign,
    flows,
    title,
)
from pytest_istio_mc.observations import Ending, Protocol
from pytest_istio_mc.timelines import Flow, Record, Timeline

BEGAN, ENDED, HEALED, LAST = 1000.0, 1014.0, 1016.0, 1025.0
FIRST = BEGAN - 1
PUSHED, DIED = BEGAN + 1, BEGAN + 2
CLUSTERS = ("east", "west")

Change = Callable[[Record], Record]


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
    """One request every 0.2 s; ``who`` says which cluster answers the request of a time and number, or nobody."""
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
    """The loss of west's API server: a route is pushed in east, an endpoint in west dies, another one comes after the loss."""

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
        returns=tuple(Return(source, 4.0, 2.0) for source in CLUSTERS),
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
        (Return("east", 0.1, None),),
        (Return("east", 0.4, None),),
    )


def gateway_loss(replicas: int = 1) -> GatewayLoss:
    """A gateway of west that lost a pod: some default requests fail, those that may be sent again do not."""

    def some_fail(when: float, number: int) -> str:
        return "" if BEGAN + 2 < when < BEGAN + 2.7 else "west"

    flows_ = (
        flow("east", Purpose.ONLY, some_fail),
        flow("east", Purpose.RETRIED, lambda when, number: "west"),
    )
    return GatewayLoss("network2", "west", replicas, BEGAN, 3.5, Timeline(flows_))


def spoiled(
    timeline: Timeline,
    purpose: Purpose,
    change: Change,
    *,
    source: str = "",
    begin: float = BEGAN,
    end: float = LAST,
) -> Timeline:
    """The time line with a change in every request of a purpose (and source) that was sent in a window."""
    hit = {one.name for one in flows(timeline, purpose, source)}

    def changed(one: Flow) -> Flow:
        if one.name not in hit:
            return one
        return replace(
            one,
            records=tuple(
                change(record) if begin <= record.when <= end else record for record in one.records
            ),
        )

    return replace(timeline, flows=tuple(map(changed, timeline.flows)))
