"""Commanding: runs the user's command while the gate watches, and survives what it does.

- It has a process group of its own. Its output goes through a file, so that a gate that is killed
  does not take the command with it in the middle of an upgrade.
- A first Ctrl-C or SIGTERM is passed on to it as SIGINT, and it has ``GRACE_SECONDS`` to end; a
  second one ends it, and the gate.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO

from ..checks.upgrade.facts import Commanded
from ..gate_marks import VARIABLE, Marks, listening

GRACE_SECONDS = 30.0
"""For a command to end after SIGINT; then SIGTERM, and a while later SIGKILL."""

_AFTER_TERM_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_POLL_SECONDS = 5.0
_LONGEST_LINE = 2000


def run_command(
    text: str, folder: Path, line: Callable[[str], None], meanwhile: Callable[[], None]
) -> Commanded:
    """Run a shell command to its end; what became of it.

    - ``folder`` is a private one of the run.
    - ``line`` is told each line that it writes, as soon as it is whole; its input is empty.
    - ``meanwhile`` is called every few seconds.
    """
    with listening(folder) as marks, tempfile.TemporaryFile() as output:
        environment = {**os.environ, VARIABLE: str(marks.address)}
        began = time.time()
        try:
            process = subprocess.Popen(
                ["/bin/sh", "-c", text],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )
        except (OSError, ValueError) as error:
            return Commanded(text, began, time.time(), problem=str(error))
        with _told(output, line), _passing_on(process, line) as asked:
            _wait(process, asked, meanwhile)
        return _outcome(text, began, process, marks, interrupted=bool(asked))


def _outcome(
    text: str, began: float, process: subprocess.Popen[bytes], marks: Marks, *, interrupted: bool
) -> Commanded:
    code = process.returncode
    return Commanded(text, began, time.time(), code, interrupted=interrupted, steps=marks.steps)


def _wait(
    process: subprocess.Popen[bytes], asked: list[float], meanwhile: Callable[[], None]
) -> None:
    next_look = time.monotonic() + _POLL_SECONDS
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LOOK_SECONDS)
                return
            if asked and time.monotonic() > asked[0] + GRACE_SECONDS:
                _end(process)
                return
            if time.monotonic() > next_look:
                meanwhile()
                next_look = time.monotonic() + _POLL_SECONDS
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command's whole group: first asked, then made to."""
    _signal(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_AFTER_TERM_SECONDS)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


@contextmanager
def _passing_on(
    process: subprocess.Popen[bytes], line: Callable[[str], None]
) -> Iterator[list[float]]:
    """Pass a first signal on to the command; yields when that was, if it was."""
    asked: list[float] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def stop(number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if asked:
            raise KeyboardInterrupt(f"ended by a second signal, {name}")
        asked.append(time.monotonic())
        _signal(process, signal.SIGINT)
        line(
            f"{name}: passed on to the command, which has {GRACE_SECONDS:g} s to end; then the "
            "certificate is made. Once more ends all at once."
        )

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _told(output: IO[bytes], line: Callable[[str], None]) -> Iterator[None]:
    """Tell each line of a growing file; all of it once the block has ended."""
    ended = threading.Event()

    def follow() -> None:
        place, rest = 0, b""
        while True:
            last = ended.is_set()
            while piece := os.pread(output.fileno(), 1 << 16, place):
                place += len(piece)
                *lines, rest = (rest + piece).split(b"\n")
                if len(rest) > _LONGEST_LINE:
                    lines, rest = [*lines, rest], b""
                for one in lines:
                    _tell(one, line)
            if last:
                if rest:
                    _tell(rest, line)
                return
            ended.wait(_LOOK_SECONDS)

    thread = threading.Thread(target=follow, name="output of the command", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _tell(text: bytes, line: Callable[[str], None]) -> None:
    line(f"  | {text[:_LONGEST_LINE].decode('utf-8', 'replace').rstrip()}")
