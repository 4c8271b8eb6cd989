"""The judges of endpoints that come and go, on time lines of healthy and of spoilt meshes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pytest_istio_mc.checks.discovery.changes import (
    arrival,
    departure,
    leaving_endpoints_gone,
    new_endpoints_seen,
)
from pytest_istio_mc.checks.discovery.facts import EndpointChange, EndpointChanges, Unready
from pytest_istio_mc.evidence.pictures import drawn
from pytest_istio_mc.observations import Ending, Protocol
from pytest_istio_mc.timelines import Flow, Record, Timeline
from pytest_istio_mc.verdicts import Outcome, Verdict
from tests.checks.live_mesh import NAMESPACE, here

HERE = here()
IMPATIENT = replace(HERE, timeouts=replace(HERE.timeouts, endpoint_propagation=1.0))
CLUSTERS = ("east", "west")
CHANGED = 2.0
ENDED = 6.0

Spoil = Callable[[Flow], Flow]


def answer(when: float, cluster: str, **changes: object) -> Record:
    made = {
        "ending": Ending.ANSWERED,
        "status": 200,
        "latency_seconds": 0.005,
        "cluster": cluster,
        "pod": f"hello-{cluster}",
    }
    return Record(when, **{**made, **changes})  # type: ignore[arg-type]


def failure(when: float, error: str = "no healthy upstream", **changes: object) -> Record:
    return answer(when, "", pod="", status=503, error=error, **changes)


def flow(
    source: str, host: str, records: list[Record], *, keep_alive: bool = False, stream: bool = False
) -> Flow:
    name = f"{source} to {host}, {'kept' if keep_alive else 'new'} connections"
    port, protocol = (5001, Protocol.TCP) if stream else (5000, Protocol.HTTP)
    return Flow(
        name,
        source,
        f"{host}.{NAMESPACE}",
        port,
        protocol,
        keep_alive,
        0.1,
        tuple(records),
        stream,
        0.0,
        ENDED,
    )


def times() -> list[float]:
    return [round(0.1 * place, 1) for place in range(int(10 * ENDED))]


def came(spoil: Spoil = lambda one: one, *, after: float = 0.3) -> EndpointChanges:
    """New endpoints that are seen ``after`` some seconds."""
    flows = []
    for target in CLUSTERS:
        for source in CLUSTERS:
            records = [
                answer(at, target) if at >= CHANGED + after else failure(at) for at in times()
            ]
            flows.append(spoil(flow(source, f"new-in-{target}", records)))
    changes = tuple(
        EndpointChange(target, f"new-in-{target}.{NAMESPACE}", CHANGED) for target in CLUSTERS
    )
    return EndpointChanges(Timeline(tuple(flows)), changes, 5)


def left(
    spoil: Spoil = lambda one: one,
    *,
    after: float = 0.2,
    idle: frozenset[tuple[str, str]] = frozenset(),
) -> EndpointChanges:
    """Endpoints that are last asked ``after`` some seconds, beside streams that go on."""
    flows = []
    for target in CLUSTERS:
        for source in CLUSTERS:
            for keep in (False, True):
                records = [
                    answer(
                        at,
                        CLUSTERS[place % 2]
                        if at <= CHANGED + after
                        else next(one for one in CLUSTERS if one != target),
                    )
                    for place, at in enumerate(times())
                ]
                flows.append(spoil(flow(source, f"leaves-{target}", records, keep_alive=keep)))
    flows += [
        spoil(
            flow(
                source,
                "helloworld",
                [answer(at, "west") for at in times()],
                keep_alive=True,
                stream=True,
            )
        )
        for source in CLUSTERS
    ]
    changes = tuple(
        EndpointChange(target, f"leaves-{target}.{NAMESPACE}", CHANGED) for target in CLUSTERS
    )
    return EndpointChanges(Timeline(tuple(flows)), changes, 14, idle)


def only(
    source: str, host: str, change: Callable[[Record], Record], *, keep_alive: bool | None = None
) -> Spoil:
    """Change the records of one flow, or of both kinds of connections to one host."""

    def spoil(one: Flow) -> Flow:
        if (one.source, one.host) != (source, f"{host}.{NAMESPACE}") or keep_alive not in (
            None,
            one.keep_alive,
        ):
            return one
        return replace(one, records=tuple(map(change, one.records)))

    return spoil


def appear(seen: EndpointChanges) -> Verdict:
    return new_endpoints_seen(HERE, seen)


def leave(seen: EndpointChanges) -> Verdict:
    return leaving_endpoints_gone(HERE, seen)


def faults(verdict: Verdict) -> list[tuple[str, tuple[str, ...]]]:
    return [(finding.fault, finding.clusters) for finding in verdict.findings]


def test_new_endpoints_that_answer_everywhere_are_conformant_with_the_time_it_took() -> None:
    verdict = appear(came())

    assert verdict.outcome is Outcome.CONFORMANT, verdict
    assert verdict.check == "MC-DISCOVERY-004"
    assert "5 times in a row, at the latest from 0.30 s after" in verdict.reason
    converged = arrival(came())
    assert converged is not None
    assert converged.first_seconds == pytest.approx(0.3)
    assert converged.stable_seconds == pytest.approx(0.3)


def test_a_new_endpoint_that_a_cluster_never_sees_is_named_with_the_last_failure() -> None:
    seen = came(only("east", "new-in-west", lambda one: failure(one.when)))
    verdict = appear(seen)

    assert verdict.outcome is Outcome.NON_CONFORMANT
    assert faults(verdict) == [("new-endpoint-not-seen", ("east", "west"))]
    assert "last failure: 503 no healthy upstream" in verdict.findings[0].seen
    assert "--context=k-east" in verdict.findings[0].remedy
    assert arrival(seen) is None


def test_a_new_endpoint_that_is_seen_too_late_is_not_conformant() -> None:
    verdict = new_endpoints_seen(IMPATIENT, came(after=1.5))

    assert {fault for fault, _ in faults(verdict)} == {"new-endpoint-late"}
    assert len(verdict.findings) == 4


def test_a_new_endpoint_that_is_lost_again_flaps() -> None:
    verdict = appear(
        came(only("west", "new-in-west", lambda one: failure(one.when) if one.when > 5.0 else one))
    )

    assert faults(verdict) == [("endpoint-flaps", ("west", "west"))]


def test_it_is_not_enough_that_somebody_answers() -> None:
    verdict = appear(
        came(
            only(
                "east",
                "new-in-west",
                lambda one: answer(one.when, "east") if one.succeeded else one,
            )
        )
    )

    assert faults(verdict) == [("answered-elsewhere", ("east", "west"))]


def test_a_service_that_is_not_known_everywhere_is_named_before_anything_changes() -> None:
    unready = (Unready("east", "west", "8× answered by east"), Unready("west", "west", "1× 404"))
    seen = EndpointChanges(Timeline(()), (), 5, unready=unready)

    for verdict in (appear(seen), leave(seen)):
        assert faults(verdict) == [
            ("new-service-not-seen", ("east", "west")),
            ("new-service-not-seen", ("west",)),
        ]
        assert verdict.findings[0].seen == "8× answered by east"


def test_requests_that_fail_before_anything_leaves_say_nothing_about_leaving() -> None:
    failing = EndpointChanges(
        Timeline(()),
        (),
        5,
        unready=(Unready("east", "", "9× answered by east; 9× answered by west; 1× timeout"),),
    )

    verdict = leave(failing)

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "1× timeout" in verdict.reason


def test_where_nothing_was_sent_nothing_is_known() -> None:
    nothing = came(lambda one: replace(one, records=()) if one.source == "east" else one)
    assert appear(nothing).outcome is Outcome.INCONCLUSIVE
    assert (
        leave(left(lambda one: replace(one, records=()) if one.stream else one)).outcome
        is Outcome.INCONCLUSIVE
    )
    assert departure(EndpointChanges(Timeline(()), (), 5)) is None


def test_endpoints_that_leave_quietly_are_conformant_with_the_time_it_took() -> None:
    verdict = leave(left())

    assert verdict.outcome is Outcome.CONFORMANT, verdict
    assert verdict.check == "MC-DISCOVERY-005"
    assert "was last asked at most 0.20 s after" in verdict.reason
    assert (
        "none of 600 requests over new and kept connections failed, and 2 streams" in verdict.reason
    )


@pytest.mark.parametrize("keep_alive", [False, True], ids=["new", "kept"])
def test_one_failed_request_while_an_endpoint_leaves_is_not_conformant(keep_alive: bool) -> None:
    spoil = only(
        "east",
        "leaves-west",
        lambda one: failure(one.when, "reset") if one.when == 2.1 else one,
        keep_alive=keep_alive,
    )

    verdict = leave(left(spoil))

    assert faults(verdict) == [("removal-fails-requests", ("east", "west"))]
    finding = verdict.findings[0]
    assert finding.summary.startswith("east: 1 of 120 requests failed")
    assert f"over {'kept' if keep_alive else 'new'} connections: 503 reset, +0.10 s" in finding.seen


def test_an_endpoint_that_is_asked_for_ever_is_named() -> None:
    asked = only(
        "east",
        "leaves-west",
        lambda one: answer(one.when, "west") if one.when > CHANGED else one,
        keep_alive=True,
    )

    verdict = leave(left(asked))

    assert faults(verdict) == [("endpoint-still-used", ("east", "west"))]
    assert "last answer from west +3.90 s" in verdict.findings[0].seen


def test_too_few_requests_do_not_show_that_an_endpoint_is_gone() -> None:
    short = left(
        lambda one: replace(
            one, records=tuple(record for record in one.records if record.when < 2.6)
        )
    )

    assert {fault for fault, _ in faults(leave(short))} == {"endpoint-still-used"}
    assert "perhaps still" in leave(short).findings[0].summary


def test_an_endpoint_that_is_asked_longer_than_the_budget_is_late() -> None:
    verdict = leaving_endpoints_gone(IMPATIENT, left(after=2.0))

    assert {fault for fault, _ in faults(verdict)} == {"endpoint-still-used"}


def test_what_waits_behind_nearer_instances_is_not_judged_and_named() -> None:
    never = only("east", "leaves-west", lambda one: answer(one.when, "east"))

    verdict = leave(left(never, idle=frozenset({("east", "west")})))

    assert verdict.outcome is Outcome.CONFORMANT
    assert "nearer instances come first: east to west" in verdict.reason
    assert leave(left(never)).outcome is Outcome.INCONCLUSIVE


def test_a_stream_that_breaks_meanwhile_is_not_conformant() -> None:
    broken = only(
        "west",
        "helloworld",
        lambda one: failure(one.when, "EOF", ending=Ending.CLOSED) if one.when == 2.5 else one,
    )

    verdict = leave(left(broken))

    assert faults(verdict) == [("stream-broken", ("west",))]
    assert "closed: EOF" in verdict.findings[0].seen


def test_a_busy_machine_is_not_blamed_on_the_mesh_nor_passed() -> None:
    def starve(one: Flow) -> Flow:
        slow = (
            failure(
                record.when,
                "timed out",
                ending=Ending.TIMEOUT,
                latency_seconds=5.0,
                late_seconds=3.0,
            )
            if record.when == 4.1
            else record
            for record in one.records
        )
        return replace(one, records=tuple(slow))

    for verdict in (leave(left(starve)), appear(came(starve))):
        assert verdict.outcome is Outcome.INCONCLUSIVE
        assert "later than planned" in verdict.reason


def test_a_busy_machine_does_not_matter_where_a_new_endpoint_is_seen_in_spite_of_it() -> None:
    def late(record: Record) -> Record:
        return (
            replace(record, latency_seconds=1.5, late_seconds=1.5) if record.when == 1.0 else record
        )

    assert appear(came(only("east", "new-in-west", late))).outcome is Outcome.CONFORMANT


def test_requests_that_could_not_be_sent_because_answers_are_slow_are_no_failures() -> None:
    def slow(record: Record) -> Record:
        if 2.5 <= record.when <= 2.7:
            return Record(
                record.when, Ending.SKIPPED, error="not sent: 32 requests were unanswered"
            )
        return replace(record, latency_seconds=3.4) if record.when == 1.5 else record

    verdict = leave(left(only("west", "leaves-west", slow)))

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "after 3.4 s at the latest" in verdict.reason


def test_a_time_out_on_a_machine_that_keeps_time_is_the_meshs() -> None:
    lost = only(
        "east",
        "leaves-west",
        lambda one: failure(one.when, "timed out", latency_seconds=5.0) if one.when == 2.1 else one,
    )

    assert {fault for fault, _ in faults(leave(left(lost)))} == {"removal-fails-requests"}


def test_the_time_line_goes_with_the_verdict() -> None:
    verdict = leave(left())

    assert [title for title, _ in verdict.timelines] == ["endpoints that leave"]
    assert [item.media_type for item in drawn(verdict).evidence] == [
        "image/svg+xml",
        "application/json",
    ]


def test_how_long_it_took_is_a_figure_of_the_verdict() -> None:
    figures = [*appear(came()).convergence, *leave(left()).convergence]

    assert [(one.what, one.first_seconds) for one in figures] == [
        ("a new endpoint answers in every cluster", 0.3),
        ("an endpoint that left is not asked any more", 0.2),
    ]
    never = came(only("east", "new-in-west", lambda one: failure(one.when)))
    assert appear(never).convergence == ()
