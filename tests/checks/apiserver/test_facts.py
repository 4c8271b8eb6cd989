"""What is read from the time line of an outage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pytest_istio_mc.checks.apiserver.facts import Purpose, answered, drained, drained_after
from pytest_istio_mc.timelines import Timeline
from tests.checks.apiserver.losses import BEGAN, ENDED, LAST, flow, turns

GONE, BACK = BEGAN + 0.5, ENDED + 0.5


def left(when: float, number: int) -> str:
    """West answers, in its turn, until it is gone."""
    return turns(when, number) if when < GONE else "east"


def left_and_came_back(when: float, number: int) -> str:
    return turns(when, number) if when < GONE or when >= BACK else "east"


def timeline(who: Callable[[float, int], str]) -> Timeline:
    """Requests of east, and a stream that stays with west throughout."""
    stream = replace(
        flow("east", Purpose.PLAIN, lambda when, number: "west", detail="stream"), stream=True
    )
    return Timeline((flow("east", Purpose.PLAIN, who, detail="new connections"), stream))


def test_a_cluster_is_gone_when_it_answered_none_of_the_last_requests() -> None:
    assert drained(timeline(left), "east", "west", BEGAN)
    assert not drained(timeline(turns), "east", "west", BEGAN)
    assert not drained(timeline(left), "east", "west", LAST - 1), "too few requests to tell"


def test_how_long_it_went_on_answering() -> None:
    seconds = drained_after(timeline(left_and_came_back), "east", "west", BEGAN, ENDED).seconds

    assert seconds is not None
    assert 0 < seconds <= GONE - BEGAN
    assert drained_after(timeline(turns), "east", "west", BEGAN, ENDED).seconds is None


def test_a_stream_does_not_tell_that_a_cluster_is_back() -> None:
    when = answered(timeline(left_and_came_back), Purpose.PLAIN, "east", "west", ENDED)

    assert when is not None
    assert BACK <= when < BACK + 0.5
    assert answered(timeline(left), Purpose.PLAIN, "east", "west", ENDED) is None
