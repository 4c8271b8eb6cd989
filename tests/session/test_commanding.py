"""The user's command under the gate: its output, phases, signals and ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from pytest_istio_mc.checks.upgrade.facts import Commanded
from pytest_istio_mc.session import commanding
from pytest_istio_mc.session.commanding import run_command


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


MARK = f"{sys.executable} -m pytest_istio_mc.cli gate mark"


def ran(text: str) -> tuple[Commanded, list[str]]:
    lines: list[str] = []
    return run_command(text, Path.cwd(), lines.append, lambda: None), lines


def test_its_output_is_told_line_by_line_in_order() -> None:
    command, lines = ran("echo one; echo two >&2; printf three")

    assert (command.exit_code, command.failure) == (0, "")
    assert lines == ["  | one", "  | two", "  | three"]


def test_output_is_told_while_it_runs() -> None:
    told: list[float] = []
    run_command(
        "echo now; sleep 1.5", Path.cwd(), lambda line: told.append(time.time()), lambda: None
    )

    assert time.time() - told[0] > 0.7


def test_a_line_without_an_end_does_not_fill_memory() -> None:
    _, lines = ran("head -c 100000 /dev/zero | tr '\\0' x")

    assert max(map(len, lines)) < 3000


@pytest.mark.parametrize(("text", "code"), [("exit 7", 7), ("kill -9 $$", -9), ("nowhere-3", 127)])
def test_a_failure_is_told_with_its_exit_code(text: str, code: int) -> None:
    command, _ = ran(text)

    assert command.failure == f"the command failed with exit code {code}"


def test_it_has_no_input() -> None:
    command, lines = ran("read answer || echo nobody answers")

    assert lines == ["  | nobody answers"]
    assert command.exit_code == 0


def test_the_phases_that_it_tells_are_kept() -> None:
    command, lines = ran(f"{MARK} 'gateways of west' && {MARK} done")

    assert lines == []
    assert [step.text for step in command.steps] == ["gateways of west", "done"]
    assert command.began < command.steps[0].when <= command.steps[1].when < command.ended


def test_its_socket_is_for_its_owner_alone_and_gone_afterwards() -> None:
    _, lines = ran('stat -c %a "$(dirname "$ISTIO_MC_GATE")"; echo "$ISTIO_MC_GATE"')

    assert lines[0] == "  | 700"
    assert not Path(lines[1].removeprefix("  | ")).parent.exists()


def interrupted(text: str, *after: float) -> tuple[Commanded, list[str]]:
    """Run it, and send this process SIGINT so long after it has said something."""
    lines: list[str] = []
    said = threading.Event()

    def line(text: str) -> None:
        lines.append(text)
        said.set()

    def interrupt() -> None:
        said.wait(20)
        for seconds in after:
            time.sleep(seconds)
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    try:
        return run_command(text, Path.cwd(), line, lambda: None), lines
    finally:
        thread.join(20)


def test_the_first_interruption_is_passed_on_and_waited_for() -> None:
    text = "trap 'echo cleaning up; sleep 0.5; exit 4' INT; echo ready; while :; do sleep 0.1; done"
    before = signal.getsignal(signal.SIGINT)

    command, lines = interrupted(text, 0.2)

    assert command.interrupted
    assert "  | cleaning up" in lines
    assert command.failure == "the command was interrupted, and ended with exit code 4"
    assert signal.getsignal(signal.SIGINT) is before


def test_what_does_not_end_in_its_grace_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commanding, "GRACE_SECONDS", 0.5)
    monkeypatch.setattr(commanding, "_AFTER_TERM_SECONDS", 0.5)
    began = time.monotonic()

    text = "trap '' INT TERM; echo ready; while :; do sleep 0.1; done"
    command, _ = interrupted(text, 0.2)

    assert (command.interrupted, command.exit_code) == (True, -signal.SIGKILL)
    assert time.monotonic() - began < 10


def test_the_second_interruption_ends_all_at_once(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    text = f"trap '' INT; echo $$ > {pid}; echo ready; while :; do sleep 0.1; done"

    with pytest.raises(KeyboardInterrupt):
        interrupted(text, 0.2, 0.5)

    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_the_senders_are_looked_after_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commanding, "_POLL_SECONDS", 0.1)
    calls: list[int] = []

    run_command("sleep 1", Path.cwd(), lambda line: None, lambda: calls.append(1))

    assert len(calls) > 2


def test_an_error_meanwhile_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commanding, "_POLL_SECONDS", 0.1)
    pid = tmp_path / "pid"

    def fail() -> None:
        raise RuntimeError("a defect of ours")

    with pytest.raises(RuntimeError, match="a defect of ours"):
        run_command(f"echo $$ > {pid}; sleep 30", Path.cwd(), lambda line: None, fail)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
