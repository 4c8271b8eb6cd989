"""A change that cost nothing, as it is watched, for tests to spoil."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pytest_istio_mc.checks.upgrade.facts import (
    Admission,
    Commanded,
    EndpointLook,
    IstiodLook,
    IstiodPod,
    ProxyLook,
    Watched,
)
from pytest_istio_mc.counted import Count, Fate, Lost, Step
from pytest_istio_mc.observations import Ending
from tests.checks.live_mesh import NAMESPACE

STARTED, BEGAN, ENDED, LAST = 990.0, 1000.0, 1030.0, 1045.0
CLUSTERS = ("east", "west")
STEPS = (Step(BEGAN + 5, "istiod of east"), Step(BEGAN + 15, "gateway of west"))


def count(source: str, target: str, *, retried: bool = True, stream: bool = False) -> Count:
    way = "TCP stream" if stream else "HTTP, new connections"
    return Count(
        source,
        target,
        way,
        retried,
        stream,
        due=500,
        answered=500,
        connections=1 if stream else 500,
        longest_silence_seconds=0.3,
        seconds=((int(STARTED), 10, 0),),
    )


def watched() -> Watched:
    """Nothing was lost, and nothing worse."""
    counts = [
        count(source, target, retried=retried, stream=stream)
        for source in CLUSTERS
        for target in CLUSTERS
        for retried, stream in ((True, False), (False, False), (True, True))
    ]
    moments = (STARTED, BEGAN + 2, LAST)
    return Watched(
        STARTED,
        LAST,
        Commanded("helm upgrade", BEGAN, ENDED, steps=STEPS),
        tuple(counts),
        tuple(Admission(one, when, injected=True) for one in CLUSTERS for when in moments),
        tuple(istiod(one, when) for one in CLUSTERS for when in moments),
        tuple(
            IstiodPod(one, f"istiod-{one}", when, ready=True)
            for one in CLUSTERS
            for when in moments
        ),
        tuple(
            EndpointLook(source, target, when, 1)
            for source in CLUSTERS
            for target in CLUSTERS
            for when in moments
        ),
        tuple(map(proxy, CLUSTERS)),
        tuple(map(proxy, CLUSTERS)),
        namespace=NAMESPACE,
    )


def istiod(cluster: str, when: float) -> IstiodLook:
    other = "west" if cluster == "east" else "east"
    gateways = {"network1": ("198.19.1.1:15443",), "network2": ("198.19.2.1:15443",)}
    remotes = {cluster: "synced", other: "synced"}
    return IstiodLook(cluster, f"istiod-{cluster}", when, gateways, remotes, 0.0, 100.0)


def proxy(cluster: str) -> ProxyLook:
    names = (
        "outbound|5000||count-v1.istio-mc-test.svc.cluster.local",
        "outbound|80||shop.x.svc.c.l",
    )
    return ProxyLook(cluster, f"client-{cluster}", "client", ("inbound|5000||",), names, ("r",))


def lost(when: float = BEGAN + 16, fate: Fate = Fate.FAILED, **changes: object) -> Lost:
    one = Lost(when, fate, Ending.ANSWERED, 503, 0.01, "", "upstream connect error", "j.0.1")
    return replace(one, **changes)  # type: ignore[arg-type]


def with_counts(
    seen: Watched, change: Callable[[Count], Count], *, source: str = "", target: str = ""
) -> Watched:
    """The same with changed counts: those of a pair, or all."""
    counts = tuple(
        change(one) if source in ("", one.source) and target in ("", one.target) else one
        for one in seen.counts
    )
    return replace(seen, counts=counts)


def losing(seen: Watched, *some: Lost, source: str = "", target: str = "") -> Watched:
    """The same with lost requests, of a pair or of all."""

    def change(one: Count) -> Count:
        return replace(one, lost=some, answered=one.answered - len(some))

    return with_counts(seen, change, source=source, target=target)
