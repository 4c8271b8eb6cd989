"""Faults in the shared lab mesh, and processes that hold one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.faults import Faults
from pytest_istio_mc.kube import Kube
from pytest_istio_mc.kube.connecting import connected
from pytest_istio_mc.mesh import Mesh
from tests.conftest import LabMesh

HOLDER = """
import json, sys, time
from pytest_istio_mc.eventually import Timeouts
from pytest_istio_mc.faults import Faults
from pytest_istio_mc.mesh import Mesh
from pytest_istio_mc.kube.connecting import connected
mesh = Mesh.from_dict(json.loads(sys.stdin.readline()))
with connected(mesh.spec, Timeouts()) as kubes:
    with getattr(Faults(mesh, kubes, Timeouts()), sys.argv[1])(*sys.argv[2:]):
        print("broken", flush=True)
        time.sleep(600)
"""


@pytest.fixture(scope="session", autouse=True)
def _no_timers_left() -> Iterator[None]:
    """End the timers that go on for half an hour, where a test took their cluster away."""
    yield
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int(process.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            command = process.joinpath("cmdline").read_bytes()
            if parent == os.getpid() and b"deadman_process" in command:
                os.kill(int(process.name), signal.SIGKILL)


@pytest.fixture(scope="session")
def kubes(lab_mesh: LabMesh) -> Iterator[Mapping[str, Kube]]:
    """Connections to the lab's clusters, impatient enough for a lost API server."""
    with connected(lab_mesh.mesh.spec, Timeouts(kube_request=5.0)) as kubes:
        yield kubes


@pytest.fixture(scope="session")
def faults(lab_mesh: LabMesh, kubes: Mapping[str, Kube]) -> Faults:
    """What can be broken there."""
    return Faults(lab_mesh.mesh, kubes, Timeouts())


@pytest.fixture
def held(lab_mesh: LabMesh) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start processes that break something; each call returns when it is broken."""
    import json

    started: list[subprocess.Popen[str]] = []

    def hold(fault: str, *arguments: str, mesh: Mesh = lab_mesh.mesh) -> subprocess.Popen[str]:
        environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]))
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, fault, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        started.append(process)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(mesh.to_dict()) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == "broken\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
