"""Component: one long-running program of a lab, with its log file."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import ProvisionError

LOG_TAIL_LINES = 15


class Component:
    """A program that must keep running; its output goes to ``log``."""

    def __init__(
        self,
        owner: str,
        name: str,
        command: Sequence[str],
        log: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.owner = owner
        self.name = name
        self.command = [str(word) for word in command]
        self.log = log
        self._env = dict(env or os.environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._told_to_end = False
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the program; its command line is the first line of its log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self._lock, self.log.open("ab") as log:
            log.write((" ".join(self.command) + "\n").encode())
            log.flush()
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=self._env,
            )
            self._told_to_end = False

    def require_alive(self) -> None:
        """Raise :class:`ProvisionError` with the last log lines where it ended without an order."""
        with self._lock:
            status = self._process.poll() if self._process and not self._told_to_end else None
        if status is not None:
            raise ProvisionError(
                f'cluster "{self.owner}"',
                f"{self.name} ended with {_ending(status)}",
                advice="read the log lines; `istio-mc lab doctor` checks what this machine lacks",
                log_tail=self.tail(),
            )

    def tail(self, lines: int = LOG_TAIL_LINES) -> tuple[str, ...]:
        """The last lines of the log, long ones cut."""
        return tail_of(self.log, lines)

    @property
    def wrapper_pid(self) -> int:
        """The pid of the ``nsenter`` in front of the program."""
        if self._process is None:
            raise ProvisionError(f'cluster "{self.owner}"', f"{self.name} has not been started")
        return self._process.pid

    def pid(self) -> int:
        """The program's own pid on the host: the child of the ``nsenter``."""
        return child_of(self.wrapper_pid) or self.wrapper_pid

    def signal(self, number: signal.Signals) -> None:
        """Send the program a signal. Its end by that signal is no failure."""
        if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            self._told_to_end = True
        os.kill(self.pid(), number)
        if number is signal.SIGCONT:
            # The nsenter stops with its child, and would never notice the child's end.
            os.kill(self.wrapper_pid, number)

    def end(self, timeout_seconds: float = 10.0) -> None:
        """Kill the program and wait until it has ended."""
        self.signal(signal.SIGKILL)
        self.wait(timeout_seconds)

    def abandon(self) -> None:
        """Kill the ``nsenter``: a stopped one would never notice the program's end."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def wait(self, timeout_seconds: float) -> None:
        """Wait until the program has ended."""
        if self._process is not None:
            self._process.wait(timeout_seconds)


def tail_of(log: Path, lines: int = LOG_TAIL_LINES) -> tuple[str, ...]:
    """The last lines of a log file, if any, each cut at 300 characters."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 64 * 1024))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ()
    return tuple(line[:300] for line in text.splitlines()[-lines:])


def child_of(pid: int) -> int | None:
    """The first child of a process, or None while it has none."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return None
    return int(children[0]) if children else None


def start_time_of(pid: int) -> int | None:
    """The start of a running process, in clock ticks since boot (proc(5), stat).

    - It tells the process from a later one with the same pid.
    - It is None where there is no such process, or only a zombie.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(fields[18])


def _ending(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
