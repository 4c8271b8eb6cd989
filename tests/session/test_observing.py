"""Observations are made beforehand, side by side, and once each."""

from __future__ import annotations

import threading

import pytest

from pytest_istio_mc.session.observing import Observations


def test_what_was_begun_is_made_beside_its_test_and_says_so() -> None:
    observations = Observations(2)
    made, go_on = threading.Event(), threading.Event()

    def observe() -> bool:
        made.set()
        return go_on.wait(5)

    observations.begin("key", observe)
    assert made.wait(5)
    observations.begin("key", lambda: pytest.fail("made twice"))
    go_on.set()
    observed = observations.result("key", lambda: pytest.fail("made twice"))
    observations.close()

    assert observed.ahead
    assert observed.value is True


def test_what_was_not_begun_is_made_when_it_is_asked_for() -> None:
    observations = Observations(2)

    observed = observations.result("key", threading.current_thread)

    assert (observed.value, observed.ahead) == (threading.current_thread(), False)
    assert observations.result("key", lambda: pytest.fail("made twice")) is observed


@pytest.mark.parametrize(("clusters", "most"), [(2, 4), (3, 2), (4, 1), (9, 1)])
def test_more_clusters_are_observed_less_side_by_side(clusters: int, most: int) -> None:
    observations = Observations(clusters)
    lock, go_on, going = threading.Lock(), threading.Event(), [0]

    def observe() -> None:
        with lock:
            going[0] += 1
        go_on.wait(5)

    for key in range(6):
        observations.begin(key, observe)
    threading.Event().wait(0.05)
    seen = going[0]
    go_on.set()
    observations.close()

    assert seen == most


def test_closing_makes_no_more_and_forgets_all() -> None:
    observations = Observations(9)
    begun, go_on = threading.Event(), threading.Event()

    def observe() -> bool:
        begun.set()
        return go_on.wait(5)

    observations.begin("first", observe)
    observations.begin("second", lambda: pytest.fail("begun after the end"))
    assert begun.wait(5)

    threading.Timer(0.05, go_on.set).start()
    observations.close()

    assert observations.result("first", lambda: "anew").value == "anew"


def test_what_was_interrupted_is_so_for_whoever_asks_again() -> None:
    observations = Observations(2)

    def interrupted() -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            observations.result("key", interrupted)
