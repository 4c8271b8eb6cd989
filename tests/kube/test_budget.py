"""How many requests one API server gets."""

from __future__ import annotations

import time
from pathlib import Path

from pytest_istio_mc.kube.budget import AT_ONCE, Budget
from pytest_istio_mc.together import for_each
from tests.kube.fake_api import EMPTY, Handler, client_of, fake_api


def slowly(handler: Handler) -> None:
    time.sleep(0.05)
    handler.reply(200, EMPTY)


def test_an_apiserver_gets_eight_requests_at_once_from_all_clients_together(tmp_path: Path) -> None:
    with fake_api() as api:
        api.answer = slowly
        kubes = [client_of(api.url, tmp_path), client_of(api.url, tmp_path)]

        for_each(lambda number: kubes[number % 2].list("Pod"), range(40), at_once=40)

        assert len(api.seen) == 40
        assert api.most_at_once == AT_ONCE


def test_apiservers_do_not_wait_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with fake_api() as one, fake_api() as other:
        one.answer = other.answer = slowly
        kubes = [client_of(one.url, tmp_path / "one"), client_of(other.url, tmp_path)]

        for_each(lambda number: kubes[number % 2].list("Pod"), range(40), at_once=40)

        assert one.most_at_once == other.most_at_once == AT_ONCE


def test_a_watch_takes_no_place(tmp_path: Path) -> None:
    with fake_api() as api:
        kube = client_of(api.url, tmp_path)
        api.then(*[lambda handler: time.sleep(1.5)] * AT_ONCE)
        watches = [kube.watch("Pod", None, "1", within_seconds=1.5) for _ in range(AT_ONCE)]

        def begin(number: int) -> float:
            if number < AT_ONCE:
                list(watches[number])
                return 0.0
            time.sleep(0.3)
            began = time.monotonic()
            kube.list("Pod")
            return time.monotonic() - began

        assert for_each(begin, range(AT_ONCE + 1), at_once=AT_ONCE + 1)[-1] < 1


def test_a_burst_is_let_through_and_more_is_spread() -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    budget = Budget(8, per_second=50, burst=100, clock=lambda: now[0], sleep=sleep)

    for _ in range(100):
        budget.admit()
    assert slept == []
    for _ in range(100):
        budget.admit()
    assert abs(sum(slept) - 2.0) < 0.01
    assert abs(now[0] - 2.0) < 0.01

    now[0] += 60
    slept.clear()
    for _ in range(100):
        budget.admit()
    assert slept == []
