"""Flows: requests at a fixed rate, sent by a process that outlives its session.

- The schedule is open: a slow request does not hold up the next one. Beyond ``MOST_UNANSWERED``
  unanswered ones, a request that is due is recorded as skipped, which is a failure.
- Requests for which this process is too late are not sent; the next record says how late it is.
- A stream is one connection with a line out and a line back at every beat. Its break is a failure.
- The process ends by itself after ``at_most`` seconds.
- Every request is on record in a file, which is locked while the process lives. It starts with
  ``{"began": …}``, ends with ``{"ended": …, "asked": …, "sent": […]}``, and has an array for each
  request: flow, when, seconds, late, ending, status, new, cluster, pod, version, error.

Runs inside probe pods: standard library only, Python 3.8 or newer.
"""

from __future__ import annotations

import collections
import fcntl
import json
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable

from .operations import SENDERS, Sender, question, send_one
from .outcomes import ending, explain, failures, read_body
from .records import Log

TYPE_CHECKING = False  # importing typing costs a tenth of the start-up time
if TYPE_CHECKING:
    from typing import Any

MOST_BYTES = 32 << 20
RECORD_BYTES = 512
"""What a record takes at most, its error text cut; so the file is bounded."""
CHUNK = 1 << 18
MOST_UNANSWERED = 32
"""For each flow, so that a hung server does not fill this process, nor this one a slow server."""


class Requests:
    """Requests that do not wait for each other, on new or kept connections."""

    def __init__(self, number: int, plan: dict[str, Any], log: Log) -> None:
        self._number, self._plan, self._log = number, plan, log
        self._keep = bool(plan.get("keep_alive"))
        self._idle: list[Sender] = []
        self._unanswered = 0
        self._changed = threading.Condition()

    def beat(self, late: float) -> None:
        """Send one, if not too many are unanswered."""
        with self._changed:
            skip = self._unanswered >= MOST_UNANSWERED
            if not skip:
                self._unanswered += 1
                sender = self._idle.pop() if self._idle else SENDERS[self._plan["op"]](self._plan)
        if skip:
            error = f"not sent: {MOST_UNANSWERED} requests were unanswered"
            skipped = {"ending": "skipped", "error": error}
            self._log.record(self._number, self._log.clock.now(), late, skipped)
            return
        threading.Thread(target=self._send, args=(sender, late), daemon=True).start()

    def _send(self, sender: Sender, late: float) -> None:
        sender.id = self._log.next_id(self._number)
        when = self._log.clock.now()
        try:
            seen = send_one(sender, self._keep)
        except Exception as error:  # of any kind: this request got no answer
            seen = {"ending": "protocol", "error": explain(error)}
            sender.close()
        self._log.record(self._number, when, late, {**seen, "id": sender.id})
        with self._changed:
            self._idle.append(sender)
            self._unanswered -= 1
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait for those that are on their way; each has its own time-out."""
        with self._changed:
            while self._unanswered:
                self._changed.wait()
        for sender in self._idle:
            sender.close()


class Stream:
    """One connection that stays, with a line out at every beat.

    Where it broke, the next beat opens it again.
    """

    def __init__(self, number: int, plan: dict[str, Any], log: Log) -> None:
        self._number, self._plan, self._log = number, plan, log
        self._timeout = float(plan["timeout"])
        self._lock = threading.Lock()
        self._sock: socket.socket | None = None
        self._reader: threading.Thread | None = None
        self._unanswered: collections.deque[Line] = collections.deque()
        self._finishing = False

    def beat(self, late: float) -> None:
        """Send a line; connect first where there is no connection."""
        line = Line(self._log.clock.now(), time.monotonic(), late, self._sock is None)
        line.id = self._log.next_id(self._number)
        opened = None
        if line.new:
            address = str(self._plan.get("address") or self._plan["host"])
            try:
                opened = socket.create_connection((address, int(self._plan["port"])), self._timeout)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                self._record(line, {"ending": ending(error), "error": explain(error)})
                return
        with self._lock:
            if opened is not None:
                self._sock = opened
                self._reader = threading.Thread(target=self._read, args=(opened,), daemon=True)
                self._reader.start()
            if self._sock is None:  # it broke just now
                self._record(line, {"ending": "closed", "error": "the stream has ended"})
                return
            self._unanswered.append(line)
            try:
                self._sock.sendall(question(line.id))
            except OSError as error:
                self._broken(error)

    def finish(self) -> None:
        """Wait until all lines are answered, or the time-out is over, and close."""
        self._finishing = True
        if self._reader is not None:
            self._reader.join()
        if self._sock is not None:
            self._sock.close()

    def _read(self, sock: socket.socket) -> None:
        came = b""
        while True:
            waits = bool(select.select([sock], [], [], 0.02)[0]) if sock.fileno() >= 0 else False
            with self._lock:
                if self._sock is not sock or (self._finishing and not self._unanswered):
                    return
                try:
                    if waits:
                        came = self._take(came + sock.recv(65536), len(came))
                    elif self._overdue():
                        raise TimeoutError(f"no answer for {self._timeout:g} s")
                except Exception as error:  # of any kind: the stream is broken
                    self._broken(error)
                    return

    def _overdue(self) -> bool:
        lines = self._unanswered
        return bool(lines) and time.monotonic() - lines[0].began > self._timeout

    def _take(self, came: bytes, before: int) -> bytes:
        if len(came) == before:
            raise EOFError("the stream ended")
        *answers, rest = came.split(b"\n")
        for answer in answers:
            self._record(self._unanswered.popleft(), {"ending": "answered", **read_body(answer)})
        return rest

    def _broken(self, error: Exception) -> None:
        """Close, and record the break for each unanswered line, or once."""
        lost = list(self._unanswered) or [Line(self._log.clock.now(), time.monotonic(), 0.0, False)]
        self._unanswered.clear()
        if self._sock is not None:
            self._sock.close()
        self._sock = None
        for line in lost:
            self._record(line, {"ending": ending(error), "error": explain(error)})

    def _record(self, line: Line, seen: dict[str, Any]) -> None:
        seconds = time.monotonic() - line.began
        whole = {**seen, "new": line.new, "seconds": seconds, "id": line.id}
        self._log.record(self._number, line.when, line.late, whole)


class Line:
    """A line of a stream that waits for its answer.

    When it was sent, by two clocks, how late that was, and whether it was the connection's first.
    """

    def __init__(self, when: float, began: float, late: float, new: bool) -> None:
        self.when, self.began, self.late, self.new = when, began, late, new
        self.id = ""


def run() -> None:
    """Send what the job says, until told to stop or ``at_most`` is over."""
    job = json.loads(sys.stdin.readline())
    path = _path(job["name"])
    failures()  # imports what telling failures apart needs, so that no request waits for it
    log = _log(path, job)
    flows = [
        (Stream if plan.get("stream") else Requests)(number, plan, log)
        for number, plan in enumerate(job["flows"])
    ]
    stop = threading.Event()
    log.write({"began": log.clock.now()})
    schedules = []
    for number, flow in enumerate(flows):
        interval = float(job["flows"][number]["interval"])
        # spread over the interval, so that not all flows send at the same moment
        first = time.monotonic() + interval * number / len(flows)
        about = (flow.beat, first, interval, stop)
        schedules.append(threading.Thread(target=_keep_time, args=about, daemon=True))
    for thread in schedules:
        thread.start()
    print("started", flush=True)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # nobody is to wait for this process to close what it inherited
        os.dup2(nowhere, standard)
    last = time.monotonic() + float(job["at_most"])
    asked = False
    while time.monotonic() < last and not asked and log.wanted():
        time.sleep(0.02)
        asked = os.path.exists(path + ".stop")  # noqa: PTH110 - pathlib is slow to import
    ended = log.clock.now()
    stop.set()
    for thread in schedules:
        thread.join()
    for flow in flows:
        flow.finish()
    log.write({**log.finish(), "ended": ended, "asked": asked, "sent": log.sent})


def _log(path: str, job: dict[str, Any]) -> Log:
    """The record of a job: of every request, or counts where it says ``count``."""
    if "count" not in job:
        return Log(path, len(job["flows"]))
    from .counts import CountingLog

    return CountingLog(path, job)


def _keep_time(
    beat: Callable[[float], None], first: float, interval: float, stop: threading.Event
) -> None:
    """Beat until told to stop.

    Beats that this process misses, because its machine is too busy, are not made up for, which
    would keep it busy. The next one says how late it is.
    """
    due = first
    while not stop.wait(max(0.0, due - time.monotonic())):
        late = max(0.0, time.monotonic() - due)
        beat(late)
        due += interval * (1 + int(late / interval))


def start(operation: dict[str, Any]) -> dict[str, Any]:
    """``flow-start``: start a process for a job; returns once it sends.

    ``job`` = {name, at_most, flows: [{op, host, port, address, interval, timeout, keep_alive,
    stream, path, headers}]}.
    """
    import subprocess

    job = operation["job"]
    beats = sum(float(job["at_most"]) / float(plan["interval"]) for plan in job["flows"])
    if "count" not in job and beats * RECORD_BYTES > MOST_BYTES:
        size = f"{beats:.0f} records may take more than {MOST_BYTES >> 20} MiB"
        raise ValueError(f"{size}: send less often or for a shorter time")
    command = [sys.executable, "-S", "-B", sys.argv[0], "flows"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command,
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        said = process.stdout.readline()
        if said.strip() != "started":
            raise RuntimeError(f"the sender did not start: {said}{process.stdout.read()}".strip())
    return {}


def read(operation: dict[str, Any]) -> dict[str, Any]:
    """``flow-read``: some whole lines of the file of job ``name``, from ``offset`` on.

    ``more`` says whether others are there, ``alive`` whether others may come.
    """
    offset = int(operation.get("offset", 0))
    with open(_path(operation["name"]) + ".read", "a", encoding="utf-8"):  # noqa: PTH123
        os.utime(_path(operation["name"]) + ".read")  # who counts ends where nobody reads
    with open(_path(operation["name"]), "rb") as file:  # noqa: PTH123 - pathlib is slow to import
        alive = _locked(file)  # asked first: a dead process has written all that is then read
        file.seek(offset)
        text = file.read(int(operation.get("limit", CHUNK)))
        more = bool(file.read(1))
    whole = text[: text.rfind(b"\n") + 1]
    came = {"text": whole.decode("utf-8"), "offset": offset + len(whole)}
    return {**came, "more": more, "alive": alive}


def stop(operation: dict[str, Any]) -> dict[str, Any]:
    """``flow-stop``: tell the process of job ``name`` to stop, and wait.

    It waits ``timeout`` seconds at most; ``alive`` says whether the process goes on.
    """
    path = _path(operation["name"])
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib is slow to import
        with open(path + ".stop", "w", encoding="utf-8"):  # noqa: PTH123
            pass
        last = time.monotonic() + float(operation.get("timeout", 5))
        while _locked(file) and time.monotonic() < last:
            time.sleep(0.01)
        return {"alive": _locked(file)}


def forget(operation: dict[str, Any]) -> dict[str, Any]:
    """``flow-forget``: remove the files of job ``name``."""
    for path in (_path(operation["name"]) + end for end in ("", ".stop", ".read")):
        try:
            os.unlink(path)  # noqa: PTH108
        except FileNotFoundError:
            pass
    return {}


def clock(operation: dict[str, Any]) -> dict[str, Any]:
    """``clock``: what time it is here."""
    return {"now": time.time()}


def _locked(file: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _path(job: str) -> str:
    if not job.replace("-", "").isalnum():
        raise ValueError(f"{job!r} is no name for a job")
    return f"{os.environ.get('TMPDIR', '/tmp')}/flows-{job}.jsonl"  # noqa: S108


FLOW_OPERATIONS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "flow-start": start,
    "flow-read": read,
    "flow-stop": stop,
    "flow-forget": forget,
    "clock": clock,
}
