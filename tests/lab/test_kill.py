"""Kills at any moment: nothing stays, or the next sweep takes it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from pytest_istio_mc.errors import UsageProblem
from pytest_istio_mc.eventually import eventually
from pytest_istio_mc.lab import homes, lab
from pytest_istio_mc.lab.leftovers import sweep
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.spec import ClusterSpec, MeshSpec
from tests.conftest import require_toolchain
from tests.host_state import left_of

pytestmark = pytest.mark.lab

OWNER = """
import sys, time
from pytest_istio_mc.lab import lab
from pytest_istio_mc.lab.binaries import toolchain
from pytest_istio_mc.progress import Progress
from pytest_istio_mc.spec import ClusterSpec, MeshSpec
spec = MeshSpec("one cluster", (ClusterSpec("cluster1", "network1"),))
running = lab.start(spec, sys.argv[1], toolchain.cached(), Progress(), within_seconds=60)
print("answering", flush=True)
running.wait_ready()
print("ready", flush=True)
time.sleep(600)
"""
ONE_CLUSTER = MeshSpec("one cluster", (ClusterSpec("cluster1", "network1"),))


@pytest.fixture
def name() -> str:
    """A name that no other lab has."""
    require_toolchain()
    return f"kill-{secrets.token_hex(4)}"


def started(name: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", OWNER, name], stdout=subprocess.PIPE, text=True)


@contextmanager
def installing(name: str) -> Iterator[subprocess.Popen[str]]:
    """``istio-mc lab up`` on its way, killed at the end of the block."""
    command = [sys.executable, "-m", "pytest_istio_mc.cli", "lab", "up", "--name", name]
    owner = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield owner
    finally:
        owner.kill()
        owner.wait()


def nothing_is_left_of(home: Path, within_seconds: float) -> None:
    eventually(
        lambda: left_of(home),
        lambda left: not left,
        within_seconds=within_seconds,
        what="nothing of the lab is left",
    )


def after(line: str) -> Callable[[subprocess.Popen[str], Path], None]:
    def wait(owner: subprocess.Popen[str], home: Path) -> None:
        assert owner.stdout is not None
        assert any(said.strip() == line for said in owner.stdout), f"the owner never said {line!r}"

    return wait


def as_soon_as(file: str) -> Callable[[subprocess.Popen[str], Path], None]:
    def wait(owner: subprocess.Popen[str], home: Path) -> None:
        soon((home / file).exists, f"{file} is there")

    return wait


def as_soon_as_launched(owner: subprocess.Popen[str], home: Path) -> None:
    soon(lambda: _supervisors_of(home), "a supervisor runs")


def soon(observe: Callable[[], object], what: str) -> None:
    """Wait for a moment that soon passes."""
    eventually(observe, bool, within_seconds=30, what=what, every_seconds=0.002)


MOMENTS = {
    "launched": as_soon_as_launched,
    "folder-made": as_soon_as("plan.json"),
    "first-namespace": as_soon_as("lab.fabric.namespaces"),
    "certificates": as_soon_as("cluster1/admin.kubeconfig"),
    "etcd-started": as_soon_as("cluster1/log/etcd.log"),
    "kubelet-started": as_soon_as("cluster1/log/kubelet.log"),
    "ready": after("ready"),
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_the_end_of_the_owner_is_the_end_of_the_lab(
    name: str, moment: str, number: signal.Signals
) -> None:
    home = homes.labs_folder() / name
    owner = started(name)
    try:
        MOMENTS[moment](owner, home)
    finally:
        owner.send_signal(number)
    try:
        owner.wait(40)
    finally:
        owner.kill()

    nothing_is_left_of(home, within_seconds=20)


def test_the_remains_of_a_killed_lab_are_not_taken_for_ones_own(name: str) -> None:
    home = homes.labs_folder() / name
    owner = started(name)
    try:
        as_soon_as("plan.json")(owner, home)
        os.kill(_supervisor_of(home), signal.SIGSTOP)
    finally:
        owner.kill()
        owner.wait()
    os.kill(_supervisor_of(home), signal.SIGKILL)
    with pytest.raises(UsageProblem, match=r"exists already\n  next: .* istio-mc sweep"):
        lab.start(ONE_CLUSTER, name, require_toolchain(), Progress(), within_seconds=1)
    assert left_of(home)

    sweep()
    nothing_is_left_of(home, within_seconds=10)


@pytest.mark.parametrize("moment", ["first-namespace", "etcd-started", "ready"])
def test_what_a_killed_supervisor_leaves_is_cleared_by_its_owner_or_swept(
    name: str, moment: str
) -> None:
    home = homes.labs_folder() / name
    owner = started(name)
    try:
        MOMENTS[moment](owner, home)
        supervisor = _supervisor_of(home)
        owner.send_signal(signal.SIGSTOP)
        os.kill(supervisor, signal.SIGKILL)
        eventually(
            lambda: homes.is_alive(home),
            lambda alive: not alive,
            within_seconds=10,
            what="the supervisor is dead",
        )
        assert any(leftover.lab == name for leftover in sweep(dry_run=True))
    finally:
        owner.kill()
        owner.wait()

    sweep()
    nothing_is_left_of(home, within_seconds=10)


def test_an_owner_whose_supervisor_dies_early_says_so_and_clears_up(name: str) -> None:
    home = homes.labs_folder() / name
    command, pipe = [sys.executable, "-c", OWNER, name], subprocess.PIPE
    owner = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    try:
        as_soon_as("cluster1/log/etcd.log")(owner, home)
        os.kill(_supervisor_of(home), signal.SIGKILL)
        _, said = owner.communicate(timeout=40)
    finally:
        owner.kill()
        owner.wait()

    assert "its supervisor ended before the clusters were ready (exit code -9)" in said
    nothing_is_left_of(home, within_seconds=10)


def test_a_component_that_ends_by_itself_is_told_and_one_that_was_ordered_to_is_not(
    name: str,
) -> None:
    said: list[str] = []
    running = lab.start(
        ONE_CLUSTER, name, require_toolchain(), Progress(said.append), within_seconds=60
    )
    try:
        running.wait_ready()
        running.order("signal", cluster="cluster1", component="kube-proxy", signal="SIGKILL")
        scheduler = running.order("status")["cluster1"]["kube-scheduler"]
        os.kill(scheduler, signal.SIGKILL)
        failure = eventually(
            lambda: running.failure,
            bool,
            within_seconds=10,
            what="the end of the scheduler is noticed",
        ).value
    finally:
        running.stop()

    assert str(failure).startswith(
        'cluster "cluster1": kube-scheduler ended with signal SIGKILL\n  last log lines:'
    )
    ended = 'cluster "cluster1": kube-scheduler ended with signal SIGKILL'
    assert [line.partition("s  ")[2] for line in said if "goes down" in line] == [
        f"the lab goes down: {ended}; nothing in it can be judged any more"
    ]
    assert left_of(running.plan.home) == []


def test_a_lab_whose_supervisor_dies_while_it_is_used_says_so_and_is_cleared(name: str) -> None:
    said: list[str] = []
    running = lab.start(
        ONE_CLUSTER, name, require_toolchain(), Progress(said.append), within_seconds=60
    )
    try:
        running.wait_ready()
        os.kill(_supervisor_of(running.plan.home), signal.SIGKILL)
        failure = eventually(
            lambda: running.failure,
            bool,
            within_seconds=10,
            what="the end of the supervisor is noticed",
        ).value
    finally:
        running.stop()

    assert "its supervisor ended while it was in use (exit code -9)" in str(failure)
    assert any("the lab is gone" in line for line in said)
    nothing_is_left_of(running.plan.home, within_seconds=10)


def test_a_mesh_on_its_way_up_goes_with_the_command_that_was_killed(name: str) -> None:
    home = homes.labs_folder() / name
    with installing(name) as owner:
        as_soon_as("cluster1/log/kubelet.log")(owner, home)

    nothing_is_left_of(home, within_seconds=20)


def test_ctrl_c_ends_an_installation_at_once(name: str) -> None:
    home = homes.labs_folder() / name
    with installing(name) as owner:
        as_soon_as("cluster1/log/kubelet.log")(owner, home)
        owner.send_signal(signal.SIGINT)
        _, said = owner.communicate(timeout=30)

    assert "interrupted; what was begun has been taken down" in said
    assert left_of(home) == []


def test_an_installation_ends_soon_when_a_node_dies_under_it(name: str) -> None:
    """It neither waits for a node that cannot come, nor for threads that do."""
    home = homes.labs_folder() / name
    with installing(name) as owner:
        as_soon_as("cluster2/log/kubelet.log")(owner, home)
        pids = eventually(
            lambda: lab.find(name).order("status"),
            bool,
            within_seconds=20,
            what="every component has been started",
        ).value
        os.kill(pids["cluster2"]["kubelet"], signal.SIGKILL)
        _, said = owner.communicate(timeout=40)

    assert 'cluster "cluster2": kubelet ended with' in said
    assert owner.returncode == 3, "the mesh could not be provisioned"
    nothing_is_left_of(home, within_seconds=20)


def test_a_certification_ends_soon_when_a_node_dies_under_it(tmp_path: Path) -> None:
    """Earlier findings stand; later ones are not sought: not the mesh's fault."""
    require_toolchain()
    command = [sys.executable, "-m", "pytest", "--pyargs", "pytest_istio_mc.suites"]
    command += ["--mesh-topology=flat-multi-primary"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        try:
            assert run.stdout is not None
            lines = iter(run.stdout)
            run_id = next(line.split()[-1] for line in lines if line.startswith("mesh: "))
            assert any("snapshot of 2 clusters" in line for line in lines), "the checks never began"
            pids = lab.find(f"run-{run_id}").order("status")
            os.kill(pids["cluster2"]["kubelet"], signal.SIGKILL)
            said = run.communicate(timeout=60)[0]
        finally:
            run.kill()

    assert run.returncode == 3
    assert "the clusters were lost:" in said
    report = yaml.safe_load((tmp_path / "mesh-report.yaml").read_text())
    verdicts = {entry["id"]: entry["verdict"] for entry in report["checks"]}
    assert report["result"] == "inconclusive"
    assert (verdicts["MC-TRUST-001"], verdicts["MC-LOCALITY-004"]) == ("conformant", "inconclusive")
    assert left_of(homes.labs_folder() / f"run-{run_id}") == []


def _supervisor_of(home: Path) -> int:
    found = _supervisors_of(home)
    assert found, f"no supervisor of {home}"
    return found[0]


def _supervisors_of(home: Path) -> list[int]:
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"pytest_istio_mc.lab.supervisor" in command and str(home).encode() in command:
                pids.append(int(entry.name))
    return pids
