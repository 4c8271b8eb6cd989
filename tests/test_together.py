"""Doing one thing to all clusters at once."""

from __future__ import annotations

import threading

import pytest

from pytest_istio_mc.together import side_by_side


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


def test_nothing_to_do_is_nothing() -> None:
    assert side_by_side(lambda _: 1, {}) == {}
