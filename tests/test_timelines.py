"""Time lines: gaps, shifts and failures; to JSON and back."""

from __future__ import annotations

import json

import pytest

from pytest_istio_mc.observations import Ending, Protocol
from pytest_istio_mc.timelines import Flow, Mark, Record, Timeline


def record(when: float, cluster: str = "east", **changes: object) -> Record:
    """A request that a cluster answered; with no cluster, one that failed."""
    made = {"ending": Ending.ANSWERED, "status": 200 if cluster else 503, "cluster": cluster}
    pod = f"pod-{cluster}" if cluster else ""
    return Record(when, **{**made, "pod": pod, **changes})  # type: ignore[arg-type]


def flow(
    *records: Record, began: float = 0.0, ended: float = 10.0, keep_alive: bool = False
) -> Flow:
    target = ("east to hello", "east", "hello", 5000, Protocol.HTTP)
    return Flow(*target, keep_alive, 1.0, records, False, began, ended)


def test_what_counts_as_a_failure() -> None:
    refused = record(1.0, "", ending=Ending.REFUSED, status=0, error="ConnectionRefusedError: no")
    unhealthy = record(2.0, "", error="no healthy\n upstream")
    unsent = "not sent: 60 requests were unanswered"
    skipped = record(3.0, "", ending=Ending.SKIPPED, status=0, error=unsent)
    not_ours = record(4.0, "", status=200, error="<html>")

    here = flow(record(0.5), refused, unhealthy, skipped, not_ours, record(5.0, status=0))

    assert here.failures == (refused, unhealthy, skipped, not_ours)
    assert [one.failure for one in here.failures] == [
        "refused: ConnectionRefusedError: no",
        "503 no healthy upstream",
        f"skipped: {unsent}",
        "200 <html>",
    ]
    assert Timeline((here,)).failed_as() == dict.fromkeys((one.failure for one in here.failures), 1)


def test_the_longest_gap_counts_from_answer_to_answer() -> None:
    assert flow(*(record(float(at)) for at in range(11))).longest_gap_seconds == 1.0
    late = (record(1.0, latency_seconds=4.0), record(2.0, latency_seconds=3.5))
    slow = flow(record(0.0), *late, record(9.9))
    assert slow.longest_gap_seconds == pytest.approx(5.0), "answers at 0, 5, 5.5 and 9.9"


@pytest.mark.parametrize(
    ("times", "gap"),
    [([6.0, 9.0], 6.0), ([1.0, 2.0], 8.0), ([], 10.0)],
    ids=["before the first", "after the last", "no answer at all"],
)
def test_the_edges_of_the_run_are_part_of_its_gaps(times: list[float], gap: float) -> None:
    assert flow(*map(record, times)).longest_gap_seconds == gap


def test_a_window_has_gaps_of_its_own() -> None:
    whole = flow(record(1.0), record(2.0), record(8.0), record(9.0))

    assert whole.longest_gap_seconds == 6.0
    assert whole.between(8.0, 9.5).longest_gap_seconds == 1.0
    assert whole.between(2.5, 5.0).longest_gap_seconds == 2.5


def test_who_answered_first_last_and_steadily() -> None:
    answers = enumerate(["east", "west", "", "west", "west", "east"], 1)
    here = flow(*(record(float(at), cluster) for at, cluster in answers))
    timeline = Timeline((here, flow(record(1.5, "west"))))

    assert here.answered_by() == {"west": 3, "east": 2}
    assert timeline.answered_by() == {"west": 4, "east": 2}
    first, last = timeline.first_answer("west"), timeline.last_answer("west")
    assert first is not None
    assert last is not None
    assert (first.when, last.when) == (1.5, 5.0)
    assert timeline.first_answer("north") is None
    assert here.first_answer("east", after=2.0) == here.records[-1]
    assert here.steady_from(2, lambda one: one.cluster == "west") == here.records[3]
    assert here.steady_from(3) == here.records[3]
    assert here.steady_from(4) is None
    assert here.steady_from(2, after=4.5) == here.records[4]
    assert timeline.answered_without("west", after=0.0) == 1
    assert timeline.answered_without("north", after=2.5) == 3


def test_connections_that_were_not_there_any_more() -> None:
    records = [record(float(at), new_connection=at in (0, 4)) for at in range(6)]

    assert flow(*records, keep_alive=True).breaks == 1
    assert flow(*records).breaks == 0


def test_marks_choose_windows() -> None:
    mark = Mark(2.0, 4.0, "west stopped")
    here = flow(*(record(float(at)) for at in range(11)))
    timeline = Timeline((here,), (mark, Mark(9.0, 9.0, "west is back")))

    assert timeline.mark("west stopped") == mark
    assert [one.when for one in timeline.during("west stopped").flows[0].records] == [2.0, 3.0, 4.0]
    assert timeline.during("west stopped").marks == (mark,)
    with pytest.raises(KeyError, match="east stopped"):
        timeline.mark("east stopped")


def test_it_survives_being_written_down() -> None:
    failed = record(2.0, "", error="no healthy upstream", late_seconds=0.25)
    flows = (flow(record(1.0), failed), flow(began=1.0))
    timeline = Timeline(flows, (Mark(1.0, 2.0, "west stopped"),), 0.002)

    assert Timeline.from_dict(json.loads(json.dumps(timeline.to_dict()))) == timeline


def test_in_a_word() -> None:
    good = (record(1.0), record(2.0, "west"), record(3.0, "west"))
    timeline = Timeline((flow(*good, record(4.0, "", error="no healthy upstream")),))

    failed = "1 failed (1× 503 no healthy upstream)"
    assert str(timeline) == f"4 requests, answered by west 2, east 1, {failed}"
    assert str(Timeline(())) == "0 requests, answered by nobody, none failed"
