"""What judges of losses share: what the requests that went on suffered, what of it is not the mesh's fault, and figures in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ...eventually import Timeouts
from ...machine import Machine
from ...mesh import Mesh
from ...timelines import Flow, Record
from ...verdicts import Finding
from ..judging import Found, Gap, names
from ..replies import failures, starved
from .facts import BACK_OFF_SECONDS, How, Loss, Purpose, Push, flows


def untouched(mesh: Mesh, loss: Loss, *, go_on: bool = True) -> Iterator[Found]:
    """What the plain flows have suffered from the loss's beginning to the end of the record; ``go_on`` demands that every cluster that
    answered a client before goes on to answer it during the loss."""
    what = f"the API server of {loss.lost} was lost"
    sent: dict[str, list[Flow]] = {}
    for flow in flows(loss.timeline, Purpose.PLAIN):
        before, after = flow.between(flow.began, loss.began), flow.between(loss.began, flow.ended)
        if before.failures:
            yield Gap(f"{flow.name}: {failed_as(before.failures)}, before anything was broken")
            continue
        yield from failed_requests(mesh, after, what, (flow.source, loss.lost), loss.machine)
        if not flow.stream:
            sent.setdefault(flow.source, []).append(flow)
    if not sent:
        yield Gap("nothing was sent during the loss")
    for source, mine in sent.items() if go_on else ():
        yield from _silent(mesh, loss, source, mine, what)


def _silent(
    mesh: Mesh, loss: Loss, source: str, sent: Sequence[Flow], what: str
) -> Iterator[Finding]:
    """Clusters that answered a source before the loss, and did not in its second half: what a loss takes away may take a moment to go."""
    before = {
        cluster for flow in sent for cluster in flow.between(flow.began, loss.began).answered_by()
    }
    later = [flow.between(loss.began + loss.seconds / 2, loss.ended) for flow in sent]
    silent = sorted(before - {cluster for flow in later for cluster in flow.answered_by()})
    if silent:
        yield Finding(
            f"{source} was not answered by {names(silent)} any more while {what}",
            clusters=tuple(dict.fromkeys((source, *silent))),
            expected=f"answers from {names(sorted(before))}, as before",
            seen=f"none from there among {sum(len(flow.records) for flow in later)} requests in the second half of the loss",
            remedy=_endpoints(mesh, source),
            fault="loss-takes-endpoints",
        )


def _endpoints(mesh: Mesh, source: str) -> str:
    namespace = mesh.probes.namespace if mesh.probes else "default"
    return f"istioctl --context={mesh.spec.cluster(source).context} proxy-config endpoints deployment/client.{namespace}"


def failed_requests(
    mesh: Mesh, flow: Flow, what: str, clusters: tuple[str, ...], machine: Machine
) -> Iterator[Found]:
    if not flow.failures:
        return
    if reason := starved(flow, machine):
        yield Gap(reason)
        return
    yield Finding(
        f"{flow.source}: {len(flow.failures)} of {len(flow.records)} requests failed while {what} ({flow.name.partition(' (')[2][:-1]})",
        clusters=tuple(dict.fromkeys(clusters)),
        expected="no failed request: proxies keep their endpoints and certificates",
        seen=f"{failed_as(flow.failures)}; longest time without an answer {flow.longest_gap_seconds:.1f} s",
        remedy=_endpoints(mesh, flow.source),
        fault="requests-fail-during-loss",
    )


def push_seconds(loss: Loss, push: Push, source: str) -> float | None:
    """How long it took until only the cluster of the pushed route answered a source; None where that did not come about in the loss."""
    for flow in flows(loss.timeline, Purpose.PUSHED, source):
        if flow.host == push.host:
            first = flow.steady_from(
                10, lambda record: record.cluster == push.config_cluster, push.when
            )
            return first.when - push.when if first and first.when < loss.ended else None
    return None


def judged_pushes(
    mesh: Mesh, loss: Loss, timeouts: Timeouts
) -> tuple[list[Found], Mapping[str, float]]:
    found: list[Found] = []
    taken: dict[str, float] = {}
    if not loss.pushes:
        found.append(
            Gap("no control plane has its configuration in another cluster than the lost one")
        )
    for push in loss.pushes:
        for source in push.sources:
            sent = [
                flow
                for flow in flows(loss.timeline, Purpose.PUSHED, source)
                if flow.host == push.host
            ]
            before = [flow.between(flow.began, push.when) for flow in sent]
            if not before or set(before[0].answered_by()) <= {push.config_cluster}:
                found.append(
                    Gap(
                        f"{source}: only {push.config_cluster} answered before the route was pushed, so that it shows nothing"
                    )
                )
                continue
            seconds = push_seconds(loss, push, source)
            if seconds is not None and seconds <= timeouts.config_propagation:
                taken[source] = seconds
                continue
            found.append(
                Finding(
                    f"a route applied in {push.config_cluster} while {loss.lost} was lost is not in force in {source}",
                    clusters=(push.config_cluster, source, loss.lost),
                    expected=f"in force within {timeouts.config_propagation:g} s",
                    seen="not in force when the loss ended"
                    if seconds is None
                    else f"{seconds:.1f} s",
                    remedy=f"istioctl --context={mesh.spec.cluster(push.config_cluster).context} proxy-status",
                    fault="no-pushes-during-loss",
                )
            )
    return found, taken


def not_returned(mesh: Mesh, loss: Loss, timeouts: Timeouts) -> Iterator[Found]:
    if not loss.returns:
        yield Gap("nothing was sent after the loss")
    within = timeouts.remote_sync + BACK_OFF_SECONDS
    for entry in loss.returns:
        if (
            entry.seconds is None
            or entry.after_endpoint_seconds is None
            or entry.after_endpoint_seconds > within
        ):
            yield Finding(
                f"an endpoint that {loss.lost} got after the loss of its API server is not seen by {entry.source}",
                clusters=(entry.source, loss.lost),
                expected=f"an answer from it within {within:g} s: control planes watch it again after pauses of up to a minute",
                seen="none"
                if entry.after_endpoint_seconds is None
                else f"after {entry.after_endpoint_seconds:.1f} s",
                remedy=f"istioctl --context={mesh.spec.cluster(entry.source).context} remote-clusters",
                fault="endpoints-stay-stale-after-loss",
            )


def loss_in_words(loss: Loss) -> str:
    how = "refused connections" if loss.how is How.REFUSED else "hung"
    return f"the API server of {loss.lost} {how} for {loss.seconds:.0f} s"


def traffic_in_words(loss: Loss) -> str:
    plain = [flow.between(loss.began, flow.ended) for flow in flows(loss.timeline, Purpose.PLAIN)]
    gap = max((flow.longest_gap_seconds for flow in plain if not flow.stream), default=0.0)
    sent = sum(len(flow.records) for flow in plain)
    lacking = sum(len(flow.failures) for flow in plain)
    streams = sum(flow.stream for flow in plain)
    return f"{lacking} of {sent} requests failed, longest time without an answer {gap:.1f} s, {streams} streams whole"


def seconds_in_words(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{source} {taken:.1f} s" for source, taken in seconds.items()) or "none"


def failed_as(records: Iterable[Record]) -> str:
    """The commonest ways in which requests failed, shortened, with counts."""
    return failures(records, characters=160)
