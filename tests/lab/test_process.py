"""Components: their logs, and the errors at their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_istio_mc.errors import ProvisionError
from pytest_istio_mc.eventually import eventually
from pytest_istio_mc.lab.process import Component, child_of, start_time_of, tail_of


def test_a_component_that_dies_says_how_with_its_last_log_lines(tmp_path: Path) -> None:
    program = "import sys; print('listening', flush=True); sys.exit('address already in use')"
    log = tmp_path / "log" / "kube-apiserver.log"
    component = Component("east", "kube-apiserver", [sys.executable, "-c", program], log)

    component.start()
    component.wait(10)

    with pytest.raises(ProvisionError) as caught:
        component.require_alive()
    assert 'cluster "east": kube-apiserver ended with exit code 1' in str(caught.value)
    assert caught.value.log_tail[-1] == "address already in use"
    assert "istio-mc lab doctor" in caught.value.advice


def test_a_component_killed_by_a_signal_names_it(tmp_path: Path) -> None:
    component = Component("east", "etcd", ["sleep", "60"], tmp_path / "etcd.log")
    component.start()
    os.kill(component.wrapper_pid, 9)
    component.wait(10)

    with pytest.raises(ProvisionError, match="signal SIGKILL"):
        component.require_alive()


def test_an_end_that_was_ordered_is_no_failure_and_a_new_start_forgets_it(tmp_path: Path) -> None:
    component = Component("east", "etcd", ["sh", "-c", "sleep 60 & wait"], tmp_path / "etcd.log")
    component.start()
    eventually(
        lambda: child_of(component.wrapper_pid), bool, within_seconds=5, what="the program runs"
    )
    component.signal(signal.SIGKILL)
    os.kill(component.wrapper_pid, 9)
    component.wait(10)
    component.require_alive()

    component.start()
    os.kill(component.wrapper_pid, 9)
    component.wait(10)
    with pytest.raises(ProvisionError, match="signal SIGKILL"):
        component.require_alive()


def test_a_running_component_passes(tmp_path: Path) -> None:
    component = Component("east", "etcd", ["sleep", "60"], tmp_path / "etcd.log")
    component.start()
    try:
        component.require_alive()
    finally:
        os.kill(component.wrapper_pid, 9)
        component.wait(10)


def test_the_tail_of_a_long_log_is_its_end(tmp_path: Path) -> None:
    log = tmp_path / "long.log"
    log.write_text("".join(f"line {number} {'x' * 400}\n" for number in range(2000)))

    tail = tail_of(log, 3)

    assert [line.split()[1] for line in tail] == ["1997", "1998", "1999"]
    assert all(len(line) <= 300 for line in tail)
    assert tail_of(tmp_path / "absent.log") == ()


def test_the_start_time_tells_a_running_process_from_an_ended_one() -> None:
    process = subprocess.Popen(["sleep", "60"])
    started = start_time_of(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    assert started is not None
    assert start_time_of(process.pid) is None, "a zombie counts as ended"
    process.wait()
    assert start_time_of(process.pid) is None
