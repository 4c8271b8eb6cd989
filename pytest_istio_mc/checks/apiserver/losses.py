"""Shared by the loss checks: judge request flows, pushes and returns, and put figures in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ...machine import Machine
from ...shell import Command
from ...timelines import Flow, Record
from ...verdicts import Finding, Verdict
from ..excuses import fair, starved
from ..judging import Found, Gap, names, pair_names, verdict_from
from ..remedies import Commands
from ..replies import failures
from ..site import Here
from .facts import BACK_OFF_SECONDS, Delay, How, Loss, Purpose, Push, flows


def judged_loss(here: Here, loss: Loss, found: Iterable[Found], passed: str) -> Verdict:
    """The verdict on what was found of one loss, with its time line."""
    verdict = verdict_from(fair(found, loss.machine), passed, pairs=pair_names(here.mesh))
    return with_time_line(verdict, loss)


def with_time_line(verdict: Verdict, loss: Loss) -> Verdict:
    """The verdict with the time line of a loss."""
    told = f"time line, API server of {loss.lost} {loss.how.value}"
    return verdict.with_timeline(told, loss.timeline)


def untouched(here: Here, loss: Loss, *, go_on: bool = True) -> Iterator[Found]:
    """What plain flows suffered from the loss's beginning to the end of the record.

    ``go_on`` demands answers during the loss from every cluster that answered a client before.
    """
    what = f"the API server of {loss.lost} was lost"
    sent: dict[str, list[Flow]] = {}
    for flow in flows(loss.timeline, Purpose.PLAIN):
        before, after = flow.between(flow.began, loss.began), flow.between(loss.began, flow.ended)
        if before.failures:
            yield Gap(f"{flow.name}: {failed_as(before.failures)}, before anything was broken")
            continue
        yield from failed_requests(here, after, what, (flow.source, loss.lost), loss.machine)
        if not flow.stream:
            sent.setdefault(flow.source, []).append(flow)
    if not sent:
        yield Gap("nothing was sent during the loss")
    for source, mine in sent.items() if go_on else ():
        yield from _silent(here, loss, source, mine, what)


def _silent(
    here: Here, loss: Loss, source: str, sent: Sequence[Flow], what: str
) -> Iterator[Finding]:
    """Clusters that answered a source before the loss, and not in its second half.

    What a loss takes away may take a moment to go.
    """
    earlier = [flow.between(flow.began, loss.began) for flow in sent]
    later = [flow.between(loss.began + loss.seconds / 2, loss.ended) for flow in sent]
    before = {cluster for flow in earlier for cluster in flow.answered_by()}
    silent = sorted(before - {cluster for flow in later for cluster in flow.answered_by()})
    if silent:
        count = sum(len(flow.records) for flow in later)
        yield Finding(
            f"{source} was not answered by {names(silent)} any more while {what}",
            clusters=tuple(dict.fromkeys((source, *silent))),
            expected=f"answers from {names(sorted(before))}, as before",
            seen=f"none from there among {count} requests in the second half of the loss",
            remedy=_show_endpoints(here, source),
            fault="loss-takes-endpoints",
        )


def failed_requests(
    here: Here, flow: Flow, what: str, clusters: tuple[str, ...], machine: Machine
) -> Iterator[Found]:
    """A finding where requests of a flow failed; a gap where the machine can be why."""
    if not flow.failures:
        return
    if reason := starved(flow, machine):
        yield Gap(reason)
        return
    counts = f"{len(flow.failures)} of {len(flow.records)} requests failed"
    gap = f"longest time without an answer {flow.longest_gap_seconds:.1f} s"
    yield Finding(
        f"{flow.source}: {counts} while {what} ({flow.name.partition(' (')[2][:-1]})",
        clusters=tuple(dict.fromkeys(clusters)),
        expected="no failed request: proxies keep their endpoints and certificates",
        seen=f"{failed_as(flow.failures)}; {gap}",
        remedy=_show_endpoints(here, flow.source),
        fault="requests-fail-during-loss",
    )


def _show_endpoints(here: Here, source: str) -> Command:
    client = f"deployment/client.{here.mesh.require_probes().namespace}"
    return Commands(here.snapshot).proxy_config(source, "endpoints", client)


def push_seconds(loss: Loss, push: Push, source: str) -> float | None:
    """Seconds until only the pushed route's cluster answered; None if not in time."""
    for flow in _pushed(loss, push, source):
        first = flow.steady_from(
            10, lambda record: record.cluster == push.config_cluster, push.when
        )
        return first.when - push.when if first and first.when < loss.ended else None
    return None


def _pushed(loss: Loss, push: Push, source: str) -> Iterator[Flow]:
    """The flows of a source to the service of a pushed route."""
    sent = flows(loss.timeline, Purpose.PUSHED, source)
    return (flow for flow in sent if flow.host == push.host)


def _sources(loss: Loss) -> list[tuple[Push, str]]:
    """Every pushed route with each source in which it is to be in force."""
    return [(push, source) for push in loss.pushes for source in push.sources]


def not_pushed(here: Here, loss: Loss) -> Iterator[Found]:
    """A finding for each source in which a pushed route was not in force in time."""
    within = here.timeouts.config_propagation
    if not loss.pushes:
        yield Gap("no control plane has its configuration in another cluster than the lost one")
    for push, source in _sources(loss):
        config = push.config_cluster
        before = [flow.between(flow.began, push.when) for flow in _pushed(loss, push, source)]
        if not before or set(before[0].answered_by()) <= {config}:
            yield Gap(
                f"{source}: only {config} answered before the route was pushed, "
                "so that it shows nothing"
            )
            continue
        seconds = push_seconds(loss, push, source)
        if seconds is None or seconds > within:
            yield Finding(
                f"a route applied in {config} while {loss.lost} was lost "
                f"is not in force in {source}",
                clusters=(config, source, loss.lost),
                expected=f"in force within {within:g} s",
                seen="not in force when the loss ended" if seconds is None else f"{seconds:.1f} s",
                remedy=Commands(here.snapshot).istioctl(config, "proxy-status"),
                fault="no-pushes-during-loss",
            )


def pushes_in_words(loss: Loss) -> str:
    """How long the pushed routes took to be in force, by source."""
    taken = {source: push_seconds(loss, push, source) for push, source in _sources(loss)}
    return _in_words(taken)


def with_pushes(verdict: Verdict, loss: Loss) -> Verdict:
    """The verdict with how long each pushed route took to be in force."""
    meanwhile = f"while the API server of {loss.lost} is {loss.how.value}"
    for push, source in _sources(loss):
        what = f"a route is in force in {source} {meanwhile}"
        verdict = verdict.with_convergence(what, push_seconds(loss, push, source))
    return verdict


def not_returned(here: Here, loss: Loss) -> Iterator[Found]:
    """A finding for each source that did not see the new endpoint in time."""
    if not loss.returns:
        yield Gap("nothing was sent after the loss")
    within = here.timeouts.remote_sync + BACK_OFF_SECONDS
    for entry in loss.returns:
        late = entry.after_endpoint_seconds
        if entry.seconds is None or late is None or late > within:
            yield Finding(
                f"an endpoint that {loss.lost} got after the loss of its API server "
                f"is not seen by {entry.source}",
                clusters=(entry.source, loss.lost),
                expected=f"an answer from it within {within:g} s: "
                "control planes watch it again after pauses of up to a minute",
                seen="none" if late is None else f"after {late:.1f} s",
                remedy=Commands(here.snapshot).istioctl(entry.source, "remote-clusters"),
                fault="endpoints-stay-stale-after-loss",
            )


def loss_in_words(loss: Loss) -> str:
    """Whose API server was lost, how, and for how long."""
    how = "refused connections" if loss.how is How.REFUSED else "hung"
    return f"the API server of {loss.lost} {how} for {loss.seconds:.0f} s"


def traffic_in_words(loss: Loss) -> str:
    """What became of the plain requests from the loss's beginning on."""
    plain = [flow.between(loss.began, flow.ended) for flow in flows(loss.timeline, Purpose.PLAIN)]
    gap = max((flow.longest_gap_seconds for flow in plain if not flow.stream), default=0.0)
    sent = sum(len(flow.records) for flow in plain)
    lacking = sum(len(flow.failures) for flow in plain)
    streams = sum(flow.stream for flow in plain)
    return (
        f"{lacking} of {sent} requests failed, longest time without an answer {gap:.1f} s, "
        f"{streams} streams whole"
    )


def delays_in_words(delays: Iterable[Delay]) -> str:
    """How long each source waited, where the change came about."""
    return _in_words({entry.source: entry.seconds for entry in delays})


def _in_words(seconds: Mapping[str, float | None]) -> str:
    """The times that there are: ``east 0.4 s, west 1.2 s``."""
    known = (f"{source} {taken:.1f} s" for source, taken in seconds.items() if taken is not None)
    return ", ".join(known) or "none"


def failed_as(records: Iterable[Record]) -> str:
    """The commonest ways in which requests failed, shortened, with counts."""
    return failures(records, characters=160)
