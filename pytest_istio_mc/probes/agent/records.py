"""Records: the file in which a job of flows writes down what became of its requests.

Runs inside probe pods: standard library only, Python 3.8 or newer.
"""

from __future__ import annotations

import fcntl
import json
import threading
import time

TYPE_CHECKING = False  # importing typing costs a tenth of the start-up time
if TYPE_CHECKING:
    from typing import Any

MOST_ERROR = 200


class Clock:
    """Seconds since the epoch that never jump."""

    def __init__(self) -> None:
        self._epoch = time.time() - time.monotonic()

    def now(self) -> float:
        """The time."""
        return self._epoch + time.monotonic()


class Log:
    """The file of one job, and how many records each flow has."""

    def __init__(self, path: str, flows: int) -> None:
        self.clock = Clock()
        self.sent = [0] * flows
        # pathlib is slow to import; the file is open until the process ends
        self._file = open(path, "a", encoding="utf-8")  # noqa: PTH123, SIM115
        self._lock = threading.Lock()
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def next_id(self, flow: int) -> str:
        """The id that the next request of a flow carries; none in this record."""
        return ""

    def wanted(self) -> bool:
        """Whether anybody still waits for this record."""
        return True

    def finish(self) -> dict[str, Any]:
        """What the last line says besides; nothing is to be recorded afterwards."""
        return {}

    def record(self, flow: int, when: float, late: float, seen: dict[str, Any]) -> None:
        """Write down one request of a flow."""
        self.write(exact(flow, when, late, seen), flow)

    def write(self, line: Any, flow: int | None = None) -> None:
        """Write down a line, whole and at once."""
        text = json.dumps(line, separators=(",", ":")) + "\n"
        with self._lock:
            self._file.write(text)
            self._file.flush()
            if flow is not None:
                self.sent[flow] += 1


def exact(flow: int, when: float, late: float, seen: dict[str, Any]) -> list[Any]:
    """The array of one request."""
    answer = seen.get("answer") or {}
    error = str(seen.get("error") or seen.get("body", ""))[:MOST_ERROR]
    who = [str(answer.get(key, ""))[:64] for key in ("cluster", "pod", "version")]
    times = [round(value, 5) for value in (when, float(seen.get("seconds", 0.0)), late)]
    what = [seen["ending"], seen.get("status", 0), int(seen.get("new", True))]
    return [flow, *times, *what, *who, error]
