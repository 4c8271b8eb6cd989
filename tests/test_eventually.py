"""Waiting: the value that came true, or the words that it did not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

from pytest_istio_mc.errors import KubeError, NotInTime
from pytest_istio_mc.eventually import Timeouts, awaited, eventually


def test_it_must_hold_often_enough_in_a_row() -> None:
    answers: Iterator[bool] = iter([True, False, True, True, True])
    seen = []

    def observe() -> bool:
        seen.append(next(answers))
        return seen[-1]

    converged = eventually(observe, bool, within_seconds=5, what="x", times=3, every_seconds=0.001)

    assert seen == [True, False, True, True, True]
    assert 0 < converged.first_seconds <= converged.stable_seconds


def test_the_last_observation_is_in_the_message() -> None:
    told = r"cluster east: not so within 0.02 s \(last seen: 3 of 4\)"
    with pytest.raises(NotInTime, match=told):
        eventually(lambda: "3 of 4", lambda _: False, within_seconds=0.02, what="cluster east")


def test_an_error_while_observing_is_an_observation() -> None:
    def observe() -> None:
        raise KubeError("cluster east", "GET /version", "connection refused")

    with pytest.raises(NotInTime, match="connection refused"):
        eventually(observe, lambda _: True, within_seconds=0.01, what="x", every_seconds=0.001)


def test_the_pauses_grow_with_the_wait() -> None:
    looks: list[float] = []

    def look() -> bool:
        looks.append(time.monotonic())
        return False

    with pytest.raises(NotInTime):
        eventually(look, bool, within_seconds=1.5, what="x", every_seconds=0.001)

    assert 20 < len(looks) < 150
    pauses = [after - before for before, after in pairwise(looks)]
    assert max(pauses[:-1]) > 0.08
    assert max(pauses) < 0.3
    assert 1.5 <= looks[-1] - looks[0] < 1.7  # the last look is at the end


def test_what_must_hold_in_a_row_is_looked_at_without_growing_pauses() -> None:
    began = time.monotonic()

    def look() -> bool:
        return time.monotonic() - began > 1.0

    converged = eventually(look, bool, within_seconds=5, what="x", times=10, every_seconds=0.01)

    assert 1.0 <= converged.first_seconds < 1.3
    assert converged.stable_seconds - converged.first_seconds < 0.4


def test_what_is_no_error_of_a_mesh_ends_the_wait_at_once() -> None:
    def observe() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        eventually(observe, lambda _: True, within_seconds=5, what="x")


def test_one_factor_scales_every_budget() -> None:
    doubled = Timeouts().scaled(2)

    assert doubled.request == Timeouts().request * 2
    assert doubled.remote_sync == Timeouts().remote_sync * 2


def test_what_is_awaited_is_seen_with_the_seconds_it_took() -> None:
    numbers = iter(range(10))

    seen, seconds = awaited(lambda: next(numbers), lambda n: n == 2, within_seconds=5, what="two")

    assert seen == 2
    assert seconds is not None
    assert seconds >= 0.2


def test_what_never_comes_is_seen_as_it_is_in_the_end() -> None:
    assert awaited(lambda: 1, lambda n: n == 2, within_seconds=0.05, what="two") == (1, None)
