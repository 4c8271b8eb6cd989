"""Waiting: what is returned when it comes true, and what is said when it does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_istio_mc.errors import KubeError, NotInTime
from pytest_istio_mc.eventually import Timeouts, consistently, eventually


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
    with pytest.raises(
        NotInTime, match=r"cluster east: not so within 0.02 s \(last seen: 3 of 4\)"
    ):
        eventually(
            lambda: "3 of 4",
            lambda _: False,
            within_seconds=0.02,
            what="cluster east",
            every_seconds=0.001,
        )


def test_an_error_while_observing_is_an_observation() -> None:
    def observe() -> None:
        raise KubeError("cluster east", "GET /version", "connection refused")

    with pytest.raises(NotInTime, match="connection refused"):
        eventually(observe, lambda _: True, within_seconds=0.01, what="x", every_seconds=0.001)


def test_absence_must_last() -> None:
    assert (
        consistently(lambda: 0, lambda n: n == 0, for_seconds=0.02, what="x", every_seconds=0.001)
        == 0
    )
    answers = iter([0, 0, 1])
    with pytest.raises(NotInTime, match="seen: 1"):
        consistently(
            lambda: next(answers), lambda n: n == 0, for_seconds=5, what="x", every_seconds=0.001
        )


def test_one_factor_scales_every_budget() -> None:
    doubled = Timeouts().scaled(2)

    assert doubled.request == Timeouts().request * 2
    assert doubled.remote_sync == Timeouts().remote_sync * 2
