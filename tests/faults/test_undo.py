"""Steps of undoing travel to another process and back."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys

from pytest_istio_mc import faults
from pytest_istio_mc.faults import deadman
from pytest_istio_mc.faults.mesh_config import RestoreMeshConfig
from pytest_istio_mc.faults.undo import Merge, Restore, Step, as_it_was, from_list, to_list

SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "one", "namespace": "istio-system"},
    "data": {"east": "eA=="},
}


def test_every_step_survives_the_way_to_another_process() -> None:
    steps: list[Step] = [
        Restore("east", SECRET),
        Merge("east", "Deployment", "istiod", "istio-system", {"spec": {"replicas": 1}}),
        RestoreMeshConfig("west", "istio-system", "istio"),
    ]

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
        "metadata": {**kept, "uid": "1", "resourceVersion": "7", "managedFields": []},
        "status": {"phase": "Active"},
    }

    assert as_it_was(found) == {**SECRET, "metadata": kept}
