"""Leases on a real API server: one holder, until its heartbeat runs out."""

from __future__ import annotations

import time

import pytest

from pytest_istio_mc.kube import Kube, lease

PLACE = ("default", "istio-mc")


@pytest.fixture
def kube(kube: Kube) -> Kube:
    """The API server without a Lease."""
    kube.delete(lease.KIND, PLACE[1], PLACE[0])
    return kube


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds of silence are death."""
    monkeypatch.setenv(lease.HEARTBEAT_VARIABLE, "2")


def test_a_lease_has_one_holder_and_is_free_once_released(kube: Kube) -> None:
    assert lease.lease_in(kube, *PLACE) is None
    mine = lease.take(kube, *PLACE, "one", {})
    assert mine.holder == "one"
    assert abs(mine.until - kube.now() - 120) <= 2

    assert lease.take(kube, *PLACE, "two", {}).holder == "one"
    assert lease.take(kube, *PLACE, "one", {}).holder == "one"
    lease.release(kube, *PLACE, "two")
    assert lease.lease_in(kube, *PLACE) is not None
    assert not lease.renew(kube, *PLACE, "two")

    lease.release(kube, *PLACE, "one")

    assert lease.lease_in(kube, *PLACE) is None
    assert lease.take(kube, *PLACE, "two", {}).holder == "two"


def test_it_goes_on_as_long_as_it_is_renewed_and_no_longer(kube: Kube, impatient: None) -> None:
    lease.take(kube, *PLACE, "one", {})
    with lease.Heartbeats() as beats:
        beats.begin(kube, *PLACE, "one")
        time.sleep(4)
        assert lease.take(kube, *PLACE, "two", {}).holder == "one"

    time.sleep(3.5)

    taken = lease.take(kube, *PLACE, "two", {})
    assert taken.holder == "two"
    assert not lease.renew(kube, *PLACE, "one")


def test_a_longer_silence_can_be_announced(kube: Kube, impatient: None) -> None:
    lease.take(kube, *PLACE, "one", {})
    assert lease.renew(kube, *PLACE, "one", seconds=60)
    assert lease.renew(kube, *PLACE, "one")

    found = lease.lease_in(kube, *PLACE)

    assert found is not None
    assert 55 < found.until - kube.now() <= 61


@pytest.mark.parametrize("text", ["", "soon", "0", "-3"])
def test_a_heartbeat_that_makes_no_sense_is_never_shorter_than_a_second(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(lease.HEARTBEAT_VARIABLE, text)

    assert lease.heartbeat_seconds() >= 1
