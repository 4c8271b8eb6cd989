"""Flows: requests at a fixed rate from client pods, as one time line.

They go on while the clusters' API servers are gone.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from operator import not_
from typing import Any

from ..errors import MeshError, NotInTime, ObservationError
from ..eventually import eventually
from ..observations import Ending, Protocol
from ..timelines import Flow, Mark, Record, Timeline
from ..together import for_each
from .traffic import Traffic

_JOBS = itertools.count(1)


@dataclass(frozen=True)
class FlowPlan:
    """Requests from the client in ``source`` to ``host``, one every ``interval_seconds``.

    - ``keep_alive``: on kept connections, else each on a new one.
    - ``stream``: one long-lived TCP connection instead, with a line out and a line back each time.
    - ``address``: where to connect instead of to where ``host`` resolves to.
    """

    source: str
    host: str
    port: int
    protocol: Protocol = Protocol.HTTP
    keep_alive: bool = False
    interval_seconds: float = 0.1
    name: str = ""
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: bool = False
    timeout_seconds: float | None = None
    address: str = ""

    @property
    def title(self) -> str:
        """Its name, or what it does in a few words."""
        way = "kept connections" if self.keep_alive else "new connections"
        way = "stream" if self.stream else way
        target = f"{self.host}:{self.port}"
        return self.name or f"{self.source} to {target}, {self.protocol.value}, {way}"


@contextmanager
def flowing(
    traffic: Traffic, plans: Sequence[FlowPlan], *, at_most_seconds: float
) -> Iterator[Running]:
    """Send what the plans say for as long as the block goes on.

    - After the block ``timeline`` of what it yields is complete.
    - Raises :class:`ObservationError` where sending cannot be started, or its records cannot be
      had at the end.
    - The senders end by themselves after ``at_most_seconds``, even where this process is killed.
    """
    if any(plan.stream and plan.protocol is not Protocol.TCP for plan in plans):
        raise ValueError("a stream is a TCP connection")
    running = Running(traffic, plans, at_most_seconds)
    try:
        running.start()
        yield running
    except BaseException:
        # what went wrong in the block is told; the senders end by themselves if they have to
        with suppress(MeshError):
            running.finish()
        raise
    running.finish()


class Running:
    """Flows that are being sent."""

    def __init__(self, traffic: Traffic, plans: Sequence[FlowPlan], at_most_seconds: float) -> None:
        self._traffic = traffic
        self._at_most = at_most_seconds
        self._marks: list[Mark] = []
        name = f"{os.getpid()}-{next(_JOBS)}"
        by_source: dict[str, list[tuple[int, FlowPlan]]] = {}
        for place, plan in enumerate(plans):
            by_source.setdefault(plan.source, []).append((place, plan))
        self._jobs = [_Job(traffic, source, name, some) for source, some in by_source.items()]
        self._complete = False

    @contextmanager
    def marked(self, text: str) -> Iterator[None]:
        """Note that something is done or broken while the block goes on."""
        begin = time.time()
        try:
            yield
        finally:
            self._marks.append(Mark(begin, time.time(), text))

    def note(self, text: str) -> Mark:
        """Note that something has happened now."""
        mark = Mark(now := time.time(), now, text)
        self._marks.append(mark)
        return mark

    def so_far(self) -> Timeline:
        """The record until now; the clusters' API servers must answer for that."""
        self._each(_Job.fetch)
        return self._timeline()

    @property
    def timeline(self) -> Timeline:
        """The whole record; only after the block."""
        if not self._complete:
            raise RuntimeError("flows are still being sent: use so_far()")
        return self._timeline()

    def start(self) -> None:
        """Start the senders."""
        self._each(lambda job: job.start(self._at_most))

    def finish(self) -> None:
        """Stop the senders, fetch the rest of their records and prove them complete."""
        self._each(_Job.finish)
        self._complete = True

    def _each(self, work: Callable[[_Job], None]) -> None:
        for_each(work, self._jobs)

    def _timeline(self) -> Timeline:
        now = time.time()
        found = dict(entry for job in self._jobs for entry in job.flows(now))
        error = max((job.clock_error for job in self._jobs), default=0.0)
        marks = tuple(sorted(self._marks, key=lambda mark: mark.begin))
        return Timeline(tuple(found[place] for place in sorted(found)), marks, round(error, 4))


class _Job:
    """The flows of one client: a process and a file in its pod."""

    def __init__(
        self, traffic: Traffic, source: str, name: str, plans: Sequence[tuple[int, FlowPlan]]
    ) -> None:
        self.source = source
        self.clock_error = 0.0
        self._traffic = traffic
        self._name = name
        self._plans = plans
        self._records: list[list[Record]] = [[] for _ in plans]
        self._offset = 0
        self._clock_offset = 0.0
        self._began = self._ended = 0.0
        self._end: Mapping[str, Any] = {}
        self._longest = max(plan.timeout_seconds or traffic.timeouts.request for _, plan in plans)

    def start(self, at_most_seconds: float) -> None:
        """Compare the clocks and start the sender."""
        self._clock_offset, self.clock_error = clock_ahead(self._traffic, self.source)
        flows = [_instructions(plan, self._traffic.timeouts.request) for _, plan in self._plans]
        job = {"name": self._name, "at_most": at_most_seconds, "flows": flows}
        self._ask("flow-start", job=job)

    def fetch(self) -> None:
        """Read what has been written since the last time."""
        if not self._read() and not self._end:
            raise self._incomplete("the sender has died")

    def finish(self) -> None:
        """Stop, fetch the rest of the records and prove that none is missing.

        Its steps are repeated where they fail: the connection to the pod may be a broken one.
        """
        try:
            self._until_dead(self._stop, "flows to stop")
            self._until_dead(self._read, "flows' records")
        except NotInTime as error:
            raise self._incomplete(str(error)) from error
        if not self._end:
            raise self._incomplete("the sender has died")
        if not self._end["asked"]:
            why = "the sender ended by itself, before it was told to: it was given too little time"
            raise self._incomplete(why)
        sent, counts = self._end["sent"], [len(records) for records in self._records]
        if counts != sent:
            raise self._incomplete(f"{sent} requests were sent, and {counts} are on record")
        with suppress(MeshError):
            self._ask("flow-forget")  # the file goes with the pod at the latest

    def flows(self, now: float) -> Iterator[tuple[int, Flow]]:
        """Each flow with its place among the plans."""
        for (place, plan), records in zip(self._plans, self._records, strict=True):
            flow = Flow(
                name=plan.title,
                source=plan.source,
                host=plan.host,
                port=plan.port,
                protocol=plan.protocol,
                keep_alive=plan.keep_alive or plan.stream,
                interval_seconds=plan.interval_seconds,
                records=tuple(sorted(records, key=lambda record: record.when)),
                stream=plan.stream,
                began=self._began or now,
                ended=self._ended or now,
            )
            yield place, flow

    def _until_dead(self, alive: Callable[[], bool], what: str) -> None:
        patience = self._traffic.timeouts.kube_request
        eventually(alive, not_, within_seconds=patience, what=what, every_seconds=0.2)

    def _read(self) -> bool:
        """Read what there is; whether more may come."""
        more = True
        while more:
            came = self._ask("flow-read", offset=self._offset)
            self._take(came["text"])
            self._offset = int(came["offset"])
            more = came["more"]
        return bool(came["alive"])

    def _stop(self) -> bool:
        return bool(self._ask("flow-stop", timeout=self._longest + 2)["alive"])

    def _take(self, text: str) -> None:
        for line in text.splitlines():
            entry = json.loads(line)
            if isinstance(entry, list):
                self._records[entry[0]].append(_record(entry, self._clock_offset))
            elif "began" in entry:
                self._began = entry["began"] - self._clock_offset
            else:
                self._end = entry
                self._ended = entry["ended"] - self._clock_offset

    def _ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        return self._traffic.ask(self.source, {"op": operation, "name": self._name, **arguments})

    def _incomplete(self, why: str) -> ObservationError:
        step, detail = "requests at a fixed rate", f"their record is not complete: {why}"
        return ObservationError(f'cluster "{self.source}"', step, detail)


def _instructions(plan: FlowPlan, timeout_seconds: float) -> dict[str, Any]:
    return {
        "op": plan.protocol.value,
        "host": plan.host,
        "port": plan.port,
        "address": plan.address,
        "interval": plan.interval_seconds,
        "timeout": plan.timeout_seconds or timeout_seconds,
        "keep_alive": plan.keep_alive,
        "stream": plan.stream,
        "path": plan.path,
        "headers": dict(plan.headers),
    }


def _record(entry: Sequence[Any], clock_offset: float) -> Record:
    _, when, seconds, late, ending, status, new, cluster, pod, version, error = entry
    sent, how, is_new = when - clock_offset, Ending(ending), bool(new)
    return Record(sent, how, status, seconds, is_new, cluster, pod, version, error, late)


def clock_ahead(traffic: Traffic, source: str) -> tuple[float, float]:
    """The client's clock ahead of ours, and the possible error, both in seconds.

    The best of three looks.
    """
    looks = []
    for _ in range(3):
        before = time.time()
        there = float(traffic.ask(source, {"op": "clock"})["now"])
        after = time.time()
        looks.append(((after - before) / 2, there - (before + after) / 2))
    error, offset = min(looks)
    return offset, error
