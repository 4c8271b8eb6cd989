"""Outages: what was seen while an API server, a control plane or a gateway was lost and after it was back, as frozen values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from ...machine import UNMEASURED, Machine
from ...spec import ClusterSpec, MeshSpec, Role
from ...timelines import Flow, Timeline

STEADY = 20
"""So many requests answered in a row mean that a flow has got over a loss."""


STARTING_SECONDS = 30.0
"""How long an istiod may take to start, besides the time that it waits for clusters that do not answer."""


BACK_OFF_SECONDS = 60.0
"""How late a control plane may try again to watch a cluster that is back: client-go's pauses double from 0.8 s to 30 s, and chance makes
each of them up to twice as long (k8s.io/client-go, tools/cache/reflector.go)."""


class How(Enum):
    """In which way an API server is lost."""

    REFUSED = "refused"  # its process is gone, connections are refused
    HUNG = "hung"  # connections are taken, and nothing is ever answered


class Purpose(Enum):
    """What a flow is sent for; what fails in it means something else each time."""

    PLAIN = "plain"  # the probe service: nothing may fail
    PUSHED = "pushed"  # a service that is given a new route meanwhile
    DYING = "dying"  # a service whose endpoint in the cluster dies meanwhile
    LATE = "late"  # a service that gets an endpoint in the cluster after the loss
    ONLY = "one way"  # a service behind one gateway
    RETRIED = "one way, retried"  # the same, with leave for proxies to send a request again whose connection was reset


@dataclass(frozen=True)
class Sign:
    """Something by which a loss could be told: ``kind`` is status, metric or log; ``lost_cluster`` says that it was in a cluster whose API
    server was lost, so that nobody could have read it there through Kubernetes."""

    kind: str
    istiod: str
    text: str
    after_seconds: float
    lost_cluster: bool = False


@dataclass(frozen=True)
class Push:
    """A route that was applied in ``config_cluster`` during a loss; from then on only that cluster is to answer ``sources``."""

    config_cluster: str
    host: str
    when: float
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Return:
    """How long after the loss was mended a source was answered by an endpoint that the lost cluster got only then, and how long after
    that endpoint was there; None where that did not come about."""

    source: str
    seconds: float | None
    after_endpoint_seconds: float | None


@dataclass(frozen=True)
class Loss:
    """One loss of the API server of a cluster, ``lost``; times are seconds since the epoch, by the test process's clock.

    ``ended`` is when its end was ordered, ``healed`` when it was proven. ``planes`` are the control planes elsewhere that watch the
    cluster. ``statuses`` is what they said of it last before the end, ``restarted`` the istiod pods that are others than before.
    ``machine`` is how the machine that runs the tests fared meanwhile.
    """

    lost: str
    how: How
    began: float
    ended: float
    healed: float
    timeline: Timeline
    planes: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    signs: tuple[Sign, ...] = ()
    pushes: tuple[Push, ...] = ()
    restarted: tuple[str, ...] = ()
    returns: tuple[Return, ...] = ()
    died: float = 0.0
    restart: Restart | None = None
    machine: Machine = UNMEASURED

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.ended - self.began


@dataclass(frozen=True)
class Restart:
    """A control plane restarted while a cluster was lost. ``ready_seconds`` is None where it did not become ready in time.

    ``timeout_seconds`` is the ``PILOT_REMOTE_CLUSTER_TIMEOUT`` that it has; ``status`` and ``metrics`` are what it said of the lost cluster
    once it was ready, ``last_answer_seconds`` is when that cluster last answered its proxies.
    """

    plane: str
    began: float
    ready_seconds: float | None
    timeout_seconds: float
    status: str = ""
    metrics: tuple[str, ...] = ()
    last_answer_seconds: float | None = None


@dataclass(frozen=True)
class Isolation:
    """A cluster taken out of the mesh by removing its remote secrets, and brought back.

    The figures are by source: seconds until the cluster answered no more, and until it did again; None where that did not come about.
    """

    cluster: str
    began: float
    ended: float
    timeline: Timeline
    drained: tuple[Return, ...] = ()
    returns: tuple[Return, ...] = ()
    machine: Machine = UNMEASURED


@dataclass(frozen=True)
class GatewayLoss:
    """One pod of the gateway of ``network`` lost, out of ``replicas``; flows came through it from other networks. ``timeline`` has nothing
    else. ``whole_seconds`` is how long it took until the gateway had as many ready pods as before."""

    network: str
    cluster: str
    replicas: int
    began: float
    whole_seconds: float
    timeline: Timeline
    machine: Machine = UNMEASURED


def title(source: str, purpose: Purpose, detail: str = "") -> str:
    """The name of a flow."""
    return f"{source}: {purpose.value}" + (f" ({detail})" if detail else "")


def flows(timeline: Timeline, purpose: Purpose, source: str = "") -> Iterator[Flow]:
    """The flows that were sent for a purpose, by all sources or one."""
    for flow in timeline.flows:
        if flow.name.partition(" (")[0] == title(flow.source, purpose) and source in (
            "",
            flow.source,
        ):
            yield flow


def ends_steady(flow: Flow) -> bool:
    """Whether its last requests were answered, so that it has got over whatever there was."""
    last = flow.records[-STEADY:]
    return len(last) == STEADY and all(record.succeeded for record in last)


def _requests(timeline: Timeline, purpose: Purpose, source: str) -> Iterator[Flow]:
    """The flows of a source for a purpose but for streams, which stay where they are."""
    return (flow for flow in flows(timeline, purpose, source) if not flow.stream)


def answered(
    timeline: Timeline, purpose: Purpose, source: str, cluster: str, since: float
) -> float | None:
    """When a cluster's answer first came to a source after a moment, on a connection of its own; None if it never did.

    A stream says nothing: it stays where it is.
    """
    sent = _requests(timeline, purpose, source)
    return min(
        (record.answered_at for flow in sent if (record := flow.first_answer(cluster, since))),
        default=None,
    )


def drained(timeline: Timeline, source: str, cluster: str, since: float) -> bool:
    """Whether a cluster has not answered the last requests of a source; streams stay where they are, and do not count."""
    for flow in _requests(timeline, Purpose.PLAIN, source):
        last = [record for record in flow.records if record.when > since][-STEADY:]
        if len(last) < STEADY or any(record.cluster == cluster for record in last):
            return False
    return True


def drained_after(
    timeline: Timeline, source: str, cluster: str, began: float, ended: float
) -> Return:
    """How long after ``began`` a cluster answered a source for the last time, if it then did not until ``ended``."""
    if not drained(timeline.between(timeline.began, ended), source, cluster, began):
        return Return(source, None, None)
    inside = [
        flow.between(flow.began, ended) for flow in _requests(timeline, Purpose.PLAIN, source)
    ]
    last = [record.when - began for flow in inside if (record := flow.last_answer(cluster))]
    return Return(source, max(0.0, *last) if last else 0.0, None)


def returns(timeline: Timeline, lost: str, ended: float, endpoint_at: float) -> Iterator[Return]:
    """How long it took every source to be answered by the endpoint that the lost cluster got after the loss."""
    for source in dict.fromkeys(flow.source for flow in timeline.flows):
        first = answered(timeline, Purpose.LATE, source, lost, ended)
        yield Return(
            source,
            first - ended if first else None,
            max(0.0, first - endpoint_at) if first else None,
        )


def with_last_answer(restart: Restart, timeline: Timeline, spec: MeshSpec, lost: str) -> Restart:
    """When the lost cluster last answered those whose control plane was restarted, before it came back."""
    mark = timeline.mark(f"istiod of {restart.plane} restarted")
    served = [
        cluster.name
        for cluster in spec.served_by(spec.cluster(restart.plane))
        if cluster.name != lost
    ]
    last = [
        record.when - restart.began
        for source in served
        for flow in _requests(timeline.between(mark.begin, mark.end), Purpose.PLAIN, source)
        if (record := flow.last_answer(lost))
    ]
    return replace(restart, last_answer_seconds=max(last, default=0.0))


def cluster_to_lose(spec: MeshSpec) -> ClusterSpec | None:
    """The cluster whose API server is lost: one that control planes elsewhere watch, rather a remote one, and never the one in which a
    control plane has its own configuration if there is another. None where nobody is watched."""
    watched = [cluster for cluster in spec.data_planes if watchers(spec, cluster)]
    remotes = [cluster for cluster in watched if cluster.role is Role.REMOTE]
    return next(reversed(remotes or watched), None)


def watchers(spec: MeshSpec, cluster: ClusterSpec) -> tuple[ClusterSpec, ...]:
    """The control planes elsewhere that watch a cluster with its own remote secret."""
    return tuple(plane for plane in spec.control_planes if cluster in spec.watched_by(plane))


def primary_to_lose(spec: MeshSpec) -> ClusterSpec | None:
    """The cluster in which a control plane that serves remote clusters has its configuration."""
    for plane in spec.control_planes:
        if any(cluster.role is Role.REMOTE for cluster in spec.served_by(plane)):
            return spec.config_cluster(plane)
    return None
