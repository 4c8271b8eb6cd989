"""Endpoints that come and go, judged from time lines: MC-DISCOVERY-004 and 005."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from ... import shell
from ...eventually import Converged
from ...mesh import Mesh
from ...observations import Ending
from ...shell import Command
from ...spec import Feature
from ...timelines import Flow, Timeline
from ...verdicts import Finding, Verdict
from ..catalogue import BELOW_REACH, check
from ..judging import Found, Gap, names, pair_names, verdict_from
from ..remedies import Commands
from ..site import Here
from .facts import EndpointChange, EndpointChanges, Unready
from .observe_changes import appearing, leaving

MODELS = "https://istio.io/latest/docs/ops/deployment/deployment-models/"

BUSY_SECONDS = 1.0
"""With requests this late, the sending machine is too busy to judge what timed out."""

discovery = partial(
    check,
    requires=(Feature.CROSS_CLUSTER, Feature.SHARED_SERVICES),
    spec_url=MODELS + "#endpoint-discovery-with-multiple-control-planes",
)


@discovery(
    "MC-DISCOVERY-004",
    "A new endpoint answers the clients of every cluster within the budget.",
    explained_by=BELOW_REACH,
    sees=appearing,
)
def new_endpoints_seen(here: Here, seen: EndpointChanges) -> Verdict:
    """Every client gets ``enough`` answers in a row soon after the EndpointSlice has the endpoint.

    What counts is the time to the first of these answers.
    """
    budget = here.timeouts.endpoint_propagation
    found: list[Found] = []
    for one in seen.unready:
        unknown = "proxy does not know a new service, to have instances in"
        found.append(_not_ready(here, one, f"{one.source}'s {unknown} {one.target}"))
    for change, flows in _cells(here.mesh, seen):
        if wrong := list(_arrived(here, seen, change, flows[0])):
            found += _gap(change, flows) or wrong
    converged = arrival(seen)
    slowest = f"{converged.stable_seconds:.2f} s" if converged else "?"
    passed = (
        f"a new endpoint in each of {len(seen.changes)} clusters answered every cluster's clients, "
        f"{seen.enough} times in a row, at the latest from {slowest} after its EndpointSlice had "
        f"it (budget {budget:g} s)"
    )
    verdict = verdict_from(found, passed, pairs=pair_names(here.mesh))
    verdict = verdict.with_convergence("a new endpoint answers in every cluster", converged)
    return verdict.with_timeline("new endpoints", seen.timeline)


@discovery(
    "MC-DISCOVERY-005",
    "An endpoint that leaves is not asked any more within the budget, and no request fails "
    "meanwhile.",
    explained_by=(*BELOW_REACH, "MC-DISCOVERY-004"),
    sees=leaving,
)
def leaving_endpoints_gone(here: Here, seen: EndpointChanges) -> Verdict:
    """An endpoint that left answers nobody, over new and over kept connections.

    - Gone is what has not answered for ``enough`` requests that others did.
    - A stream to a service whose endpoints stay must not break meanwhile.
    """
    budget = here.timeouts.endpoint_propagation
    found: list[Found] = []
    for one in seen.unready:
        if one.target:
            unanswered = f"not answered by {one.target} for a new service that all clusters have"
            found.append(_not_ready(here, one, f"{one.source} is {unanswered}"))
        else:
            failing = f"requests for a new service still fail {budget:g} s later"
            found.append(Gap(f"{one.source}: {failing}, before anything is changed ({one.seen})"))
    for change, flows in _cells(here.mesh, seen):
        found += _gap(change, flows) or _left(here, seen, change, flows)
    streams = [flow for flow in seen.timeline.flows if flow.stream]
    found += (item for stream in streams for item in _streamed(here, seen.timeline, stream))
    converged = departure(seen)
    slowest = f"{converged.first_seconds:.2f} s" if converged else "?"
    passed = (
        f"an endpoint that left in each of {len(seen.changes)} clusters was last asked at most "
        f"{slowest} after its EndpointSlice had it no more (budget {budget:g} s); "
        f"none of {seen.timeline.requests} requests over new and kept connections failed, and "
        f"{len(streams)} streams to a service whose endpoints stayed went on"
    )
    if seen.idle:
        waits = names(f"{source} to {target}" for source, target in sorted(seen.idle))
        passed += f"; not judged, because nearer instances come first: {waits}"
    verdict = verdict_from(found, passed, pairs=pair_names(here.mesh))
    verdict = verdict.with_convergence("an endpoint that left is not asked any more", converged)
    return verdict.with_timeline("endpoints that leave", seen.timeline)


def arrival(seen: EndpointChanges) -> Converged[None] | None:
    """How long new endpoints took to answer everywhere, for the first time and steadily.

    None where some did not.
    """
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


def _not_ready(here: Here, one: Unready, summary: str) -> Finding:
    within = f"within {here.timeouts.endpoint_propagation:g} s"
    return Finding(
        summary,
        (one.source, one.target) if one.source != one.target else (one.source,),
        expected=f"a new service in every proxy {within}, before anything is changed",
        seen=one.seen,
        remedy=_compare(here, one.source),
        fault="new-service-not-seen",
    )


def _cells(mesh: Mesh, seen: EndpointChanges) -> Iterator[tuple[EndpointChange, tuple[Flow, ...]]]:
    """For each change, what each cluster's client saw of it."""
    for change in seen.changes:
        for cluster in mesh.spec.data_planes:
            yield change, seen.timeline.to(change.host).from_source(cluster.name).flows


def _gap(change: EndpointChange, flows: tuple[Flow, ...]) -> list[Found]:
    """Why nothing can be told: nothing was sent, or the machine was too busy."""
    line = Timeline(flows)
    if not line.requests:
        where = f"{change.host}, whose endpoints are in {change.target}"
        return [Gap(f"no request was sent for {where}")]
    slow = [
        record
        for record in line.failures
        if record.latency_seconds > BUSY_SECONDS or record.late_seconds > BUSY_SECONDS
    ]
    if not slow or line.latest_seconds <= BUSY_SECONDS:
        return []
    late = f"requests left up to {line.latest_seconds:.1f} s later than planned"
    useless = f"{len(slow)} failures of {line.requests} say nothing about the mesh"
    question = "is the client's node out of CPU?"
    return [Gap(f"{flows[0].source}: {late}, so that {useless}; {question}")]


def _arrived(
    here: Here, seen: EndpointChanges, change: EndpointChange, flow: Flow
) -> Iterator[Finding]:
    budget = here.timeouts.endpoint_propagation
    where = (flow.source, change.target)
    expected = f"{seen.enough} answers in a row from {change.target} within {budget:g} s"
    remedy = _compare(here, flow.source)
    strangers = sorted(set(flow.answered_by()) - {change.target})
    if strangers:
        only = f"a service whose only endpoint is in {change.target}"
        yield Finding(
            f"{flow.source}: {only} is answered by {names(strangers)}",
            where,
            expected=expected,
            seen=str(Timeline((flow,))),
            remedy=remedy,
            fault="answered-elsewhere",
        )
        return
    steady = flow.steady_from(seen.enough)
    if steady is None:
        last = flow.failures[-1].failure if flow.failures else "too few requests"
        seconds = flow.ended - change.when
        yield Finding(
            f"{flow.source} does not see a new endpoint in {change.target}",
            where,
            expected=expected,
            seen=f"{Timeline((flow,))} in {seconds:.1f} s; last failure: {last}",
            remedy=remedy,
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
            remedy=remedy,
            fault="new-endpoint-late",
        )
    lost = [record for record in flow.failures if record.when > steady.when]
    if lost:
        again = f"{len(lost)} requests failed after it had answered"
        seconds = lost[0].when - steady.when
        yield Finding(
            f"{flow.source} loses a new endpoint in {change.target} again: {again}",
            where,
            expected="an endpoint that stays, once it is seen",
            seen=f"{lost[0].failure}, {seconds:.1f} s after the first answer",
            remedy=remedy,
            fault="endpoint-flaps",
        )


def _left(
    here: Here, seen: EndpointChanges, change: EndpointChange, flows: tuple[Flow, ...]
) -> Iterator[Found]:
    source, line = flows[0].source, Timeline(flows)
    where, remedy = (source, change.target), _compare(here, source)
    meanwhile = f"while an endpoint in {change.target} left"
    if line.failures and all(record.ending is Ending.SKIPPED for record in line.failures):
        slowest = max(record.latency_seconds for flow in flows for record in flow.records)
        yield Gap(
            f"{source}: {len(line.failures)} requests could not be sent {meanwhile}, because so "
            "many others were under way; all of those were answered, "
            f"after {slowest:.1f} s at the latest"
        )
    elif line.failures:
        first = line.failures[0]
        kinds = names(flow.name.rpartition(", ")[2] for flow in flows if flow.failures)
        seconds = first.when - change.when
        yield Finding(
            f"{source}: {len(line.failures)} of {line.requests} requests failed {meanwhile}",
            where,
            expected="no failed request: others have the service still",
            seen=f"over {kinds}: {first.failure}, {seconds:+.2f} s from the change; {line}",
            remedy=remedy,
            fault="removal-fails-requests",
        )
    if where in seen.idle:
        return
    last = line.last_answer(change.target)
    if last is None:
        unknown = "so that it cannot be told when it stopped asking it"
        yield Gap(f"{source} was never answered by {change.target}, {unknown}")
        return
    budget, took = here.timeouts.endpoint_propagation, last.when - change.when
    by_others = line.answered_without(change.target, change.when)
    if by_others < seen.enough or took > budget:
        still = "still" if took > budget or not by_others else "perhaps still"
        asks = f"asks an endpoint in {change.target} {max(took, 0.0):.1f} s after it left"
        when = f"from {budget:g} s after the change at the latest"
        yield Finding(
            f"{source} {still} {asks}",
            where,
            expected=f"answers from others only, {seen.enough} in a row, {when}",
            seen=f"last answer from {change.target} {took:+.2f} s from the change; {line}",
            remedy=remedy,
            fault="endpoint-still-used",
        )


def _streamed(here: Here, timeline: Timeline, stream: Flow) -> Iterator[Found]:
    if not stream.records:
        yield Gap(f"{stream.source}: nothing was sent over the stream")
    elif stream.failures:
        first = stream.failures[0]
        stayed = f"a stream to {stream.host}, whose endpoints stayed"
        seconds = first.when - timeline.began
        when = f"{seconds:.2f} s after the beginning; {len(stream.records)} lines in all"
        client = here.mesh.require_probes().client_pod(stream.source)
        listeners = Commands(here.snapshot).proxy_config(
            stream.source, "listeners", client, f"--port={stream.port}"
        )
        yield from _gap(EndpointChange("", stream.host, 0.0), (stream,)) or [
            Finding(
                f"{stream.source}: {stayed}, broke while endpoints of other services left",
                (stream.source,),
                expected="one connection for the whole time",
                seen=f"{first.failure}, {when}",
                remedy=listeners,
                fault="stream-broken",
            )
        ]


def _compare(here: Here, source: str) -> Command:
    """The commands that show whether the proxy has what its control plane has."""
    spec, commands = here.mesh.spec, Commands(here.snapshot)
    client = here.mesh.require_probes().client_pod(source)
    plane, namespace = spec.control_plane_of(source).name, spec.istio_namespace
    return shell.then(
        commands.proxy_config(source, "endpoints", client),
        commands.istioctl(plane, "remote-clusters --istioNamespace", namespace),
    )
