"""Build commands: their output, their causes of failure, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_istio_mc.eventually import eventually
from pytest_istio_mc.lab.binaries.commands import Cause, Finished, run


def test_every_line_goes_to_the_log_and_to_the_caller(tmp_path: Path) -> None:
    lines: list[str] = []

    finished = run(
        ["sh", "-c", "echo one; echo two >&2; exit 3"], log=tmp_path / "log", on_line=lines.append
    )

    assert finished == Finished(3, ("one", "two"))
    assert lines == ["one", "two"]
    assert (tmp_path / "log").read_text().splitlines()[1:] == ["one", "two"]


def test_credentials_in_urls_are_kept_out_of_the_log_and_the_message(tmp_path: Path) -> None:
    finished = run(["echo", "see https://user:secret@proxy.example/simple"], log=tmp_path / "log")

    assert finished.tail == ("see https://…@proxy.example/simple",)
    assert "secret" not in (tmp_path / "log").read_text()


def test_a_long_command_is_told_of_now_and_then_even_while_it_speaks(tmp_path: Path) -> None:
    ticks: list[int] = []
    talking = "import time\nfor _ in range(40):\n print('x', flush=True)\n time.sleep(0.01)"
    command = [sys.executable, "-c", talking]

    run(command, log=tmp_path / "log", on_tick=lambda: ticks.append(1), tick_seconds=0.1)

    assert len(ticks) >= 2


def test_a_command_that_falls_silent_is_ended_and_said_to_stall(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo begun; sleep 60"]
    finished = run(command, log=tmp_path / "log", tick_seconds=0.05, stall_seconds=0.2)

    assert finished.stalled
    assert finished.cause is Cause.STALLED
    assert finished.tail == ("begun",)


@pytest.mark.parametrize(
    ("cause", "line"),
    [
        (Cause.NETWORK, "go: x@v1: Get …: dial tcp: lookup proxy.golang.org: no such host"),
        (Cause.NETWORK, "go: x@v1: reading https://proxy.golang.org/…: 503 Service Unavailable"),
        (Cause.NETWORK, "go: k8s.io/kubernetes@v1.36.1: module lookup disabled by GOPROXY=off"),
        (Cause.NETWORK, "ERROR: HTTPSConnectionPool: Max retries exceeded with url: /simple/x/"),
        (Cause.KILLED, "/usr/local/go/pkg/tool/linux_amd64/link: signal: killed"),
        (Cause.OTHER, "./main.go:1: undefined: x"),
        (Cause.OTHER, "verifying example.org@v1: checksum mismatch"),
    ],
)
def test_the_cause_of_a_failure_is_read_from_its_last_lines(cause: Cause, line: str) -> None:
    assert Finished(1, ("go: downloading x", line)).cause is cause


def test_a_full_disk_is_recognised_by_what_the_program_really_says(tmp_path: Path) -> None:
    finished = run(["cp", "/etc/passwd", "/dev/full"], log=tmp_path / "log")

    assert finished.code != 0
    assert finished.cause is Cause.NO_SPACE


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def sleepers(seconds: str) -> list[int]:
    """The processes that sleep for exactly so long."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", seconds.encode()] and alive(int(folder.name)):
            found.append(int(folder.name))
    return found


def sleeping(seconds: str, count: int) -> None:
    """Wait until so many processes sleep for exactly so long."""
    eventually(
        lambda: len(sleepers(seconds)),
        lambda found: found == count,
        within_seconds=10,
        what=f"{count} sleeping",
    )


CALLER = """
import sys
from pathlib import Path
from pytest_istio_mc.lab.binaries import commands
commands.run(["sh", "-c", sys.argv[1]], log=Path(sys.argv[2]))
"""


@pytest.mark.lab
def test_a_command_and_its_children_end_when_we_are_killed(tmp_path: Path) -> None:
    seconds = f"6000.{os.getpid()}"
    script = f"sleep {seconds} & wait"
    caller = subprocess.Popen([sys.executable, "-c", CALLER, script, str(tmp_path / "log")])
    sleeping(seconds, 1)

    caller.send_signal(signal.SIGKILL)
    caller.wait()

    sleeping(seconds, 0)


def test_a_command_ends_when_the_caller_is_interrupted(tmp_path: Path) -> None:
    seconds = f"6001.{os.getpid()}"

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(["sleep", seconds], log=tmp_path / "log", on_tick=interrupt, tick_seconds=0.2)

    sleeping(seconds, 0)
