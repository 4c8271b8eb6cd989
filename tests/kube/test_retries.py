"""Requests that are sent again, and those that must not be."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_istio_mc.errors import GivenUp, KubeError, ProvisionError
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.kube.retries import TRIES
from tests.kube.fake_api import (
    EMPTY,
    FakeApi,
    Handler,
    Misbehaviour,
    client_of,
    closes,
    cuts,
    fake_api,
    forwards,
    refuses,
    resets,
    trickles,
)

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "b"}}
VERSIONED = {"metadata": {"resourceVersion": "7"}, "data": {}}

HICCUPS: dict[str, Misbehaviour] = {
    "too many requests": refuses(429, "too many requests, please try again later", Retry_After="0"),
    "internal error": refuses(500),
    "bad gateway": refuses(502),
    "unavailable": refuses(503),
    "gateway time-out": refuses(504),
    "reset": resets,
    "end of the connection": closes,
    "half an answer": cuts,
}
SAFE: dict[str, Callable[[Kube], Any]] = {
    "list": lambda kube: kube.list("Pod"),
    "read": lambda kube: kube.read("Pod", "a", "b"),
    "delete": lambda kube: kube.delete("Pod", "a", "b"),
    "logs": lambda kube: kube.logs("b", "a", "c"),
    "apply": lambda kube: kube.apply(POD),
    "merge of a version": lambda kube: kube.merge("ConfigMap", "a", "b", VERSIONED),
    "dry run": lambda kube: kube.create(POD, dry_run=True),
    "clock": lambda kube: kube.now(),
}


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with fake_api() as running:
        yield running


@pytest.fixture
def kube(api: FakeApi, tmp_path: Path) -> Iterator[Kube]:
    client = client_of(api.url, tmp_path)
    yield client
    client.close()


@pytest.mark.parametrize("hiccup", HICCUPS)
@pytest.mark.parametrize("what", SAFE)
def test_one_hiccup_is_not_noticed(api: FakeApi, kube: Kube, what: str, hiccup: str) -> None:
    api.then(HICCUPS[hiccup])

    SAFE[what](kube)

    assert len(api.seen) == 2
    assert len({(seen.method, seen.path) for seen in api.seen}) == 1


@pytest.mark.parametrize("hiccup", HICCUPS)
def test_what_makes_an_object_is_sent_once(api: FakeApi, kube: Kube, hiccup: str) -> None:
    api.then(HICCUPS[hiccup])

    with pytest.raises(KubeError):
        kube.create(POD)

    assert len(api.seen) == 1


def test_a_merge_of_any_version_is_repeated_only_where_nothing_was_done(
    api: FakeApi, kube: Kube
) -> None:
    api.then(refuses(429))
    kube.merge("ConfigMap", "a", "b", {"data": {}})
    assert len(api.seen) == 2

    api.then(refuses(503))
    with pytest.raises(KubeError, match="503"):
        kube.merge("ConfigMap", "a", "b", {"data": {}})
    assert len(api.seen) == 3


def test_a_deletion_that_was_done_at_the_first_try_is_fine(api: FakeApi, kube: Kube) -> None:
    api.then(resets, refuses(404))

    kube.delete("Namespace", "a")

    assert [seen.method for seen in api.seen] == ["DELETE", "DELETE"]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 410, 422])
def test_a_refusal_for_good_is_heeded_at_once(api: FakeApi, kube: Kube, status: int) -> None:
    api.then(refuses(status), refuses(status))

    with pytest.raises(KubeError) as refused:
        kube.get_path("/version")

    assert refused.value.status == status
    assert len(api.seen) == 1


def test_the_pause_that_is_asked_for_is_made(api: FakeApi, kube: Kube) -> None:
    api.then(refuses(429, Retry_After="1"))

    kube.list("Pod")

    first, second = api.seen
    assert 1.0 <= second.when - first.when < 6.0


def test_a_pause_longer_than_there_is_time_is_not_begun(api: FakeApi, tmp_path: Path) -> None:
    kube = client_of(api.url, tmp_path, request_timeout_seconds=1)
    api.then(refuses(503, "restarting", Retry_After="3600"))
    began = time.monotonic()

    with pytest.raises(KubeError, match="restarting"):
        kube.list("Pod")

    assert time.monotonic() - began < 5


def test_what_does_not_pass_says_how_often_it_was_tried(api: FakeApi, kube: Kube) -> None:
    api.answer = refuses(503, "down")
    began = time.monotonic()

    with pytest.raises(KubeError, match=rf"HTTP 503: down; tried {TRIES} times in \d\.\d s") as end:
        kube.list("Pod")

    assert end.value.status == 503
    assert len(api.seen) == TRIES
    assert time.monotonic() - began < 6


def test_an_apiserver_that_is_gone_is_said_soon(tmp_path: Path) -> None:
    with fake_api() as api:
        url = api.url
    began = time.monotonic()

    with pytest.raises(KubeError, match=r"refused.*; tried 4 times"):
        client_of(url, tmp_path).list("Pod")

    assert time.monotonic() - began < 6


@pytest.mark.parametrize("of", ["headers", "body"])
def test_an_answer_that_trickles_ends_in_time(api: FakeApi, tmp_path: Path, of: str) -> None:
    kube = client_of(api.url, tmp_path, request_timeout_seconds=1)
    api.answer = trickles(of)
    began = time.monotonic()

    with pytest.raises(KubeError, match="not within 1 s"):
        kube.list("Pod")

    assert 0.9 < time.monotonic() - began < 6
    assert len(api.seen) == 1


@pytest.mark.parametrize("of", ["headers", "body"])
def test_a_stream_whose_begin_trickles_ends_in_time(api: FakeApi, tmp_path: Path, of: str) -> None:
    kube = client_of(api.url, tmp_path, request_timeout_seconds=1)
    api.answer = trickles(of)
    began = time.monotonic()

    with pytest.raises(KubeError):
        kube.exec("default", "any", "any", ["true"])

    assert time.monotonic() - began < 6


def test_a_pod_that_trickles_ends_in_time(api: FakeApi, kube: Kube) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    api.answer = forwards([head, *[b"x"] * 200], 0.1)
    began = time.monotonic()

    with pytest.raises(KubeError, match=r"no whole answer within 1\.8 s"):
        kube.http_get("a", "b", 15000, "/config_dump", timeout_seconds=0.3)

    assert 1.7 < time.monotonic() - began < 10


def test_a_slow_pod_is_read_to_the_end(api: FakeApi, kube: Kube) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    api.answer = forwards([head, *[b"x"] * 10], 0.1)

    body = kube.http_get("a", "b", 15000, "/config_dump", timeout_seconds=0.3)

    assert body == b"x" * 10


def test_waiting_for_a_deployment_survives_a_watch_that_breaks(api: FakeApi, kube: Kube) -> None:
    def deployment(replicas: int) -> dict[str, Any]:
        counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), replicas)
        status = {"observedGeneration": 1, **counts}
        metadata = {"name": "app", "generation": 1}
        return {"metadata": metadata, "spec": {"replicas": 1}, "status": status}

    def listed(replicas: int) -> Misbehaviour:
        document = {"metadata": {"resourceVersion": "1"}, "items": [deployment(replicas)]}
        return lambda handler: handler.reply(200, document)

    api.then(listed(0), resets, listed(0), refuses(429), listed(0), refuses(503), listed(1))

    kube.wait_available([("Deployment", "app")], "b", within_seconds=20)

    assert [seen.query.get("watch") for seen in api.seen] == [None, "true"] * 3 + [None]


@pytest.mark.parametrize("seed", range(3))
def test_a_long_run_survives_a_lossy_way(api: FakeApi, kube: Kube, seed: int) -> None:
    chance = random.Random(seed)
    hiccups = [HICCUPS[name] for name in HICCUPS]

    def answer(handler: Handler) -> None:
        if chance.random() < 0.05:
            chance.choice(hiccups)(handler)
        else:
            handler.reply(200, EMPTY)

    api.answer = answer

    for _ in range(300):
        kube.list("Pod")
    assert len(api.seen) > 300


def test_a_watch_that_trickles_ends_in_time(api: FakeApi, kube: Kube) -> None:
    api.answer = trickles("body")
    began = time.monotonic()

    assert list(kube.watch("Pod", None, "1", within_seconds=1)) == []

    assert 0.9 < time.monotonic() - began < 6


def test_a_watch_that_is_refused_or_breaks_off_says_so(api: FakeApi, kube: Kube) -> None:
    api.then(refuses(403, "no watching"), resets)

    with pytest.raises(KubeError, match="no watching"):
        list(kube.watch("Pod", None, "1", within_seconds=5))
    with pytest.raises(KubeError, match="no answer"):
        list(kube.watch("Pod", None, "1", within_seconds=5))


def test_a_long_answer_that_keeps_coming_is_read(api: FakeApi, kube: Kube) -> None:
    items = [{"metadata": {"name": str(number)}} for number in range(50_000)]
    api.answer = lambda handler: handler.reply(200, {"metadata": {}, "items": items})

    assert kube.list("Pod") == items


def test_giving_up_ends_a_pause(api: FakeApi, kube: Kube) -> None:
    api.answer = refuses(429, Retry_After="8")
    threading.Timer(0.3, kube.give_up, [ProvisionError("kubelet", "ended")]).start()
    began = time.monotonic()

    with pytest.raises(GivenUp):
        kube.list("Pod")

    assert time.monotonic() - began < 6


def test_an_apply_outlasts_a_long_jam(api: FakeApi, kube: Kube) -> None:
    jam = refuses(429, "too many requests, please try again later", Retry_After="0")
    api.then(*[jam] * (TRIES + 3))

    kube.apply(POD)

    assert len(api.seen) == TRIES + 4
