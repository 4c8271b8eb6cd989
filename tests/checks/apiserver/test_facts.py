"""What is read from the time line of a loss, and which cluster is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pytest_istio_mc.checks.apiserver.facts import (
    Purpose,
    cluster_to_lose,
    drained_after,
    first_answered,
    is_drained,
    primary_to_lose,
)
from pytest_istio_mc.timelines import Timeline
from pytest_istio_mc.topologies import known
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
    assert is_drained(timeline(left), "east", "west", BEGAN)
    assert not is_drained(timeline(turns), "east", "west", BEGAN)
    assert not is_drained(timeline(left), "east", "west", LAST - 1), "too few requests to tell"


def test_how_long_it_went_on_answering() -> None:
    seconds = drained_after(timeline(left_and_came_back), "east", "west", BEGAN, ENDED).seconds

    assert seconds is not None
    assert 0 < seconds <= GONE - BEGAN
    assert drained_after(timeline(turns), "east", "west", BEGAN, ENDED).seconds is None


def test_a_stream_does_not_tell_that_a_cluster_is_back() -> None:
    when = first_answered(timeline(left_and_came_back), Purpose.PLAIN, "east", "west", ENDED)

    assert when is not None
    assert BACK <= when < BACK + 0.5
    assert first_answered(timeline(left), Purpose.PLAIN, "east", "west", ENDED) is None


def test_the_cluster_that_is_lost_is_one_that_others_watch() -> None:
    specs = {name: topology.default_spec() for name, topology in known().items()}
    lost = {name: cluster_to_lose(spec) for name, spec in specs.items()}
    primary = {name: primary_to_lose(spec) for name, spec in specs.items()}

    assert {name: cluster.name if cluster else "" for name, cluster in lost.items()} == {
        "multi-network-multi-primary": "cluster2",
        "multi-network-primary-remote": "cluster2",
        "flat-multi-primary": "cluster2",
        "flat-primary-remote": "cluster2",
        "external-control-plane": "cluster3",
        "ha-multi-primary-remote": "cluster4",
        "federated": "",
    }
    assert {name: cluster.name for name, cluster in primary.items() if cluster} == {
        "multi-network-primary-remote": "cluster1",
        "flat-primary-remote": "cluster1",
        "external-control-plane": "cluster2",
        "ha-multi-primary-remote": "cluster1",
    }
