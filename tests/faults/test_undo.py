"""Steps of undoing travel to another process and back."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any, cast

import pytest

from pytest_istio_mc import faults
from pytest_istio_mc.errors import GivenUp, KubeError, MeshError
from pytest_istio_mc.faults import Held, deadman
from pytest_istio_mc.faults.journal import Found, Written
from pytest_istio_mc.faults.steps import Merge, Remove, Restore, RestoreMeshConfig
from pytest_istio_mc.faults.undo import Step, Work, as_it_was, carry_out, from_list, to_list

SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "one", "namespace": "istio-system"},
    "data": {"east": "eA=="},
}


def test_every_step_survives_the_way_to_another_process() -> None:
    owners = ({"manager": "helm", "fieldsV1": {"f:spec": {"f:replicas": {}}}},)
    one, two = {"spec": {"replicas": 1}}, {"spec": {"replicas": 2}}
    steps: list[Step] = [
        Restore("east", SECRET),
        Merge("east", "Deployment", "istiod", "istio-system", one, two, owners),
        Remove("east", "Service", "istio-mc-1", "kube-system", "cafe0123"),
        RestoreMeshConfig("west", "istio-system", "istio", "cafe0123", ("*",), "a: b", owners),
    ]
    assert {type(step) for step in steps} == set(Step.kinds.values())

    assert from_list(json.loads(json.dumps(to_list(steps)))) == steps


def test_the_dead_mans_timer_knows_every_step() -> None:
    for module in pkgutil.iter_modules(faults.__path__, f"{faults.__name__}."):
        importlib.import_module(module.name)
    names = f"import {deadman.PROCESS}, {Step.__module__} as undo; print(*undo.Step.kinds)"

    known = subprocess.run(
        [sys.executable, "-c", names], capture_output=True, text=True, check=True
    )

    assert set(known.stdout.split()) == set(Step.kinds)


def test_what_only_the_api_server_may_say_is_left_out() -> None:
    kept = {"name": "one", "namespace": "istio-system", "labels": {"istio/multiCluster": "true"}}
    found = {
        **SECRET,
        "metadata": {**kept, "uid": "1", "resourceVersion": "7", "generation": 3},
        "status": {"phase": "Active"},
    }

    assert as_it_was(found) == {**SECRET, "metadata": kept}


@pytest.mark.parametrize(
    "document",
    [
        [{"undo": "Delete", "cluster": "east"}],
        [{"undo": "Restore", "cluster": "east"}],
        [{"undo": "Restore", "cluster": "east", "manifest": "text"}],
        [{"undo": "Restore", "cluster": "east", "manifest": {}, "more": 1}],
        [{"undo": "Restore", "cluster": 7, "manifest": {}}],
        ["Restore"],
    ],
)
def test_a_step_that_nobody_here_wrote_is_refused(document: Any) -> None:
    with pytest.raises(MeshError, match="a step of undoing"):
        from_list(document)


def test_what_is_secret_is_not_shown() -> None:
    step = Restore("east", {**SECRET, "data": {"east": "c2VjcmV0"}})
    held = Held("east", "west", step.manifest)
    config = RestoreMeshConfig("west", "istio-system", "istio", "cafe0123", (), "c2VjcmV0", ())
    found = Found(Written("istio-system", "one", "1", "7"), "cafe0123", steps=(step,))

    assert "c2VjcmV0" not in f"{step!r} {held!r} {config!r} {found!r}"


@dataclass(frozen=True)
class Try:
    """Acts like a step: fails so often with such an error, and counts."""

    cluster: str
    failures: int
    tried: list[float]
    error: Exception

    def run(self, kubes: object) -> None:
        self.tried.append(time.monotonic())
        if len(self.tried) <= self.failures:
            raise self.error


def attempt(*works: tuple[str, Try], patience: float = 20.0, **more: Any) -> dict[str, Exception]:
    clusters = dict.fromkeys(name for name, _ in works)
    grouped = [
        Work(name, cast("list[Step]", [one for where, one in works if where == name]))
        for name in clusters
    ]
    return carry_out({}, grouped, patience_seconds=patience, **more)


LOST = KubeError('cluster "east"', "GET /api", "no answer")


def test_every_step_is_tried_whatever_happens_to_the_others() -> None:
    lost, beside, elsewhere = (Try("east", n, [], LOST) for n in (10**6, 0, 0))

    left = attempt(("east", lost), ("east", beside), ("west", elsewhere), patience=1.5)

    assert left == {"east": LOST}
    assert len(lost.tried) > 2
    assert (len(beside.tried), len(elsewhere.tried)) == (1, 1)


@pytest.mark.parametrize(
    "error", [KeyError("data"), ValueError("no"), ModuleNotFoundError("socks"), LOST]
)
def test_an_error_of_any_kind_is_tried_again(error: Exception) -> None:
    flaky, told = Try("east", 2, [], error), list[str]()

    assert attempt(("east", flaky), note=told.append) == {}

    assert len(flaky.tried) == 3
    assert len(told) == 2
    assert type(error).__name__ in told[0]


def test_what_is_done_at_the_end_comes_once_all_steps_have_and_is_tried_again() -> None:
    flaky, done = Try("east", 2, [], LOST), Try("east", 1, [], LOST)
    work = Work("east", cast("list[Step]", [flaky]), lambda: done.run({}))

    assert carry_out({}, [work], patience_seconds=20) == {}

    assert len(done.tried) == 2
    assert min(done.tried) > max(flaky.tried)


def test_clusters_that_will_not_come_back_are_not_waited_for() -> None:
    gone = GivenUp(LOST)
    lost = Try("east", 10**6, [], gone)

    assert attempt(("east", lost)) == {"east": gone}

    assert len(lost.tried) == 1
