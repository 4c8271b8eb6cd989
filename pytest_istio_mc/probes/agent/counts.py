"""Counts: the record of flows that go on for long, small however many requests they send.

- Every request has an id, ``JOB.FLOW.NUMBER``, which the server that gets it writes down.
- A line for each second: ``{"second": T, "flows": [[flow, answered, slow, failed, new, worst]]}``,
  by when the requests were sent. It comes once all of them have ended.
- An array for each request that failed, was slow or was answered by another than the flow expects:
  as in ``flows``, with the id at the end. After ``MOST_EXACT`` of them they are only counted.
- ``{"gap": [flow, from, to]}`` for each time without an answer that is longer than ``gap`` seconds,
  and ``{"lag": [flow, when, late]}`` for each beat that came so late that others were left out.
- The sender ends by itself where nobody has read its record for ``unread`` seconds.

Runs inside probe pods: standard library only, Python 3.8 or newer.
"""

from __future__ import annotations

import os
import time

from .records import Log, exact

TYPE_CHECKING = False  # importing typing costs a tenth of the start-up time
if TYPE_CHECKING:
    from typing import Any

MOST_EXACT = 20000
"""Of a job: ten megabytes."""


class CountingLog(Log):
    """The file of a job that is counted: ``job["count"]`` = {slow, gap, unread, longest}."""

    def __init__(self, path: str, job: dict[str, Any]) -> None:
        plans = job["flows"]
        super().__init__(path, len(plans))
        self._path = path
        self._job = str(job.get("id", "0"))
        self._expected = [str(plan.get("expect", "")) for plan in plans]
        self._intervals = [float(plan["interval"]) for plan in plans]
        rules = job["count"]
        self._slow, self._gap = float(rules["slow"]), float(rules["gap"])
        self._unread, self._longest = float(rules["unread"]), float(rules["longest"])
        now = self.clock.now()
        self._numbers = [0] * len(plans)
        self._missed = [0] * len(plans)
        self._answered = [now] * len(plans)
        self._longest_gap = [0.0] * len(plans)
        self._seconds: dict[int, dict[int, list[float]]] = {}
        self._exact = self._left_out = 0

    def next_id(self, flow: int) -> str:
        with self._lock:
            self._numbers[flow] += 1
            return "%s.%d.%d" % (self._job, flow, self._numbers[flow])  # noqa: UP031 - it is cheap

    def record(self, flow: int, when: float, late: float, seen: dict[str, Any]) -> None:
        answer = seen.get("answer") or {}
        good = seen["ending"] == "answered" and seen.get("status", 0) in (0, 200)
        good = good and answer.get("cluster") == self._expected[flow]
        took, now = float(seen.get("seconds", 0.0)), self.clock.now()
        slow = good and took > self._slow
        lines: list[Any] = []
        with self._lock:
            second = self._seconds.setdefault(int(when), {})
            entry = second.setdefault(flow, [0, 0, 0, 0, 0.0])
            entry[0 if good and not slow else 1 if slow else 2] += 1
            entry[3] += bool(seen.get("new", True))
            entry[4] = max(entry[4], round(took, 4))
            if late > self._intervals[flow]:
                self._missed[flow] += int(late / self._intervals[flow])
                lines.append({"lag": [flow, round(when, 3), round(late, 3)]})
            if good:
                lines += self._ended_gap(flow, now)
            if not good or slow:
                listed = self._exact < MOST_EXACT
                self._exact += listed
                self._left_out += not listed
                lines += [[*exact(flow, when, late, seen), seen.get("id", "")]] * listed
            lines += self._complete_seconds(now)
        for line in lines:
            self.write(line)
        with self._lock:
            self.sent[flow] += 1

    def wanted(self) -> bool:
        try:
            return time.time() - os.stat(self._path + ".read").st_mtime < self._unread  # noqa: PTH116
        except OSError:
            return True  # nobody has read it yet, and who started it may just be about to

    def finish(self) -> dict[str, Any]:
        now = self.clock.now()
        with self._lock:
            lines = [line for flow in range(len(self.sent)) for line in self._ended_gap(flow, now)]
            lines += self._complete_seconds(float("inf"))
        for line in lines:
            self.write(line)
        gaps = [round(gap, 3) for gap in self._longest_gap]
        return {"missed": self._missed, "longest_gaps": gaps, "left_out": self._left_out}

    def _ended_gap(self, flow: int, now: float) -> list[Any]:
        since, self._answered[flow] = self._answered[flow], now
        self._longest_gap[flow] = max(self._longest_gap[flow], now - since)
        return [{"gap": [flow, round(since, 3), round(now, 3)]}] if now - since > self._gap else []

    def _complete_seconds(self, now: float) -> list[Any]:
        """The seconds of which every request must have ended by now."""
        done = sorted(one for one in self._seconds if one + 1 + self._longest < now)
        found = []
        for second in done:
            flows = self._seconds.pop(second)
            rows = [[flow, *entry] for flow, entry in sorted(flows.items())]
            found.append({"second": second, "flows": rows})
        return found
