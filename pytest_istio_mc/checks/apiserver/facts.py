"""Facts of losses: what was seen meanwhile and afterwards."""

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
"""How long an istiod may take to start, besides its wait for clusters that do not answer."""

BACK_OFF_SECONDS = 60.0
"""How late a control plane may try again to watch a cluster that is back.

client-go's pauses double from 0.8 s to 30 s, and chance makes each of them up to twice as long
(k8s.io/client-go, tools/cache/reflector.go).
"""


class How(Enum):
    """In which way an API server is lost."""

    REFUSED = "refused"  # its process is gone, connections are refused
    HUNG = "hung"  # connections are taken, and nothing is ever answered


class Purpose(Enum):
    """What a flow is sent for; its failures mean something else each time."""

    PLAIN = "plain"  # the probe service: nothing may fail
    PUSHED = "pushed"  # a service that is given a new route meanwhile
    DYING = "dying"  # a service whose endpoint in the cluster dies meanwhile
    LATE = "late"  # a service that gets an endpoint in the cluster after the loss
    ONLY = "one way"  # a service behind one gateway
    RETRIED = "one way, retried"  # the same; proxies may send again what a reset connection lost


@dataclass(frozen=True)
class Sign:
    """Something that tells of a loss.

    - ``kind`` is status, metric or log.
    - ``lost_cluster``: it was in the lost cluster, where nobody could have read it by Kubernetes.
    """

    kind: str
    istiod: str
    text: str
    after_seconds: float
    lost_cluster: bool = False


@dataclass(frozen=True)
class Push:
    """A route that was applied in ``config_cluster`` during a loss.

    From then on only that cluster is to answer ``sources``.
    """

    config_cluster: str
    host: str
    when: float
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Delay:
    """How long a source waited for a change; None where it never came.

    - ``seconds`` count from what was done: a loss mended, a secret removed or added.
    - ``after_endpoint_seconds`` count from when a new endpoint was there.
    """

    source: str
    seconds: float | None
    after_endpoint_seconds: float | None = None


@dataclass(frozen=True)
class Loss:
    """One loss of the API server of the cluster ``lost``.

    - Times are seconds since the epoch, by the test process's clock.
    - ``ended`` is when its end was ordered, ``healed`` when it was proven.
    - ``planes`` are the control planes elsewhere that watch the cluster.
    - ``statuses`` is what they said of it last before the end.
    - ``restarted`` are the istiod pods that are others than before.
    - ``returns``: how long until a source was answered by an endpoint that came after the loss.
    - ``died`` is when the endpoint of the dying service died; 0 where none did.
    - ``machine`` is how the machine that runs the tests fared meanwhile.
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
    returns: tuple[Delay, ...] = ()
    died: float = 0.0
    restart: Restart | None = None
    machine: Machine = UNMEASURED

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.ended - self.began


@dataclass(frozen=True)
class Restart:
    """A control plane restarted while a cluster was lost.

    - ``ready_seconds`` is None where it did not become ready in time.
    - ``timeout_seconds`` is its ``PILOT_REMOTE_CLUSTER_TIMEOUT``.
    - ``status`` and ``metrics`` are what it said of the lost cluster once it was ready.
    - ``last_answer_seconds`` is when that cluster last answered its proxies.
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

    - ``drained``: how long the cluster went on answering each source.
    - ``returns``: how long until it answered again.
    """

    cluster: str
    began: float
    ended: float
    timeline: Timeline
    drained: tuple[Delay, ...] = ()
    returns: tuple[Delay, ...] = ()
    machine: Machine = UNMEASURED


def title(source: str, purpose: Purpose, detail: str = "") -> str:
    """The name of a flow."""
    return f"{source}: {purpose.value}" + (f" ({detail})" if detail else "")


def flows(timeline: Timeline, purpose: Purpose, source: str = "") -> Iterator[Flow]:
    """The flows that were sent for a purpose, by all sources or one."""
    for flow in timeline.flows:
        meant = flow.name.partition(" (")[0] == title(flow.source, purpose)
        if meant and source in ("", flow.source):
            yield flow


def ends_steady(flow: Flow) -> bool:
    """Whether its last requests were answered, so that it has got over a loss."""
    last = flow.records[-STEADY:]
    return len(last) == STEADY and all(record.succeeded for record in last)


def _requests(timeline: Timeline, purpose: Purpose, source: str) -> Iterator[Flow]:
    """The flows of a source for a purpose but for streams, which stay where they are."""
    return (flow for flow in flows(timeline, purpose, source) if not flow.stream)


def first_answered(
    timeline: Timeline, purpose: Purpose, source: str, cluster: str, since: float
) -> float | None:
    """When a cluster first answered a source after a moment; None if never.

    A stream says nothing: it stays where it is.
    """
    sent = _requests(timeline, purpose, source)
    found = [record.answered_at for flow in sent if (record := flow.first_answer(cluster, since))]
    return min(found, default=None)


def is_drained(timeline: Timeline, source: str, cluster: str, since: float) -> bool:
    """Whether a cluster has answered none of a source's last requests; streams do not count."""
    for flow in _requests(timeline, Purpose.PLAIN, source):
        last = [record for record in flow.records if record.when > since][-STEADY:]
        if len(last) < STEADY or any(record.cluster == cluster for record in last):
            return False
    return True


def drained_after(
    timeline: Timeline, source: str, cluster: str, began: float, ended: float
) -> Delay:
    """How long after ``began`` a cluster last answered a source, if then not until ``ended``."""
    if not is_drained(timeline.between(timeline.began, ended), source, cluster, began):
        return Delay(source, None)
    sent = _requests(timeline, Purpose.PLAIN, source)
    inside = [flow.between(flow.began, ended) for flow in sent]
    last = [record.when - began for flow in inside if (record := flow.last_answer(cluster))]
    return Delay(source, max(0.0, *last) if last else 0.0)


def returned_after(
    timeline: Timeline, lost: str, ended: float, endpoint_at: float
) -> Iterator[Delay]:
    """How long every source waited for the endpoint that the lost cluster got after the loss."""
    for source in dict.fromkeys(flow.source for flow in timeline.flows):
        first = first_answered(timeline, Purpose.LATE, source, lost, ended)
        if first:
            yield Delay(source, first - ended, max(0.0, first - endpoint_at))
        else:
            yield Delay(source, None)


def with_last_answer(restart: Restart, timeline: Timeline, spec: MeshSpec, lost: str) -> Restart:
    """The restart with when the lost cluster last answered that control plane's proxies."""
    mark = timeline.mark(f"istiod of {restart.plane} restarted")
    during = timeline.between(mark.begin, mark.end)
    last = [
        record.when - restart.began
        for served in spec.served_by(spec.cluster(restart.plane))
        if served.name != lost
        for flow in _requests(during, Purpose.PLAIN, served.name)
        if (record := flow.last_answer(lost))
    ]
    return replace(restart, last_answer_seconds=max(last, default=0.0))


def cluster_to_lose(spec: MeshSpec) -> ClusterSpec | None:
    """The cluster whose API server is lost; None where no cluster is watched from elsewhere.

    - Control planes elsewhere watch it; a remote one is preferred.
    - It holds no control plane's own configuration if there is another one.
    """
    watched = [cluster for cluster in spec.data_planes if watchers(spec, cluster)]
    remotes = [cluster for cluster in watched if cluster.role is Role.REMOTE]
    return next(reversed(remotes or watched), None)


def watchers(spec: MeshSpec, cluster: ClusterSpec) -> tuple[ClusterSpec, ...]:
    """The control planes elsewhere that watch a cluster with its own remote secret."""
    return tuple(plane for plane in spec.control_planes if cluster in spec.watched_by(plane))


def primary_to_lose(spec: MeshSpec) -> ClusterSpec | None:
    """The config cluster of a control plane that serves remote clusters; None without any."""
    for plane in spec.control_planes:
        if any(cluster.role is Role.REMOTE for cluster in spec.served_by(plane)):
            return spec.config_cluster(plane)
    return None
