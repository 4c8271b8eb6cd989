"""Endpoints that come and go, live: MC-DISCOVERY-004 and 005, judged from time lines."""

from __future__ import annotations

from collections.abc import Iterator

from ...eventually import Converged
from ...mesh import Mesh
from ...observations import Ending
from ...spec import Feature
from ...timelines import Flow, Timeline
from ...verdicts import Evidence, Finding, Verdict
from ..catalogue import BELOW_REACH, Kind, check
from ..judging import Found, Gap, names, verdict_from
from ..remedies import istioctl
from ..replies import pair_names, probes_of
from .facts import EndpointChange, EndpointChanges, Unready

MODELS = "https://istio.io/latest/docs/ops/deployment/deployment-models/"


BUSY_SECONDS = 1.0
"""Requests that left so much later than planned show that the machine which sends is too busy to judge what timed out."""


@check(
    "MC-DISCOVERY-004",
    "A new endpoint answers the clients of every cluster within the budget.",
    kind=Kind.LIVE,
    requires=(Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES),
    spec_url=MODELS + "#endpoint-discovery-with-multiple-control-planes",
    explained_by=BELOW_REACH,
)
def new_endpoints_seen(
    mesh: Mesh, seen: EndpointChanges, budget_seconds: float, evidence: tuple[Evidence, ...] = ()
) -> Verdict:
    """Counted from the moment at which the EndpointSlice has it, to the first of ``enough`` answers in a row to each client."""
    found: list[Found] = [
        _not_ready(
            mesh,
            one,
            f"{one.source}'s proxy does not know a new service, to have instances in {one.target}",
            budget_seconds,
        )
        for one in seen.unready
    ]
    for change, flows in _cells(mesh, seen):
        if wrong := list(_arrived(mesh, seen, change, flows[0], budget_seconds)):
            found += _gap(change, flows) or wrong
    converged = arrival(seen)
    slowest = f"{converged.stable_seconds:.2f} s" if converged else "?"
    otherwise = (
        f"a new endpoint in each of {len(seen.changes)} clusters answered every cluster's clients, {seen.enough} times in a row, at the "
        f"latest from {slowest} after its EndpointSlice had it (budget {budget_seconds:g} s)"
    )
    return verdict_from(found, otherwise, pairs=pair_names(mesh)).with_evidence(*evidence)


@check(
    "MC-DISCOVERY-005",
    "An endpoint that leaves is not asked any more within the budget, and no request fails meanwhile.",
    kind=Kind.LIVE,
    requires=(Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES),
    spec_url=MODELS + "#endpoint-discovery-with-multiple-control-planes",
    explained_by=(*BELOW_REACH, "MC-DISCOVERY-004"),
)
def leaving_endpoints_gone(
    mesh: Mesh, seen: EndpointChanges, budget_seconds: float, evidence: tuple[Evidence, ...] = ()
) -> Verdict:
    """Over new and over kept connections; gone is what has not answered for ``enough`` requests that others did. A stream to a service
    whose endpoints stay must not break meanwhile."""
    found: list[Found] = [
        _not_ready(
            mesh,
            one,
            f"{one.source} is not answered by {one.target} for a new service that all clusters have",
            budget_seconds,
        )
        for one in seen.unready
        if one.target
    ]
    found += (
        Gap(
            f"{one.source}: requests for a new service still fail {budget_seconds:g} s later, before anything is changed ({one.seen})"
        )
        for one in seen.unready
        if not one.target
    )
    for change, flows in _cells(mesh, seen):
        found += _gap(change, flows) or _left(mesh, seen, change, flows, budget_seconds)
    streams = [flow for flow in seen.timeline.flows if flow.stream]
    found += (item for stream in streams for item in _streamed(mesh, seen.timeline, stream))
    converged = departure(seen)
    slowest = f"{converged.first_seconds:.2f} s" if converged else "?"
    otherwise = (
        f"an endpoint that left in each of {len(seen.changes)} clusters was last asked at most {slowest} after its EndpointSlice had it no "
        f"more (budget {budget_seconds:g} s); none of {seen.timeline.requests} requests over new and kept connections failed, and "
        f"{len(streams)} streams to a service whose endpoints stayed went on"
    )
    if seen.idle:
        waits = names(f"{source} to {target}" for source, target in sorted(seen.idle))
        otherwise += f"; not judged, because nearer instances come first: {waits}"
    return verdict_from(found, otherwise, pairs=pair_names(mesh)).with_evidence(*evidence)


def arrival(seen: EndpointChanges) -> Converged[None] | None:
    """How long new endpoints took to answer everywhere, for the first time and steadily; None where some did not."""
    first, steady = [], []
    for change in seen.changes:
        for flow in seen.timeline.to(change.host).flows:
            answer, lasting = flow.first_answer(change.target), flow.steady_from(seen.enough)
            if answer is None or lasting is None:
                return None
            first.append(answer.when - change.when)
            steady.append(lasting.when - change.when)
    return Converged(None, max([0.0, *first]), max([0.0, *steady])) if first else None


def departure(seen: EndpointChanges) -> Converged[None] | None:
    """How long after they had left endpoints were last asked; None where nobody can tell."""
    last = [
        record.when - change.when
        for change in seen.changes
        for flow in seen.timeline.to(change.host).flows
        if (record := flow.last_answer(change.target))
    ]
    return Converged(None, max([0.0, *last]), max([0.0, *last])) if last else None


def _not_ready(mesh: Mesh, one: Unready, summary: str, budget: float) -> Finding:
    return Finding(
        summary,
        (one.source, one.target) if one.source != one.target else (one.source,),
        expected=f"a new service in every proxy within {budget:g} s, before anything is changed",
        seen=one.seen,
        remedy=_compare(mesh, one.source),
        fault="new-service-not-seen",
    )


def _cells(mesh: Mesh, seen: EndpointChanges) -> Iterator[tuple[EndpointChange, tuple[Flow, ...]]]:
    """For each change, what each cluster's client saw of it."""
    for change in seen.changes:
        for cluster in mesh.spec.data_planes:
            yield change, seen.timeline.to(change.host).from_source(cluster.name).flows


def _gap(change: EndpointChange, flows: tuple[Flow, ...]) -> list[Found]:
    """Where nothing can be told: no request was sent, or the machine that sends was too busy for those that timed out to mean anything."""
    here = Timeline(flows)
    if not here.requests:
        return [
            Gap(f"no request was sent for {change.host}, whose endpoints are in {change.target}")
        ]
    slow = [
        record
        for record in here.failures
        if record.latency_seconds > BUSY_SECONDS or record.late_seconds > BUSY_SECONDS
    ]
    if slow and here.latest_seconds > BUSY_SECONDS:
        return [
            Gap(
                f"{flows[0].source}: requests left up to {here.latest_seconds:.1f} s later than planned, so that {len(slow)} failures of "
                f"{here.requests} say nothing about the mesh; is the client's node out of CPU?"
            )
        ]
    return []


def _arrived(
    mesh: Mesh, seen: EndpointChanges, change: EndpointChange, flow: Flow, budget: float
) -> Iterator[Finding]:
    where = (flow.source, change.target)
    expected = f"{seen.enough} answers in a row from {change.target} within {budget:g} s"
    strangers = sorted(set(flow.answered_by()) - {change.target})
    if strangers:
        yield Finding(
            f"{flow.source}: a service whose only endpoint is in {change.target} is answered by {names(strangers)}",
            where,
            expected=expected,
            seen=str(Timeline((flow,))),
            remedy=_compare(mesh, flow.source),
            fault="answered-elsewhere",
        )
        return
    steady = flow.steady_from(seen.enough)
    if steady is None:
        last = flow.failures[-1].failure if flow.failures else "too few requests"
        yield Finding(
            f"{flow.source} does not see a new endpoint in {change.target}",
            where,
            expected=expected,
            seen=f"{Timeline((flow,))} in {flow.ended - change.when:.1f} s; last failure: {last}",
            remedy=_compare(mesh, flow.source),
            fault="new-endpoint-not-seen",
        )
        return
    took = steady.when - change.when
    if took > budget:
        yield Finding(
            f"{flow.source} sees a new endpoint in {change.target} only after {took:.1f} s",
            where,
            expected=expected,
            seen=f"from {took:.1f} s on",
            remedy=_compare(mesh, flow.source),
            fault="new-endpoint-late",
        )
    lost = [record for record in flow.failures if record.when > steady.when]
    if lost:
        yield Finding(
            f"{flow.source} loses a new endpoint in {change.target} again: {len(lost)} requests failed after it had answered",
            where,
            expected="an endpoint that stays, once it is seen",
            seen=f"{lost[0].failure}, {lost[0].when - steady.when:.1f} s after the first answer",
            remedy=_compare(mesh, flow.source),
            fault="endpoint-flaps",
        )


def _left(
    mesh: Mesh,
    seen: EndpointChanges,
    change: EndpointChange,
    flows: tuple[Flow, ...],
    budget: float,
) -> Iterator[Found]:
    source, here = flows[0].source, Timeline(flows)
    where = (source, change.target)
    if here.failures and all(record.ending is Ending.SKIPPED for record in here.failures):
        slowest = max(record.latency_seconds for flow in flows for record in flow.records)
        yield Gap(
            f"{source}: {len(here.failures)} requests could not be sent while an endpoint in {change.target} left, because so many others "
            f"were under way; all of those were answered, after {slowest:.1f} s at the latest"
        )
    elif here.failures:
        first = here.failures[0]
        ways = names(flow.name.rpartition(", ")[2] for flow in flows if flow.failures)
        yield Finding(
            f"{source}: {len(here.failures)} of {here.requests} requests failed while an endpoint in {change.target} left",
            where,
            expected="no failed request: others have the service still",
            seen=f"over {ways}: {first.failure}, {first.when - change.when:+.2f} s from the change; {here}",
            remedy=_compare(mesh, source),
            fault="removal-fails-requests",
        )
    if (source, change.target) in seen.idle:
        return
    last = here.last_answer(change.target)
    if last is None:
        yield Gap(
            f"{source} was never answered by {change.target}, so that it cannot be told when it stopped asking it"
        )
        return
    took = last.when - change.when
    if here.answered_without(change.target, change.when) < seen.enough or took > budget:
        still = (
            "still"
            if took > budget or not here.answered_without(change.target, change.when)
            else "perhaps still"
        )
        yield Finding(
            f"{source} {still} asks an endpoint in {change.target} {max(took, 0.0):.1f} s after it left",
            where,
            expected=f"answers from others only, {seen.enough} in a row, from {budget:g} s after the change at the latest",
            seen=f"last answer from {change.target} {took:+.2f} s from the change; {here}",
            remedy=_compare(mesh, source),
            fault="endpoint-still-used",
        )


def _streamed(mesh: Mesh, timeline: Timeline, stream: Flow) -> Iterator[Found]:
    if not stream.records:
        yield Gap(f"{stream.source}: nothing was sent over the stream")
    elif stream.failures:
        gap = _gap(EndpointChange("", stream.host, 0.0), (stream,))
        first = stream.failures[0]
        yield from gap or [
            Finding(
                f"{stream.source}: a stream to {stream.host}, whose endpoints stayed, broke while endpoints of other services left",
                (stream.source,),
                expected="one connection for the whole time",
                seen=f"{first.failure}, {first.when - timeline.began:.2f} s after the beginning; {len(stream.records)} lines in all",
                remedy=istioctl(
                    mesh,
                    stream.source,
                    f"proxy-config listeners {_client(mesh, stream.source)} --port {stream.port}",
                ),
                fault="stream-broken",
            )
        ]


def _compare(mesh: Mesh, source: str) -> str:
    """What shows whether the proxy has what its control plane has."""
    return (
        istioctl(mesh, source, f"proxy-config endpoints {_client(mesh, source)}")
        + f" && {_control_plane(mesh, source)}"
    )


def _control_plane(mesh: Mesh, source: str) -> str:
    served = mesh.spec.cluster(source)
    return istioctl(
        mesh,
        served.control_plane or served.name,
        f"remote-clusters --istioNamespace {mesh.spec.istio_namespace}",
    )


def _client(mesh: Mesh, source: str) -> str:
    return f"{probes_of(mesh).client(source).name}.{probes_of(mesh).namespace}"
