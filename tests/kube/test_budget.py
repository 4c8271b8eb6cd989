"""How many requests one API server gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pytest_istio_mc.errors import KubeError
from pytest_istio_mc.kube.budget import AT_ONCE, Budget
from pytest_istio_mc.together import for_each
from tests.kube.fake_api import EMPTY, FakeApi, Handler, client_of, fake_api


def when_full(api: FakeApi) -> Callable[[Handler], None]:
    """Answer once as many requests have come at once as may, and a little later than that."""

    def answer(handler: Handler) -> None:
        until = time.monotonic() + 10
        while api.most_at_once < AT_ONCE and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.02)
        handler.reply(200, EMPTY)

    return answer


def test_an_apiserver_gets_eight_requests_at_once_from_all_clients_together(tmp_path: Path) -> None:
    with fake_api() as api:
        api.answer = when_full(api)
        kubes = [client_of(api.url, tmp_path), client_of(api.url, tmp_path)]

        for_each(lambda number: kubes[number % 2].list("Pod"), range(40), at_once=40)

        assert len(api.seen) == 40
        assert api.most_at_once == AT_ONCE


def test_apiservers_do_not_wait_for_each_other(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with fake_api() as one, fake_api() as other:
        busy, idle = client_of(one.url, tmp_path / "one"), client_of(other.url, tmp_path)
        asked = threading.Event()

        def answer(handler: Handler) -> None:
            assert asked.wait(20)
            handler.reply(200, EMPTY)

        one.answer = answer

        def ask(number: int) -> None:
            if number < 3 * AT_ONCE:
                busy.list("Pod")
            else:
                idle.list("Pod")
                asked.set()

        for_each(ask, range(3 * AT_ONCE + 1), at_once=3 * AT_ONCE + 1)

        assert one.most_at_once == AT_ONCE
        assert len(other.seen) == 1


def test_a_watch_takes_no_place(tmp_path: Path) -> None:
    with fake_api() as api:
        kube = client_of(api.url, tmp_path, request_timeout_seconds=20)
        listed = threading.Event()

        def stay(handler: Handler) -> None:
            assert listed.wait(20)
            handler.close_connection = True

        api.then(*[stay] * AT_ONCE)

        def ask(number: int) -> None:
            if number < AT_ONCE:
                with suppress(KubeError):
                    list(kube.watch("Pod", None, "1", within_seconds=30))
            else:
                while len(api.seen) < AT_ONCE:
                    time.sleep(0.01)
                kube.list("Pod")
                listed.set()

        for_each(ask, range(AT_ONCE + 1), at_once=AT_ONCE + 1)

        assert api.most_at_once == AT_ONCE + 1


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
