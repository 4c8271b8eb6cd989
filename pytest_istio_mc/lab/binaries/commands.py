"""The programs of a build; their output is logged, and none outlives us."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

TAIL_LINES = 15

_CREDENTIALS = re.compile(r"//[^/@\s]+@")
_NETWORK = re.compile(
    r"dial tcp|no such host|i/o timeout|connection (?:refused|reset|timed out)|TLS handshake|"
    r"proxyconnect|network is unreachable|deadline exceeded|x509:|unexpected EOF|: EOF$|"
    r": 50[0234] |NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|"
    r"name resolution|Max retries exceeded|Could not fetch URL|module lookup disabled by GOPROXY",
    re.IGNORECASE | re.MULTILINE,
)
_NO_SPACE = re.compile(r"no space left on device|ENOSPC|disk quota exceeded", re.IGNORECASE)


class Cause(Enum):
    """The cause of a failed build command, as far as its output tells."""

    NETWORK = "the registry could not be reached"
    STALLED = "the registry does not answer"
    NO_SPACE = "no space left on the disk"
    KILLED = "killed from outside; out of memory?"
    OTHER = "its output says why"


@dataclass(frozen=True)
class Finished:
    """A command that has ended: its exit code and its last lines.

    The code is negative for a signal; the lines have no credentials in URLs.
    """

    code: int
    tail: tuple[str, ...]
    stalled: bool = False

    @property
    def cause(self) -> Cause:
        """The cause of the failure, read from the last lines."""
        text = "\n".join(self.tail)
        if self.stalled:
            return Cause.STALLED
        if _NO_SPACE.search(text):
            return Cause.NO_SPACE
        if _NETWORK.search(text):
            return Cause.NETWORK
        return Cause.KILLED if self.code < 0 or "signal: killed" in text else Cause.OTHER


def run(
    command: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] = lambda _: None,
    on_tick: Callable[[], None] = lambda: None,
    tick_seconds: float = 20.0,
    stall_seconds: float = float("inf"),
) -> Finished:
    """Run a command to its end.

    - Its stdout and stderr go, line by line, to ``log`` (appended) and to ``on_line``.
    - ``on_tick`` is called every ``tick_seconds``.
    - A command that writes nothing for ``stall_seconds`` is ended, and the result says so.
    - It ends with us, its children too: when we are killed, and on any exception here.
    """
    words = [str(word) for word in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with log.open("a") as file:
        file.write(without_credentials(" ".join(words)) + "\n")
        file.flush()
        process = subprocess.Popen(
            [*alone(), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=None if env is None else dict(env),
            text=True,
            errors="replace",
            start_new_session=True,
        )
        last_output = time.monotonic()
        try:
            for line in _lines(process, tick_seconds):
                if line is None:
                    on_tick()
                    if time.monotonic() - last_output >= stall_seconds:
                        end(process)
                        return Finished(process.returncode, tuple(tail), stalled=True)
                    continue
                last_output = time.monotonic()
                clean = without_credentials(line)
                file.write(clean + "\n")
                tail.append(clean[:400])
                on_line(line)
        except BaseException:
            end(process)
            raise
    return Finished(process.wait(), tuple(tail))


def ask(
    command: Sequence[str | Path],
    *,
    cwd: Path | str = "/",
    env: Mapping[str, str] | None = None,
    timeout_seconds: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a short command; the caller judges its output and exit code."""
    return subprocess.run(
        [str(word) for word in command],
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        cwd=cwd,
        env=env,
        timeout=timeout_seconds,
    )


def end(process: subprocess.Popen[str]) -> None:
    """End a command that :func:`run` started, with its children, and wait for it.

    Its files are in folders that go as well.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def ends_with_parent() -> list[str]:
    """The words before a command that must end with us, even when killed.

    - They need util-linux; there are none where that is missing.
    - The kernel tells only of deaths after the request (prctl(2), PR_SET_PDEATHSIG): an earlier one
      shows in the parent's pid.
    """
    if not shutil.which("setpriv"):
        return []
    script = '[ "$PPID" = "$0" ] && exec "$@"'
    return ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", script, str(os.getpid())]


def alone() -> list[str]:
    """The same for a command with children, such as a compiler's hundreds.

    It gets a PID namespace of its own; for root only, and where ``unshare`` is installed.
    """
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return ends_with_parent()
    return [*ends_with_parent(), "unshare", "--pid", "--fork", "--kill-child=KILL", "--"]


def without_credentials(text: str) -> str:
    """The text without the user names and passwords in its URLs."""
    return _CREDENTIALS.sub("//…@", text)


def _lines(process: subprocess.Popen[str], tick_seconds: float) -> Iterator[str | None]:
    """The lines of a command as they come, and None every ``tick_seconds``."""
    lines: queue.Queue[str | None] = queue.Queue()
    output = process.stdout
    assert output is not None

    def read() -> None:
        for line in output:
            lines.put(line.rstrip("\n"))
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    next_tick = time.monotonic() + tick_seconds
    while True:
        try:
            line = lines.get(timeout=max(0.0, next_tick - time.monotonic()))
        except queue.Empty:
            line = ""
        else:
            if line is None:
                return
            yield line
        if time.monotonic() >= next_tick:
            next_tick = time.monotonic() + tick_seconds
            yield None
