"""Doing one thing to all clusters at once."""

from __future__ import annotations

import threading
import time

import pytest

from pytest_istio_mc.together import for_each, side_by_side, try_each


def test_results_come_under_the_names_of_the_items() -> None:
    assert side_by_side(lambda number: number * 2, {"east": 1, "west": 2}) == {"east": 2, "west": 4}


def test_all_run_at_once() -> None:
    together = threading.Barrier(3, timeout=5)

    side_by_side(lambda _: together.wait(), [(str(number), number) for number in range(3)])


def test_the_first_failure_is_raised_without_waiting_for_the_others() -> None:
    never = threading.Event()

    def work(name: str) -> None:
        if name == "west":
            raise LookupError(name)
        never.wait(30)

    with pytest.raises(LookupError, match="west"):
        side_by_side(work, [("east", "east"), ("west", "west")])
    never.set()


def test_a_failure_for_each_is_raised_when_all_have_ended() -> None:
    ended: list[str] = []
    raised = threading.Event()

    def work(name: str) -> None:
        if name == "west":
            raised.set()
            raise LookupError(name)
        raised.wait(5)
        ended.append(name)

    with pytest.raises(LookupError, match="west"):
        for_each(work, ["west", "east", "north"])
    assert sorted(ended) == ["east", "north"]


def test_what_must_not_be_left_out_is_tried_for_all_before_a_failure_is_raised() -> None:
    tried: list[int] = []

    def remove(number: int) -> None:
        tried.append(number)
        if number == 0:
            raise LookupError(number)

    with pytest.raises(LookupError, match="0"):
        try_each(remove, range(20), at_once=2)
    assert sorted(tried) == list(range(20))


def test_no_more_go_on_at_once_than_asked() -> None:
    lock, going, most = threading.Lock(), [0], [0]

    def work(number: int) -> int:
        with lock:
            going[0] += 1
            most[0] = max(most[0], going[0])
        time.sleep(0.005)
        with lock:
            going[0] -= 1
        return number * 2

    assert for_each(work, range(6), at_once=2) == [0, 2, 4, 6, 8, 10]
    assert most == [2]


def test_nothing_to_do_is_nothing() -> None:
    assert side_by_side(lambda _: 1, {}) == {}
    assert for_each(lambda name: name, []) == []
